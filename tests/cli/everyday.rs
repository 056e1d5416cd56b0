//! What people type every day: append, read, objects, health, completions.

use std::fs;

use crate::process::{Server, run_with, streamgate};

#[test]
fn an_event_is_read_back_with_the_very_characters_of_its_payload() {
    let server = Server::start();
    let payload = r#"{ "total" : 70.0, "total":"\u00e4" }"#;
    let append = ["append", "order/a/b%2F", "Placed", payload, "--metadata", "by=me=you"];
    let text = server.run(&append).well();
    assert!(text.stdout.starts_with("order/a/b%2F version 0 event "), "{text:?}");
    let read = server.run(&["read", "order/a/b%2F"]).well();
    assert_eq!(read.stdout.matches(payload).count(), 1, "{read:?}");
    let event = &read.json_lines()[0];
    assert_eq!(event["version"], 0);
    assert_eq!(event["content_type"], "application/json");
    assert_eq!(event["schema_version"], 1);
    assert_eq!(event["metadata"]["by"], "me=you");
    let shown = server.run(&["read", "order/a/b%2F", "--output", "text"]).well();
    assert!(shown.stdout.contains("Placed") && shown.stdout.contains(payload), "{shown:?}");
}

#[test]
fn payloads_come_from_files_and_from_stdin_byte_for_byte() {
    let server = Server::start();
    let path = server.path("payload.bin");
    fs::write(&path, [0xff, 0x00, 0x0a]).unwrap();
    let path = path.to_str().unwrap();
    server.run(&["append", "blob/1", "Stored", "--payload-file", path]).well();
    let append = ["append", "blob/1", "Stored", "--payload-file", "-", "--schema-version", "9"];
    run_with(server.command(&append), b"two\nlines").well();
    let events = server.run(&["read", "blob/1"]).well().json_lines();
    assert_eq!(events[0]["payload_base64"], "/wAK");
    assert_eq!(events[0]["content_type"], "application/octet-stream");
    assert_eq!(events[1]["payload_text"], "two\nlines");
    assert_eq!(events[1]["content_type"], "text/plain");
    assert_eq!(events[1]["schema_version"], 9);
}

#[test]
fn the_expected_version_decides() {
    let server = Server::start();
    let append = |expected: &str, code: i32| {
        let arguments = ["append", "order/1", "T", "1", "--expected-version", expected];
        server.run(&arguments).with(code)
    };
    append("stream_exists", 73);
    append("no_stream", 0);
    append("no_stream", 73);
    append("0", 0);
    append("any", 0);
    let conflict = append("1", 73);
    for part in ["WRONG_EXPECTED_VERSION", "actual", "next: "] {
        assert!(conflict.stderr.contains(part), "{part} in {conflict:?}");
    }
    assert_eq!(server.history("order/1").len(), 3);
}

#[test]
fn a_repeat_with_the_same_id_is_recognised() {
    let server = Server::start();
    let id = "8c1a3c3e-5b9c-4a52-9c5e-0d9a7b1d2c3f";
    let append = ["append", "order/1", "T", "1", "--event-id", id, "--output", "json"];
    let first = server.run(&append).well().json();
    assert_eq!((&first["replay"], &first["last_version"]), (&false.into(), &0.into()));
    server.run(&["append", "order/1", "T", "2"]).well();
    let again = server.run(&append).well().json();
    assert_eq!((&again["replay"], &again["last_version"]), (&true.into(), &0.into()));
    assert_eq!(again["event_ids"][0], id);
    let other = ["append", "order/1", "T", "other bytes", "--event-id", id];
    let refused = server.run(&other).with(73);
    assert!(refused.stderr.contains("DUPLICATE_EVENT_ID"), "{refused:?}");
}

#[test]
fn a_read_starts_and_ends_where_it_is_told() {
    let server = Server::start();
    server.fill("count", "1", 30);
    let versions = |arguments: &[&str]| -> Vec<u64> {
        let mut all = vec!["read", "count/1"];
        all.extend(arguments);
        let lines = server.run(&all).well().json_lines();
        lines.iter().map(|event| event["version"].as_u64().unwrap()).collect()
    };
    assert_eq!(versions(&["--from-version", "28"]), [28, 29]);
    assert_eq!(versions(&["--events-max", "2"]), [0, 1]);
    assert_eq!(versions(&["--from-version", "5", "--bytes-max", "1"]), [5]);
    assert!(versions(&["--from-version", "30"]).is_empty());
    assert_eq!(versions(&[]).len(), 30);
}

#[test]
fn objects_are_listed_by_name_and_store_and_shown() {
    let server = Server::start();
    for object in ["order/1", "order/2", "crm.Person/ä 🦀"] {
        server.run(&["append", object, "T", "1"]).well();
    }
    let listed = |arguments: &[&str]| {
        let mut all = vec!["objects", "list", "--output", "json"];
        all.extend(arguments);
        server.run(&all).well().json_lines().len()
    };
    assert_eq!(listed(&[]), 3);
    assert_eq!(listed(&["--limit", "2"]), 2);
    assert_eq!(listed(&["--object-name", "order"]), 2);
    assert_eq!(listed(&["--store", "hot"]), 3);
    assert_eq!(listed(&["--store", "cold"]), 0);
    let shown = server.run(&["objects", "show", "crm.Person/ä 🦀", "--output", "json"]).well();
    assert_eq!(shown.json()["object_id"], "ä 🦀");
    assert_eq!(shown.json()["head_version"], 0);
    assert_eq!(shown.json()["chain"][0]["store"], "hot");
    let text = server.run(&["objects", "show", "order/1"]).well().stdout;
    assert!(text.contains("head      version 0") && text.contains("active    hot"), "{text}");
    let text = server.run(&["objects", "list"]).well().stdout;
    assert!(text.contains("crm.Person/ä 🦀"), "{text}");
}

#[test]
fn health_is_told_by_the_exit_code() {
    let server = Server::start();
    assert_eq!(server.run(&["health"]).well().stdout, "SERVING\n");
    let json = server.run(&["health", "--output", "json"]).well().json();
    assert_eq!(json["status"], "SERVING");
    let service = ["health", "--service", "streamgate.v1.MigrationService"];
    assert_eq!(server.run(&service).well().stdout, "SERVING\n");
    server.run(&["health", "--service", "nobody"]).with(66);
    let address = server.address.clone();
    drop(server);
    let mut health = streamgate();
    health.args(["health", "--server", &address]);
    let gone = run_with(health, b"").with(69);
    assert!(gone.stderr.contains("SERVER_UNREACHABLE"), "{gone:?}");
    assert!(gone.stderr.contains("streamgate serve"), "{gone:?}");
}

#[test]
fn the_server_may_be_named_by_the_environment() {
    let server = Server::start();
    let mut health = streamgate();
    health.arg("health").env("STREAMGATE_SERVER", &server.address);
    run_with(health, b"").well();
}

#[test]
fn every_shell_is_completed() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let mut completions = streamgate();
        completions.args(["completions", shell]);
        let script = run_with(completions, b"").well().stdout;
        assert!(script.contains("migrations") && script.contains("streamgate"), "{shell}");
    }
}
