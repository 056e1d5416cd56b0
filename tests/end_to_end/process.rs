//! A server as a process of its own: started, traced, told to stop, killed; killed at the latest
//! when it is dropped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::client::{Client, until};

/// What is shown of the log of a server that did what it should not.
const LOG_LINES: usize = 30;

/// The folder of one server, over all its lives.
pub(crate) struct Folder {
    folder: TempDir,
    grace_period: Duration,
    sections: String,
}

impl Folder {
    pub(crate) fn new(grace_period: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, grace_period, sections: String::new() }
    }

    /// With more sections of settings.
    #[cfg(feature = "servers")]
    pub(crate) fn with_sections(self, sections: String) -> Self {
        Self { sections, ..self }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a server; [`Server::ready`] waits until it serves.
    pub(crate) fn start(&self, tracing: &Tracing) -> Server {
        self.start_as(tracing, "")
    }

    /// Starts a server with more settings of each store.
    pub(crate) fn start_with(&self, store_settings: &str) -> Server {
        self.start_as(&Tracing::Off, store_settings)
    }

    fn start_as(&self, tracing: &Tracing, store_settings: &str) -> Server {
        self.start_configured(tracing, &self.config_text(store_settings))
    }

    /// Starts a server with these settings.
    pub(crate) fn start_configured(&self, tracing: &Tracing, settings: &str) -> Server {
        let config = self.path("streamgate.toml");
        fs::write(&config, settings).unwrap();
        let ready_file = self.path("ready.json");
        if ready_file.exists() {
            fs::remove_file(&ready_file).unwrap();
        }
        let log = self.path("server.log");
        let mut command = tracing.command();
        command.arg("serve").arg("--config").arg(&config);
        command.arg("--ready-file").arg(&ready_file);
        for (name, _) in std::env::vars_os() {
            // Settings of whoever runs the tests are for another server.
            if name.to_string_lossy().starts_with("STREAMGATE_") {
                command.env_remove(name);
            }
        }
        let log_file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
        // Of its own process group, so that an interrupt of the tests is not taken for a stop.
        command.process_group(0);
        let child = command.spawn().expect("the program can be started");
        Server { child, ready_file, log }
    }

    /// What the last server said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    fn config_text(&self, store_settings: &str) -> String {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n\
             data_dir = {:?}\ngrace_period = \"{}ms\"\n\
             [migration]\nscan_interval = \"500ms\"\n{}\
             [[stores]]\nname = \"hot\"\nkind = \"embedded\"\n{store_settings}\
             [[stores]]\nname = \"cold\"\nkind = \"embedded\"\n{store_settings}",
            self.path("data"),
            self.grace_period.as_millis(),
            self.sections
        )
    }
}

/// Whether the calls of the server into the system are written down.
pub(crate) enum Tracing {
    Off,
    /// These calls, one a line, into this file.
    Calls {
        names: &'static [&'static str],
        file: PathBuf,
    },
}

impl Tracing {
    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_streamgate");
        match self {
            Self::Off => Command::new(program),
            Self::Calls { names, file } => {
                let mut command = Command::new("strace");
                // The tracer is the grandchild, so that the child is the server itself.
                command.args(["-D", "-f", "-q"]);
                let names = names.join(",");
                command.arg("-e").arg(format!("trace={names}"));
                // A little later, so that whatever does not wait for them is seen to be early.
                command.arg("-e").arg(format!("inject={names}:delay_enter=1000"));
                command.arg("-o").arg(file).arg(program);
                command
            }
        }
    }
}

pub(crate) struct Server {
    child: Child,
    ready_file: PathBuf,
    log: PathBuf,
}

/// Where a server listens.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) grpc: SocketAddr,
    /// Fleets alone ask for metrics.
    #[cfg(feature = "servers")]
    pub(crate) http: SocketAddr,
}

impl Server {
    /// The address that it serves gRPC on.
    pub(crate) async fn ready(&mut self) -> SocketAddr {
        self.addresses().await.grpc
    }

    /// Waits until it serves.
    pub(crate) async fn addresses(&mut self) -> Addresses {
        until("the server is ready", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}\n{}", last_lines(&self.log));
            }
            let text = fs::read(&self.ready_file).ok()?;
            Some(serde_json::from_slice(&text).expect("it is written whole"))
        })
        .await
    }

    pub(crate) async fn client(&mut self) -> Client {
        Client::to(self.ready().await)
    }

    /// Waits until it says its first word, which is before it serves.
    pub(crate) async fn stirs(&mut self) {
        until("the server says something", async || {
            let log = fs::metadata(&self.log).ok()?;
            (log.len() > 0).then_some(())
        })
        .await;
    }

    /// Bytes that the process has in memory now.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// No signal handler and no destructor runs.
    pub(crate) fn kill(mut self) {
        let running = self.child.try_wait().unwrap();
        if let Some(status) = running {
            panic!("the server ended with {status}\n{}", last_lines(&self.log));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as an operator would.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let told = Command::new("kill").args([&signal, &pid]).status().unwrap();
        assert!(told.success(), "kill {signal} {pid}: {told}");
    }

    pub(crate) async fn exit_status(mut self) -> ExitStatus {
        until("the server ends", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; then both have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the last words of the server:\n{}", last_lines(&self.log));
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
