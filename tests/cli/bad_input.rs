//! What no command should be asked: a typed error, an exit code, and no panic.

use std::path::{Path, PathBuf};

use crate::process::{Ended, Server, run_with, serve, streamgate};

#[test]
fn wrong_command_lines_are_told_before_anything_is_sent() {
    let wrong: &[&[&str]] = &[
        &[],
        &["fly"],
        &["append"],
        &["append", "order/1"],
        &["append", "order/1", "T"],
        &["append", "order", "T", "1"],
        &["append", "order/1", "T", "1", "--payload-file", "x"],
        &["append", "order/1", "T", "1", "--expected-version", "-1"],
        &["append", "order/1", "T", "1", "--metadata", "k"],
        &["append", "order/1", "T", "1", "--schema-version", "4294967296"],
        &["append", "order/1", "T", "1", "--occurred-at", "soon"],
        &["append", "order/1", "T", "1", "--timeout", "0s"],
        &["append", "order/1", "T", "1", "--output", "xml"],
        &["read"],
        &["read", "order/1", "--from-version", "-1"],
        &["import", "a", "b"],
        &["import", "--in-flight", "0"],
        &["objects"],
        &["objects", "show"],
        &["migrate", "order/1"],
        &["migrate", "--to", "cold"],
        &["migrate", "--all", "--to", "cold"],
        &["migrate", "order/1", "--all", "--from", "hot", "--to", "cold"],
        &["migrate", "order/1", "--to", "cold", "--from", "hot"],
        &["migrate", "order/1", "--to", "cold", "--object-name", "order"],
        &["migrate", "order/1", "order/2", "--to", "cold", "--target-stream-id", "x"],
        &["migrate", "order/1", "--to", "cold", "--on-convergence-failure", "cry"],
        &["migrate", "order/1", "--to", "cold", "--concurrency", "0"],
        &["migrations"],
        &["migrations", "show"],
        &["migrations", "list", "--phase", "asleep"],
        &["completions", "cmd"],
        &["demo", "--objects", "0"],
        &["demo", "--writers", "0"],
        &["demo", "--seconds", "0"],
    ];
    for arguments in wrong {
        let mut command = streamgate();
        command.args(*arguments);
        let ended = run_with(command, b"").with(2);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_wrong_address_is_a_wrong_configuration() {
    for server in ["ftp://127.0.0.1:1", "unix:///x", "http://", "a b"] {
        let mut command = streamgate();
        command.args(["health", "--server", server]);
        let ended = run_with(command, b"").with(64);
        assert!(ended.stderr.contains("STREAMGATE_SERVER"), "{ended:?}");
    }
}

#[test]
fn the_server_s_refusals_keep_their_class() {
    let server = Server::start();
    server.fill("order", "1", 2);
    let long = "x".repeat(300);
    let nobody = "8c1a3c3e-5b9c-4a52-9c5e-0d9a7b1d2c3f";
    let cases: &[(&[&str], i32, &str)] = &[
        (&["append", "1order/1", "T", "1"], 65, "INVALID_ARGUMENT"),
        (&["append", "order/a\nb", "T", "1"], 65, "INVALID_ARGUMENT"),
        (&["append", "order/1", "", "1"], 65, "INVALID_ARGUMENT"),
        (&["append", "order/1", &long, "1"], 65, "INVALID_ARGUMENT"),
        (&["append", "order/1", "T", "1", "--event-id", "x"], 65, "INVALID_ARGUMENT"),
        (&["append", "order/1", "T", "1", "--content-type", &long], 65, "INVALID_ARGUMENT"),
        (&["append", "order/1", "T", "1", "--metadata", "a\n=b"], 65, "INVALID_ARGUMENT"),
        (&["append", "order/1", "T", "1", "--expected-version", "7"], 73, "WRONG_EXPECTED_VERSION"),
        (&["read", "order/none"], 66, "OBJECT_NOT_FOUND"),
        (&["read", "or-der/1"], 65, "INVALID_ARGUMENT"),
        (&["objects", "show", "order/none"], 66, "OBJECT_NOT_FOUND"),
        (&["objects", "list", "--store", "lukewarm"], 66, "STORE_NOT_FOUND"),
        (&["migrate", "order/none", "--to", "cold"], 66, "OBJECT_NOT_FOUND"),
        (&["migrate", "order/1", "--to", "lukewarm"], 66, "STORE_NOT_FOUND"),
        (&["migrate", "order/1", "--to", "cold", "--request-id", &long], 65, "INVALID_ARGUMENT"),
        (
            &["migrate", "order/1", "--to", "cold", "--expected-source", "cold"],
            73,
            "INVALID_TRANSITION",
        ),
        (&["migrations", "show", nobody], 66, "MIGRATION_NOT_FOUND"),
        (&["migrations", "show", "x"], 65, "INVALID_ARGUMENT"),
        (&["migrations", "watch", nobody], 66, "MIGRATION_NOT_FOUND"),
        (&["migrations", "pause", nobody], 66, "MIGRATION_NOT_FOUND"),
        (&["migrations", "resume", nobody], 66, "MIGRATION_NOT_FOUND"),
        (&["migrations", "cancel", nobody], 66, "MIGRATION_NOT_FOUND"),
    ];
    for (arguments, code, reason) in cases {
        let text = server.run(arguments).with(*code);
        let head = format!("error: {reason}: ");
        assert!(text.stderr.contains(&head), "{arguments:?}: {text:?}");
        assert!(text.stderr.contains("\nnext: "), "{arguments:?}: {text:?}");
        assert!(text.stdout.is_empty(), "{arguments:?}: {text:?}");
        let mut as_json = arguments.to_vec();
        as_json.extend(["--output", "json"]);
        let error = server.run(&as_json).with(*code).error();
        assert_eq!(error["reason"], *reason, "{arguments:?}");
        assert_eq!(error["exit_code"], *code, "{arguments:?}");
        assert!(error["message"].is_string() && error["next"].is_string(), "{error}");
    }
    assert_eq!(server.history("order/1").len(), 2, "nothing was appended");
}

#[test]
fn too_large_a_payload_is_refused_by_its_limit() {
    let server = Server::start();
    let path = server.path("large");
    std::fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let append =
        ["append", "order/1", "T", "--output", "json", "--payload-file", path.to_str().unwrap()];
    let error = server.run(&append).with(65).error();
    assert_eq!(error["reason"], "EVENT_TOO_LARGE");
}

#[test]
fn files_that_are_not_there_are_named() {
    let server = Server::start();
    for arguments in [&["append", "order/1", "T", "--payload-file"][..], &["import"]] {
        let mut all = arguments.to_vec();
        all.push("no/such/file");
        let ended = server.run(&all).with(66);
        assert!(ended.stderr.contains("no/such/file"), "{ended:?}");
    }
}

#[test]
fn all_faults_of_a_configuration_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("streamgate.toml");
    let text = "[server]\nlisten = \"nowhere\"\n\n[[stores]]\nname = \"a\"\nkind = \"paper\"\n";
    std::fs::write(&path, text).unwrap();
    for output in ["text", "json"] {
        let mut serve = streamgate();
        serve.args(["serve", "--output", output, "--config"]).arg(&path);
        let ended = run_with(serve, b"").with(64);
        for part in ["listen", "stores"] {
            assert!(ended.stderr.contains(part), "{part} in {ended:?}");
        }
    }
}

/// A file of settings with embedded stores, as `(name, folder)`, all below one folder.
fn embedded_stores(folder: &Path, stores: &[(&str, &str)]) -> PathBuf {
    let mut text = String::new();
    for (name, place) in stores {
        let place = folder.join(place);
        let place = place.display();
        text += &format!("[[stores]]\nname = \"{name}\"\nkind = \"embedded\"\n");
        text += &format!("path = \"{place}\"\n");
    }
    let settings = folder.join("streamgate.toml");
    std::fs::write(&settings, text).unwrap();
    settings
}

fn check_connecting(settings: &Path, output: &str) -> Ended {
    let mut check = streamgate();
    check.args(["config", "check", "--connect", "--output", output, "--config"]).arg(settings);
    run_with(check, b"")
}

#[test]
fn every_store_that_does_not_open_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = embedded_stores(folder.path(), &[("hot", "hot"), ("cold", "cold")]);
    let ended = check_connecting(&settings, "json").well();
    assert_eq!(ended.json()["opened"][1]["opens"], true, "{ended:?}");

    // Folders that hold somebody else's files.
    for name in ["one", "two"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("diary.txt"), "mine").unwrap();
    }
    let stores = [("hot", "hot"), ("one", "one"), ("cold", "cold"), ("two", "two")];
    let settings = embedded_stores(folder.path(), &stores);
    let ended = check_connecting(&settings, "json").with(65);
    let opened = ended.json()["opened"].clone();
    let opens: Vec<bool> =
        opened.as_array().unwrap().iter().map(|store| store["opens"] == true).collect();
    assert_eq!(opens, [true, false, true, false], "{ended:?}");
    assert_eq!(opened[3]["class"], "invalid", "{ended:?}");
    assert!(opened[3]["problem"].as_str().unwrap().contains("no embedded store"), "{ended:?}");
    let ended = check_connecting(&settings, "text").with(65);
    assert!(ended.stdout.contains("\none ") && ended.stdout.contains("\ntwo "), "{ended:?}");
    assert!(ended.stderr.contains("2 of 4 stores"), "{ended:?}");
}

/// The check meets a server's folders while it runs, and the marks that it left.
#[test]
fn stores_in_use_and_stores_that_were_swapped_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = embedded_stores(folder.path(), &[("hot", "hot"), ("cold", "cold")]);
    check_connecting(&settings, "text").well();
    let (mut server, _) = serve(folder.path());
    let in_use = check_connecting(&settings, "text").with(69);
    assert_eq!(in_use.stdout.matches("is in use").count(), 2, "{in_use:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    check_connecting(&settings, "text").well();
    let settings = embedded_stores(folder.path(), &[("hot", "cold"), ("cold", "hot")]);
    let swapped = check_connecting(&settings, "text").with(73);
    assert!(swapped.stdout.contains("were two swapped?"), "{swapped:?}");
}

/// A proxy starts while Redis is away; who sets it up wants to know before.
#[test]
fn a_redis_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = embedded_stores(folder.path(), &[("hot", "hot")]);
    assert!(check_connecting(&settings, "json").well().json().get("redis").is_none());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = std::fs::read_to_string(&settings).unwrap();
    let redis = format!("[coordination.redis]\nurl = 'redis://:hush@127.0.0.1:{port}/'\n");
    std::fs::write(&settings, redis + &text).unwrap();
    let ended = check_connecting(&settings, "json").with(69);
    assert_eq!(ended.json()["opened"][0]["opens"], true, "{ended:?}");
    assert_eq!(ended.json()["redis"]["usable"], false, "{ended:?}");
    assert_eq!(ended.json()["redis"]["class"], "unavailable", "{ended:?}");
    let ended = check_connecting(&settings, "text").with(69);
    let told = format!("\nredis      127.0.0.1:{port} does not answer: ");
    assert!(ended.stdout.contains(&told), "{ended:?}");
    assert!(ended.stderr.contains("redis cannot be used"), "{ended:?}");
    assert!(!format!("{ended:?}").contains("hush"), "{ended:?}");
}
