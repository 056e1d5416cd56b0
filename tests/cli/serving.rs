//! `serve` on folders of this machine: what it says, how it stops, and which folders it refuses.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::process::{Ended, run_with, serve, streamgate};

/// A folder with settings for two durable stores.
fn settings() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &[("hot", "hot"), ("cold", "cold")]);
    folder
}

fn configure(folder: &Path, stores: &[(&str, &str)]) {
    let mut text = String::new();
    for (name, path) in stores {
        let path = folder.join(path).display().to_string();
        text.push_str(&format!(
            "[[stores]]\nname = \"{name}\"\nkind = \"embedded\"\npath = \"{path}\"\n\n"
        ));
    }
    fs::write(folder.join("streamgate.toml"), text).unwrap();
}

/// A server that is expected to end by itself.
fn refused(folder: &Path) -> Ended {
    let mut command = streamgate();
    command.arg("serve").arg("--config").arg(folder.join("streamgate.toml"));
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    run_with(command, b"")
}

fn run(address: &str, arguments: &[&str]) -> Ended {
    let mut command = streamgate();
    command.args(["--server", address]).args(arguments);
    run_with(command, b"")
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("server.log")).unwrap()
}

#[test]
fn the_first_words_say_where_and_what_to_type_next() {
    let folder = settings();
    let (mut child, address) = serve(folder.path());
    let words = log(folder.path());
    let place = address.strip_prefix("http://").unwrap();
    assert!(words.contains(&format!("serves gRPC on {place}")), "{words}");
    assert!(words.contains(&folder.path().join("hot").display().to_string()), "{words}");
    assert!(words.contains("/metrics"), "{words}");

    // The line to type works as it stands.
    let line = words.lines().find(|line| line.trim().starts_with("streamgate append")).unwrap();
    let typed = line.trim().strip_prefix("streamgate ").unwrap();
    let binary = env!("CARGO_BIN_EXE_streamgate");
    let done = Command::new("sh").args(["-c", &format!("'{binary}' {typed}")]).status().unwrap();
    assert!(done.success());
    assert_eq!(run(&address, &["read", "order/1"]).well().json_lines().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn both_signals_stop_it_gracefully_and_what_was_said_is_there_again() {
    let folder = settings();
    for (round, name) in ["-TERM", "-INT", "-KILL"].into_iter().enumerate() {
        let (mut child, address) = serve(folder.path());
        assert_eq!(run(&address, &["read", "order/1"]).stdout.lines().count(), round, "{name}");
        run(&address, &["append", "order/1", "OrderPlaced", "{}"]).well();
        signal(&child, name);
        let status = child.wait().unwrap();
        assert_eq!(status.success(), name != "-KILL", "{}", log(folder.path()));
    }
    let (mut child, address) = serve(folder.path());
    assert_eq!(run(&address, &["read", "order/1"]).well().json_lines().len(), 3);
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_folder_that_is_in_use_is_refused() {
    let folder = settings();
    let (mut child, _) = serve(folder.path());
    let ended = refused(folder.path()).with(69);
    assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn swapped_foreign_newer_and_damaged_folders_are_refused_each_with_its_word() {
    let folder = settings();
    let (mut child, address) = serve(folder.path());
    run(&address, &["append", "order/1", "OrderPlaced", "{}"]).well();
    signal(&child, "-TERM");
    child.wait().unwrap();

    configure(folder.path(), &[("hot", "cold"), ("cold", "hot")]);
    let swapped = refused(folder.path()).with(73);
    assert!(swapped.stderr.contains("swapped"), "{}", swapped.stderr);

    configure(folder.path(), &[("hot", "new"), ("cold", "cold")]);
    let lost = refused(folder.path()).with(73);
    assert!(lost.stderr.contains("documents.store"), "{}", lost.stderr);

    fs::create_dir(folder.path().join("letters")).unwrap();
    fs::write(folder.path().join("letters/dear.txt"), "dear").unwrap();
    configure(folder.path(), &[("hot", "letters")]);
    let foreign = refused(folder.path()).with(65);
    assert!(foreign.stderr.contains("no embedded store"), "{}", foreign.stderr);

    configure(folder.path(), &[("hot", "hot"), ("cold", "cold")]);
    let mark = folder.path().join("hot/STORE");
    let whole = fs::read(&mark).unwrap();
    let mut newer = whole.clone();
    newer[35] = 2;
    let title = crc32fast::hash(&newer[..36]);
    newer[36..40].copy_from_slice(&title.to_be_bytes());
    fs::write(&mark, &newer).unwrap();
    let newer = refused(folder.path()).with(72);
    assert!(newer.stderr.contains("format 2"), "{}", newer.stderr);

    fs::write(&mark, &whole[..100]).unwrap();
    let damaged = refused(folder.path()).with(72);
    assert!(damaged.stderr.contains("damaged"), "{}", damaged.stderr);

    fs::write(&mark, &whole).unwrap();
    let (mut child, address) = serve(folder.path());
    assert_eq!(run(&address, &["read", "order/1"]).well().json_lines().len(), 1, "nothing lost");
    child.kill().unwrap();
    child.wait().unwrap();
}
