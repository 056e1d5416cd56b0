//! The server of the demo: this very binary as a process of its own, in a folder of its own.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::{SOURCE, TARGET};
use crate::cli::failure::Failure;
use crate::cli::session::Session;

const LOOK_EVERY: Duration = Duration::from_millis(20);
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// What is shown of the log of a server that does not come up.
const LOG_LINES: usize = 20;

/// Where the demo keeps its configuration, its log and both stores.
pub(super) enum Folder {
    /// Removed when dropped.
    Fresh(TempDir),
    Kept(PathBuf),
}

impl Folder {
    pub(super) fn open(data_dir: Option<&Path>, keep: bool) -> Result<Self, Failure> {
        let Some(path) = data_dir else {
            let fresh = tempfile::Builder::new().prefix("streamgate-demo-").tempdir();
            let fresh = fresh.map_err(|error| Failure::local("make a folder", error))?;
            return Ok(if keep { Self::Kept(fresh.keep()) } else { Self::Fresh(fresh) });
        };
        let cannot = |error| Failure::local(format!("use the folder {}", path.display()), error);
        fs::create_dir_all(path).map_err(cannot)?;
        if fs::read_dir(path).map_err(cannot)?.next().is_some() {
            let problem = format!("{} is not empty; the demo needs a new folder", path.display());
            return Err(Failure::usage(problem));
        }
        let whole = path.canonicalize().map_err(cannot)?;
        Ok(Self::Kept(whole))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Fresh(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    pub(super) const fn is_kept(&self) -> bool {
        match self {
            Self::Fresh(_) => false,
            Self::Kept(_) => true,
        }
    }

    /// Serves the same stores at the usual addresses when it is started by hand.
    pub(super) fn config(&self) -> PathBuf {
        self.path().join("streamgate.toml")
    }

    fn log(&self) -> PathBuf {
        self.path().join("server.log")
    }
}

/// A running server.
pub(super) struct Server {
    process: Process,
    url: String,
    http: SocketAddr,
}

/// Killed when dropped.
struct Process(Child);

/// What the server writes once it serves.
#[derive(Deserialize)]
struct Ready {
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Server {
    pub(super) async fn start(session: &Session, folder: &Folder) -> Result<Self, Failure> {
        let local = |what: &str, error: io::Error| Failure::local(what.to_owned(), error);
        fs::write(folder.config(), config_text(folder.path()))
            .map_err(|error| local("write the configuration", error))?;
        let log = File::create(folder.log()).map_err(|error| local("write the log", error))?;
        let same_log = log.try_clone().map_err(|error| local("write the log", error))?;
        let ready_file = folder.path().join("ready.json");
        let program = std::env::current_exe().map_err(|error| local("find this program", error))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(folder.config());
        command.arg("--ready-file").arg(&ready_file);
        for (name, _) in std::env::vars_os() {
            // Settings of this shell are for another server.
            if name.to_string_lossy().starts_with("STREAMGATE_") {
                command.env_remove(name);
            }
        }
        command.env("STREAMGATE_SERVER__LISTEN", "127.0.0.1:0");
        command.env("STREAMGATE_SERVER__HTTP_LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(log).stderr(same_log);
        let child = command.spawn().map_err(|error| local("start the server", error))?;
        let mut process = Process(child);
        let ready = process.ready(session, folder, &ready_file).await?;
        let url = format!("http://{}", ready.grpc);
        Ok(Self { process, url, http: ready.http })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where its metrics are.
    pub(super) const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Asks it to stop and waits until it has.
    pub(super) async fn stop(mut self, session: &Session) -> Result<(), Failure> {
        self.process.ask_to_stop()?;
        let clock = &session.runtime.clock;
        let until = clock.monotonic() + STOPPED_WITHIN;
        while clock.monotonic() < until {
            match self.process.exit_status()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let problem = format!("the server ended with {status}");
                    return Err(Failure::unsuccessful(problem));
                }
                None => clock.sleep(LOOK_EVERY).await,
            }
        }
        Err(Failure::unsuccessful("the server did not stop when asked to"))
    }
}

impl Process {
    async fn ready(
        &mut self,
        session: &Session,
        folder: &Folder,
        ready_file: &Path,
    ) -> Result<Ready, Failure> {
        let clock = &session.runtime.clock;
        let until = clock.monotonic() + READY_WITHIN;
        loop {
            let written = fs::read(ready_file).ok();
            if let Some(ready) = written.and_then(|text| serde_json::from_slice(&text).ok()) {
                return Ok(ready);
            }
            let problem = match self.exit_status()? {
                Some(status) => format!("the server ended with {status}"),
                None if clock.monotonic() >= until => "the server did not come up".to_owned(),
                None => {
                    clock.sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            return Err(Failure::unsuccessful(format!("{problem}\n{}", last_lines(folder))));
        }
    }

    #[cfg(unix)]
    fn ask_to_stop(&mut self) -> Result<(), Failure> {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.0), Signal::TERM)
            .map_err(|error| Failure::local("stop the server", error.into()))
    }

    #[cfg(not(unix))]
    fn ask_to_stop(&mut self) -> Result<(), Failure> {
        self.0.kill().map_err(|error| Failure::local("stop the server", error))
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.0.try_wait().map_err(|error| Failure::local("ask after the server", error))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of a process that has ended already, this does nothing.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn config_text(folder: &Path) -> String {
    let mut text = String::from("# Made by `streamgate demo`.\n\n");
    for store in [SOURCE, TARGET] {
        let path = serde_json::Value::from(folder.join(store).display().to_string());
        // A JSON string is a TOML string too.
        text.push_str(&format!(
            "[[stores]]\nname = \"{store}\"\nkind = \"embedded\"\npath = {path}\n\n"
        ));
    }
    text.push_str(&format!("[documents]\nstore = \"{SOURCE}\"\n"));
    text
}

fn last_lines(folder: &Folder) -> String {
    let log = fs::read_to_string(folder.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_well_formed_for_any_folder() {
        let text = config_text(Path::new("/tmp/a \"b\"\\c"));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["stores"][1]["path"].as_str(), Some("/tmp/a \"b\"\\c/cold"));
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let refused = Folder::open(Some(folder.path()), false);
        assert!(matches!(refused, Err(Failure::Usage { .. })));
        let fresh = Folder::open(Some(&folder.path().join("new")), false).unwrap();
        assert!(fresh.is_kept(), "a named folder is never removed");
    }
}
