//! An application in a real browser, over gRPC-web from a page of another origin. `page.ts` in
//! `tests/browser` is the application, `drive.mjs` opens it in a headless browser and judges what
//! it says; `scripts/browser` installs and builds both and says where they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::process::{Folder, Server};

/// What `scripts/browser` says. What is missing fails: nothing passes because there is no browser.
fn told(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    value.unwrap_or_else(|| panic!("{name} is not set; run scripts/browser")).into()
}

/// Serves the page at an origin of its own, which it returns, until the test ends.
async fn serve_page(script: &Path) -> String {
    let built = fs::read_to_string(script);
    let script = built.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let page = "<!doctype html><meta charset=\"utf-8\"><script src=\"page.js\"></script>";
    let javascript = [("content-type", "text/javascript; charset=utf-8")];
    let routes = Router::new()
        .route("/", get(async move || Html(page)))
        .route("/page.js", get(async move || (javascript, script.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "tests own their tasks")]
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    origin
}

/// Opens the page in a browser and lets it call the server: what was judged of that.
async fn drive(page: &str, server: &mut Server) -> Output {
    let mut command = Command::new(told("STREAMGATE_TEST_NODE_BIN").join("node"));
    command.current_dir(told("STREAMGATE_TEST_BROWSER")).arg("drive.mjs");
    command.arg(told("STREAMGATE_TEST_BROWSER_PROGRAM")).arg(page);
    command.arg(format!("http://{}", server.ready().await));
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("node can be started")
}

/// What a page could do whose server lets in the pages of one origin.
async fn a_page(allowed: impl Fn(&str) -> String) -> Output {
    let page = serve_page(&told("STREAMGATE_TEST_BROWSER").join("built/page.js")).await;
    let sections = format!("[grpc]\ncors_allowed_origins = ['{}']\n", allowed(&page));
    let folder = Folder::new(Duration::from_secs(5)).with_sections(sections);
    drive(&page, &mut folder.start(&crate::process::Tracing::Off)).await
}

#[tokio::test]
async fn a_page_appends_sees_a_typed_conflict_reads_follows_and_watches() {
    let judged = a_page(str::to_owned).await;
    let said = String::from_utf8_lossy(&judged.stdout);
    let complaint = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{}\n{said}\n{complaint}", judged.status);
    let steps: Vec<&str> = said.lines().collect();
    assert_eq!(
        steps,
        [
            "reads an error of a stream by its reason",
            "appends, with an expectation and again",
            "sees a conflict as a typed error",
            "reads a history",
            "hears events as they come",
            "watches a migration to its end, and follows across it",
        ]
    );
}

#[tokio::test]
async fn a_page_of_another_origin_is_kept_out_by_the_browser() {
    let judged = a_page(|_| "http://localhost:8080".into()).await;
    let complaint = String::from_utf8_lossy(&judged.stderr);
    assert!(complaint.contains("blocked by CORS policy"), "{complaint}");
    assert_eq!(String::from_utf8_lossy(&judged.stdout), "", "no step was passed");
}
