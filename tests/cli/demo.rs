//! `demo`, in small: the whole way with a real server on embedded stores.

use std::fs;

use crate::process::{run_with, serve, streamgate};

#[test]
fn the_demo_moves_everything_and_proves_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut demo = streamgate();
    demo.args(["demo", "--objects", "12", "--writers", "4", "--seconds", "2"]);
    demo.args(["--output", "json"]).env("TMPDIR", scratch.path());
    // Settings of the shell are for another server.
    demo.env("STREAMGATE_SERVER__LISTEN", "nowhere");
    let ended = run_with(demo, b"").well();
    let report = ended.json();
    let told = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert_eq!((told("objects_moved"), told("objects_verified")), (12, 12));
    assert_eq!(told("client_errors") + told("faults"), 0);
    assert!(told("events_appended") > 100, "{report}");
    assert_eq!(told("events_verified"), told("events_appended"));
    assert!(ended.stderr.contains("Next: "), "{ended:?}");
    assert!(ended.stderr.contains("of 12 objects moved"), "plain lines: {ended:?}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "it cleans up");
}

#[test]
fn what_the_demo_keeps_can_be_served_again() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("kept");
    let mut demo = streamgate();
    demo.args(["demo", "--objects", "3", "--writers", "2", "--seconds", "1", "--data-dir"]);
    demo.arg(&folder);
    let ended = run_with(demo, b"").well();
    assert!(ended.stdout.contains("client errors: 0"), "{ended:?}");
    assert!(ended.stdout.contains("3 objects, hot -> cold"), "{ended:?}");
    let config = folder.join("streamgate.toml");
    assert!(ended.stderr.contains(config.to_str().unwrap()), "{ended:?}");

    let (mut child, address) = serve(&folder);
    let mut list = streamgate();
    list.args(["objects", "list", "--store", "cold", "--server", &address]);
    assert_eq!(run_with(list, b"").well().stdout.lines().count(), 3);
    child.kill().unwrap();
    child.wait().unwrap();

    let mut again = streamgate();
    again.args(["demo", "--data-dir"]).arg(&folder);
    let refused = run_with(again, b"").with(2);
    assert!(refused.stderr.contains("not empty"), "{refused:?}");
}
