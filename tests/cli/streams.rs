//! Stdout and stderr: data on the one, everything else on the other, and readers that leave.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::process::{Server, run_with};

#[test]
fn a_reader_that_leaves_early_ends_the_command_quietly() {
    let server = Server::start();
    server.fill("long", "1", 5_000);
    let mut child = server
        .command(&["read", "long/1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(1, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("\"version\":0"), "{first}");
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn no_command_minds_a_closed_stdout_or_stderr() {
    let server = Server::start();
    server.fill("order", "1", 3);
    let commands: &[(&[&str], i32)] = &[
        (&["--help"], 0),
        (&["completions", "bash"], 0),
        (&["health"], 0),
        (&["read", "order/1"], 0),
        (&["objects", "list"], 0),
        (&["migrate", "order/1", "--to", "cold"], 0),
        (&["read", "order/none"], 66),
    ];
    for (arguments, code) in commands {
        let mut child = server
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(*code), "{arguments:?}");
    }
}

#[test]
fn stdout_holds_data_alone() {
    let server = Server::start();
    server.fill("order", "1", 3);
    let migrate = server.run(&["migrate", "order/1", "--to", "cold", "--output", "json"]).well();
    assert_eq!(migrate.json()["phase"], "SUCCEEDED");
    assert!(migrate.stderr.contains("request id "), "{migrate:?}");
    let import = server.command(&["import", "--output", "json"]);
    assert_eq!(run_with(import, b"").well().json()["appended"], 0);
}
