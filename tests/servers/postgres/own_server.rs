//! A server that one test has to itself, to restart it or to give it other settings.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::kit::hand;
use crate::service::variable;

pub(super) struct OwnServer {
    pub(super) url: String,
    script: String,
    folder: TempDir,
}

impl OwnServer {
    pub(super) fn start() -> Self {
        let script = variable("STREAMGATE_TEST_SERVICES");
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { url: String::new(), script, folder };
        server.say(&["--no-install", "up", "postgres"]);
        let told = server.say(&["env"]);
        let url =
            told.lines().find_map(|line| line.strip_prefix("export STREAMGATE_TEST_POSTGRES_URL="));
        server.url = url.expect("the script says where the server listens").to_owned();
        server
    }

    /// As its makers mean it to be stopped, and started on the same port.
    pub(super) fn restart(&self) {
        self.say(&["restart", "postgres"]);
    }

    pub(super) fn stop(&self) {
        self.say(&["stop", "postgres"]);
    }

    pub(super) fn start_again(&self) {
        self.say(&["start", "postgres"]);
    }

    pub(super) async fn data_folder(&self) -> PathBuf {
        let row = hand(&self.url).await.query_one("SHOW data_directory", &[]).await.unwrap();
        PathBuf::from(row.get::<_, &str>(0))
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
