//! A Redis that one test has to itself, to kill it. It keeps nothing: whatever is started again is
//! empty.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::client::until;

/// Listens on a socket of the file system, which nobody else can take while it is down.
pub(super) struct Redis {
    folder: TempDir,
    child: Child,
}

impl Redis {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = launch(&folder);
        let redis = Self { folder, child };
        redis.answers().await;
        redis
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.folder)
    }

    /// No more than the kernel does for it.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        self.child = launch(&self.folder);
        self.answers().await;
    }

    async fn answers(&self) {
        until("Redis answers", async || {
            let mut connection = UnixStream::connect(self.socket()).await.ok()?;
            connection.write_all(b"PING\r\n").await.ok()?;
            let mut answer = [0; 7];
            connection.read_exact(&mut answer).await.ok()?;
            (answer == *b"+PONG\r\n").then_some(())
        })
        .await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended; then both have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

fn launch(folder: &TempDir) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
    command.arg(socket_in(folder)).arg("--dir").arg(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // An interrupt of the tests is not meant for it.
    command.process_group(0);
    command.spawn().expect("redis-server can be started; `scripts/services up redis` installs it")
}
