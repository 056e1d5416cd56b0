//! The binary as a process: a server on free ports, and commands that speak to it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the binary, untouched by the settings of whoever runs the tests.
pub(crate) fn streamgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMGATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Stdout as one value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Stdout as one value a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// The error as one value, the last line of stderr.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        let value: Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        value["error"].clone()
    }
}

/// Runs a command to its end, with something on its stdin.
pub(crate) fn run_with(mut command: Command, stdin: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // The command may well end before it has read everything.
    let writing = std::thread::spawn(move || _ = input.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    Ended {
        code: output.status.code().expect("it ended by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits for a condition that another process brings about.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server with the stores `hot`, `cold` and `frozen`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for store in ["hot", "cold", "frozen"] {
            text.push_str(&format!("[[stores]]\nname = \"{store}\"\nkind = \"memory\"\n\n"));
        }
        fs::write(folder.path().join("streamgate.toml"), text).unwrap();
        let (child, address) = serve(folder.path());
        Self { child, folder, address }
    }

    /// A command that is pointed at this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = streamgate();
        command.args(["--server", &self.address]).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run_with(self.command(arguments), b"")
    }

    /// The history of an object, without what differs between two recordings of it.
    pub(crate) fn history(&self, object: &str) -> Vec<Value> {
        let mut events = self.run(&["read", object]).well().json_lines();
        for event in &mut events {
            event.as_object_mut().unwrap().remove("recorded_at");
        }
        events
    }

    /// Appends `count` small events to an object.
    pub(crate) fn fill(&self, name: &str, id: &str, count: usize) {
        let lines: String = (0..count).map(|index| line(name, id, index)).collect();
        let filled = self.command(&["import", "--output", "json"]);
        assert_eq!(run_with(filled, lines.as_bytes()).well().json()["appended"], count);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A line to import: ids follow from the object and the index.
pub(crate) fn line(name: &str, id: &str, index: usize) -> String {
    let event_id = uuid::Uuid::from_u128(
        (u128::from(name.len() as u64) << 120)
            | id.bytes().fold(7_u128, |hash, byte| (hash * 31 + u128::from(byte)) % (1 << 80))
                << 32
            | index as u128,
    );
    format!(
        "{{\"object_name\":\"{name}\",\"object_id\":\"{id}\",\"event_id\":\"{event_id}\",\
         \"event_type\":\"Counted\",\"payload\":{{ \"n\" : {index}.0 }}}}\n"
    )
}

/// Starts a server on a configuration and returns its URL.
pub(crate) fn serve(folder: &Path) -> (Child, String) {
    let ready = folder.join("ready.json");
    _ = fs::remove_file(&ready);
    let log = fs::File::create(folder.join("server.log")).unwrap();
    let mut command = streamgate();
    command.arg("serve").arg("--config").arg(folder.join("streamgate.toml"));
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.arg("--ready-file").arg(&ready);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    let address = wait_until("the server serves", || {
        if let Some(status) = child.try_wait().unwrap() {
            let log = fs::read_to_string(folder.join("server.log")).unwrap();
            panic!("the server ended with {status}: {log}");
        }
        let ready: Value = serde_json::from_slice(&fs::read(&ready).ok()?).ok()?;
        Some(ready["grpc"].as_str()?.to_owned())
    });
    (child, format!("http://{address}"))
}
