//! A server that one test has to itself, to restart it or to give it other settings.

use std::process::Command;

use tempfile::TempDir;

use crate::service::variable;

/// Stopped, and forgotten, when it is dropped.
pub(crate) struct OwnServer {
    kind: &'static str,
    /// Where it listens, as the shared one's variable says it.
    pub(crate) place: String,
    script: String,
    folder: TempDir,
}

impl OwnServer {
    pub(crate) fn postgres() -> Self {
        Self::start("postgres", "STREAMGATE_TEST_POSTGRES_URL")
    }

    pub(crate) fn azure_blob() -> Self {
        Self::start("azure_blob", "STREAMGATE_TEST_AZURE_BLOB_ENDPOINT")
    }

    fn start(kind: &'static str, name: &str) -> Self {
        let script = variable("STREAMGATE_TEST_SERVICES");
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { kind, place: String::new(), script, folder };
        server.say(&["--no-install", "up", kind]);
        let told = server.say(&["env"]);
        let begins = format!("export {name}=");
        let place = told.lines().find_map(|line| line.strip_prefix(&begins));
        server.place = place.expect("the script says where the server listens").to_owned();
        server
    }

    /// As its makers mean it to be stopped, and started on the same port.
    pub(crate) fn restart(&self) {
        self.say(&["restart", self.kind]);
    }

    pub(crate) fn stop(&self) {
        self.say(&["stop", self.kind]);
    }

    pub(crate) fn start_again(&self) {
        self.say(&["start", self.kind]);
    }

    fn say(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.script);
        command.arg("--in").arg(self.folder.path().join("services")).args(arguments);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}{errors}");
        told
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let mut command = Command::new(&self.script);
        let _ = command.arg("--in").arg(self.folder.path().join("services")).arg("down").output();
    }
}
