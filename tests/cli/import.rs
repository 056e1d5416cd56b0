//! `import`: order, repeats, bad lines, and connections that break.

use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cut::CuttingProxy;
use crate::process::{Server, line, run_with};

/// Lines of many objects, interleaved as live traffic is.
fn interleaved(objects: usize, each: usize) -> String {
    let mut text = String::new();
    for index in 0..each {
        for object in 0..objects {
            text.push_str(&line("count", &object.to_string(), index));
        }
    }
    text
}

#[track_caller]
fn assert_whole(server: &Server, objects: usize, each: usize) {
    for object in 0..objects {
        let history = server.history(&format!("count/{object}"));
        let counted: Vec<f64> =
            history.iter().map(|event| event["payload"]["n"].as_f64().unwrap()).collect();
        let expected: Vec<f64> = (0..each).map(|index| index as f64).collect();
        assert_eq!(counted, expected, "object {object}");
    }
}

#[test]
fn many_in_flight_keep_the_order_of_each_object() {
    let server = Server::start();
    let path = server.path("events.jsonl");
    fs::write(&path, interleaved(40, 25)).unwrap();
    let path = path.to_str().unwrap();
    let import = ["import", path, "--output", "json"];
    let counts = server.run(&import).well().json();
    assert_eq!(counts["appended"], 1_000);
    assert_whole(&server, 40, 25);

    let again = server.run(&import).well().json();
    assert_eq!((&again["appended"], &again["replayed"]), (&0.into(), &1_000.into()));
    assert_whole(&server, 40, 25);

    let text = server.run(&["import", path]).well();
    assert!(text.stdout.starts_with("0 appended, 1,000 replayed, 0 failed in "), "{text:?}");
}

#[test]
fn gzip_needs_no_name_and_no_file() {
    let server = Server::start();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(interleaved(3, 5).as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let counts = run_with(server.command(&["import", "--output", "json"]), &packed).well().json();
    assert_eq!(counts["appended"], 15);
    assert_whole(&server, 3, 5);
}

#[test]
fn payloads_arrive_as_the_characters_of_their_lines() {
    let server = Server::start();
    run_with(server.command(&["import"]), line("count", "1", 7).as_bytes()).well();
    let read = server.run(&["read", "count/1"]).well();
    assert!(read.stdout.contains("\"payload\":{ \"n\" : 7.0 }}"), "{read:?}");
}

#[test]
fn what_read_prints_is_what_import_takes() {
    let (from, to) = (Server::start(), Server::start());
    from.fill("order", "a/b", 3);
    let append = ["append", "order/a/b", "T", "--payload-file", "-", "--metadata", "k=v"];
    run_with(from.command(&append), b"\xff\x00").well();
    run_with(from.command(&append), b"text\n").well();
    let printed = from.run(&["read", "order/a/b"]).well().stdout;
    run_with(to.command(&["import"]), printed.as_bytes()).well();
    assert_eq!(to.history("order/a/b"), from.history("order/a/b"));
    assert_eq!(to.history("order/a/b").len(), 5);
}

#[test]
fn a_bad_line_is_named_and_nothing_behind_it_is_sent() {
    let server = Server::start();
    let good = interleaved(2, 2);
    let text = format!("{good}\n{{\"object_name\":\n{}", line("count", "9", 0));
    let import = server.command(&["import", "--output", "json"]);
    let ended = run_with(import, text.as_bytes()).with(1);
    assert!(ended.stderr.contains("line 6: "), "{ended:?}");
    let counts = ended.json();
    assert_eq!((&counts["appended"], &counts["failed"]), (&4.into(), &1.into()));
    assert_eq!(counts["resume_at_line"], 6);
    server.run(&["read", "count/9"]).with(66);

    let mended = format!("{good}\n{}{}", line("count", "1", 2), line("count", "9", 0));
    let import = server.command(&["import", "--from-line", "6", "--output", "json"]);
    assert_eq!(run_with(import, mended.as_bytes()).well().json()["appended"], 2);
    assert_eq!(server.history("count/9").len(), 1);
}

#[test]
fn a_refused_line_holds_back_its_object_alone() {
    let server = Server::start();
    let refused = line("count", "1", 1).replace("Counted", "");
    let text = [
        line("count", "1", 0),
        refused,
        line("count", "2", 0),
        line("count", "1", 2),
        line("count", "2", 1),
    ];
    let import = server.command(&["import", "--output", "json"]);
    let ended = run_with(import, text.concat().as_bytes()).with(1);
    assert!(ended.stderr.contains("line 2: error: INVALID_ARGUMENT"), "{ended:?}");
    let counts = ended.json();
    assert_eq!((&counts["appended"], &counts["failed"]), (&3.into(), &1.into()));
    assert_eq!((&counts["held_back"], &counts["resume_at_line"]), (&1.into(), &2.into()));
    assert_eq!(server.history("count/1").len(), 1);
    assert_eq!(server.history("count/2").len(), 2);
}

#[test]
fn broken_connections_double_nothing_and_lose_nothing() {
    let server = Server::start();
    let proxy = CuttingProxy::start(&server.address);
    let mut import = crate::process::streamgate();
    import.args(["import", "--server", &proxy.address, "--output", "json"]);
    import.args(["--in-flight", "16", "--connections", "4"]);
    let counts = run_with(import, interleaved(20, 20).as_bytes()).well().json();
    let told = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(told("appended") + told("replayed"), 400, "{counts}");
    assert_eq!(told("failed"), 0, "{counts}");
    assert!(told("repeats") > 0 && proxy.cuts() > 0, "nothing was cut: {counts}");
    assert_whole(&server, 20, 20);
}

#[test]
fn a_server_that_stays_away_ends_the_import() {
    let server = Server::start();
    let mut import = crate::process::streamgate();
    import.args(["import", "--server", &server.address, "--retry-for", "300ms"]);
    drop(server);
    let ended = run_with(import, interleaved(100, 3).as_bytes()).with(69);
    assert!(ended.stderr.contains("SERVER_UNREACHABLE"), "{ended:?}");
    assert!(ended.stderr.contains("--from-line 1"), "{ended:?}");
}
