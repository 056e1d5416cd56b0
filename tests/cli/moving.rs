//! `migrate` and `migrations`: one object, some, all; paused, resumed, cancelled, repeated.

use serde_json::Value;

use crate::process::{Server, run_with, wait_until};

/// Where an object lives now.
fn store_of(server: &Server, object: &str) -> String {
    let shown = server.run(&["objects", "show", object, "--output", "json"]).well().json();
    shown["chain"].as_array().unwrap().last().unwrap()["store"].as_str().unwrap().to_owned()
}

/// Starts a migration that takes far longer than the test.
fn start_slow(server: &Server, object: &str) -> String {
    let arguments = [
        "migrate",
        object,
        "--to",
        "cold",
        "--detach",
        "--events-per-second-max",
        "20",
        "--page-events-max",
        "5",
        "--output",
        "json",
    ];
    let started = server.run(&arguments).well().json();
    started["migration_id"].as_str().unwrap().to_owned()
}

fn shown(server: &Server, id: &str) -> Value {
    server.run(&["migrations", "show", id, "--output", "json"]).well().json()
}

#[test]
fn an_object_moves_and_its_history_stays() {
    let server = Server::start();
    server.fill("order", "1", 50);
    let before = server.history("order/1");
    let moved = server.run(&["migrate", "order/1", "--to", "cold", "--label", "why=test"]).well();
    for part in ["SUCCEEDED", "both sides equal", "50 events", "why = test", "cold order/1/"] {
        assert!(moved.stdout.contains(part), "{part} in {moved:?}");
    }
    assert_eq!(store_of(&server, "order/1"), "cold");
    assert_eq!(server.history("order/1"), before);
    server.run(&["append", "order/1", "T", "1", "--expected-version", "49"]).well();
    let shown = server.run(&["objects", "show", "order/1"]).well().stdout;
    assert!(shown.contains("closed    hot") && shown.contains("active    cold"), "{shown}");
}

#[test]
fn checking_starts_nothing() {
    let server = Server::start();
    server.fill("order", "1", 3);
    server.run(&["migrate", "order/1", "--to", "cold", "--validate-only"]).well();
    assert_eq!(store_of(&server, "order/1"), "hot");
    let listed = server.run(&["migrations", "list", "--output", "json"]).well();
    assert_eq!(listed.json_lines().len(), 0, "{listed:?}");
}

#[test]
fn a_request_id_moves_once() {
    let server = Server::start();
    server.fill("order", "1", 3);
    let migrate = |to: &str| {
        let arguments = ["migrate", "order/1", "--to", to, "--request-id", "r-1"];
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        server.run(&all)
    };
    let first = migrate("cold").well().json();
    server.run(&["migrate", "order/1", "--to", "frozen", "--expected-source", "cold"]).well();
    let again = migrate("cold").well().json();
    assert_eq!(first["migration_id"], again["migration_id"]);
    assert_eq!(store_of(&server, "order/1"), "frozen");
    let source = ["migrate", "order/1", "--to", "hot", "--expected-source", "cold"];
    server.run(&source).with(73);
}

#[test]
fn a_target_stream_may_be_named() {
    let server = Server::start();
    server.fill("order", "1", 3);
    let named = ["migrate", "order/1", "--to", "cold", "--target-stream-id", "archive/1"];
    server.run(&named).well();
    let shown = server.run(&["objects", "show", "order/1", "--output", "json"]).well().json();
    assert_eq!(shown["chain"][1]["stream_id"], "archive/1");
}

#[test]
fn several_objects_move_with_one_command() {
    let server = Server::start();
    for id in ["1", "2", "3"] {
        server.fill("order", id, 3);
    }
    let arguments =
        ["migrate", "order/1", "order/2", "order/none", "--to", "cold", "--output", "json"];
    let ended = server.run(&arguments).with(1);
    let summary = ended.json();
    assert_eq!((&summary["moved"], &summary["failed"]), (&2.into(), &1.into()));
    assert!(ended.stderr.contains("order/none: error: OBJECT_NOT_FOUND"), "{ended:?}");
    assert_eq!(store_of(&server, "order/2"), "cold");
    assert_eq!(store_of(&server, "order/3"), "hot");
}

#[test]
fn a_whole_store_is_emptied_once_and_can_be_filled_again() {
    let server = Server::start();
    let lines: String =
        (0..150).map(|id| crate::process::line("order", &format!("{id:03}"), 0)).collect();
    run_with(server.command(&["import"]), lines.as_bytes()).well();
    server.fill("other", "1", 2);
    let all = |from: &str, to: &str, name: &[&str]| {
        let mut arguments = vec!["migrate", "--all", "--from", from, "--to", to];
        arguments.extend(["--output", "json", "--concurrency", "16"]);
        arguments.extend(name);
        server.run(&arguments).well().json()
    };
    let first = all("hot", "cold", &["--object-name", "order"]);
    assert_eq!((&first["objects"], &first["moved"]), (&150.into(), &150.into()), "{first}");
    assert_eq!(first["events_copied"], 150);
    assert_eq!(store_of(&server, "other/1"), "hot");

    let again = all("hot", "cold", &["--object-name", "order"]);
    assert_eq!(again["objects"], 0, "{again}");
    let rest = all("hot", "cold", &[]);
    assert_eq!(rest["moved"], 1, "{rest}");
    let back = all("cold", "hot", &[]);
    assert_eq!(back["moved"], 151, "{back}");
    let there = all("hot", "cold", &[]);
    assert_eq!((&there["moved"], &there["already_moved"]), (&151.into(), &0.into()), "{there}");
    let text = server.run(&["migrate", "--all", "--from", "hot", "--to", "cold"]).well().stdout;
    assert!(text.starts_with("0 objects: 0 failed"), "{text}");
}

#[test]
fn a_migration_is_watched_paused_resumed_and_cancelled() {
    let server = Server::start();
    server.fill("order", "1", 500);
    let id = start_slow(&server, "order/1");

    let paused = server.run(&["migrations", "pause", &id, "--output", "json"]).well().json();
    assert_eq!(paused["paused"], true, "{paused}");
    server.run(&["append", "order/1", "T", "1"]).well();
    let listed = server.run(&["migrations", "list"]).well().stdout;
    assert!(listed.contains(&id) && listed.contains("hot -> cold"), "{listed}");
    assert!(listed.contains("paused"), "{listed}");
    let resumed = server.run(&["migrations", "resume", &id, "--output", "json"]).well().json();
    assert_eq!(resumed["paused"], false, "{resumed}");
    wait_until("it copies", || {
        let copied = shown(&server, &id)["progress"]["events_copied"].as_u64()?;
        (copied > 0).then_some(())
    });

    let watching = server
        .command(&["migrations", "watch", &id, "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let cancelled = server.run(&["migrations", "cancel", &id]).well();
    assert!(cancelled.stdout.contains("CANCELLED"), "{cancelled:?}");
    let watched = watching.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(1), "a cancelled migration is no success");
    let lines = String::from_utf8(watched.stdout).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["phase"], "CANCELLED");
    assert_eq!(store_of(&server, "order/1"), "hot");

    server.run(&["migrations", "pause", &id]).with(73);
    let phases = |phase: &str| {
        let list = ["migrations", "list", "--phase", phase, "--output", "json"];
        server.run(&list).well().json_lines().len()
    };
    assert_eq!((phases("cancelled"), phases("succeeded")), (1, 0));
}

#[test]
fn what_cannot_be_undone_is_not_done_unasked() {
    let server = Server::start();
    server.fill("order", "1", 500);
    let id = start_slow(&server, "order/1");
    let refused = server.run(&["migrations", "cancel", &id, "--remove-target"]).with(2);
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    assert!(!["CANCELLED", "FAILED"].contains(&shown(&server, &id)["phase"].as_str().unwrap()));
    server.run(&["migrations", "cancel", &id, "--remove-target", "--yes"]).well();
    assert_eq!(shown(&server, &id)["phase"], "CANCELLED");
}

#[test]
fn a_second_migration_of_a_moving_object_is_refused() {
    let server = Server::start();
    server.fill("order", "1", 500);
    let id = start_slow(&server, "order/1");
    let refused = server.run(&["migrate", "order/1", "--to", "frozen", "--output", "json"]);
    let error = refused.with(73).error();
    assert_eq!(error["reason"], "MIGRATION_ALREADY_RUNNING");
    assert!(error["metadata"].to_string().contains(&id), "{error}");
}

#[test]
fn cancelled_moves_are_made_up_for_by_the_next_run_over_all() {
    let server = Server::start();
    server.fill("order", "1", 500);
    let slow = ["--events-per-second-max", "20", "--page-events-max", "5", "--detach"];
    let mut start = vec!["migrate", "--all", "--from", "hot", "--to", "cold", "--output", "json"];
    let whole = start.clone();
    start.extend(slow);
    assert_eq!(server.run(&start).well().json()["started"], 1);
    let listed = server.run(&["migrations", "list", "--output", "json"]).well().json_lines();
    let id = listed[0]["migration_id"].as_str().unwrap();
    server.run(&["migrations", "cancel", id]).well();
    assert_eq!(server.run(&whole).well().json()["moved"], 1);
    assert_eq!(store_of(&server, "order/1"), "cold");
}
