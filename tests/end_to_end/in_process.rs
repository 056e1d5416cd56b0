//! A server in this process, on embedded stores in a folder of its own, reached over TCP.

#[cfg(feature = "servers")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use streamgate::app::{App, AppParts, Listeners, Resources, Stopped, registry};
use streamgate::config::{Config, Layers};
use streamgate::domain::Timestamp;
use streamgate::runtime::{Clock, Runtime, SystemClock};
use tempfile::TempDir;

use crate::client::Client;
use crate::permits::STORES;

pub(crate) struct InProcess {
    app: App,
    _folder: TempDir,
}

impl InProcess {
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Some((PathBuf::from("test.toml"), config_text(&folder)));
        let config = Config::assemble(Layers { file, ..Layers::default() }).unwrap();
        let runtime = Runtime { clock, ..Runtime::system() };
        let mut registry = registry();
        let listeners = Listeners::bind(&config.server).await.unwrap();
        let resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
        let parts = AppParts { config, runtime, resources, listeners, registry };
        Self { app: App::start(parts).await.unwrap(), _folder: folder }
    }

    #[cfg(feature = "servers")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.app.grpc_address()
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self) -> Client {
        Client::to(self.app.grpc_address())
    }

    /// A counter as the metrics endpoint tells it.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let address = self.app.http_address().expect("metrics are served");
        crate::metrics::counter(address, name).await
    }

    /// Nothing in flight may be left to cut off.
    pub(crate) async fn stop(self) {
        assert_eq!(self.app.stop().await, Stopped::InTime);
    }
}

fn config_text(folder: &TempDir) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\ndata_dir = {:?}\n",
        folder.path()
    );
    for store in STORES {
        text += &format!("[[stores]]\nname = \"{store}\"\nkind = \"embedded\"\n");
    }
    text
}

/// A wall clock that stands for a while and then falls, again and again.
pub(crate) struct FallingClock {
    start: Timestamp,
    looks: AtomicI64,
}

const LOOKS_BETWEEN_FALLS: i64 = 3;
const FALL_NANOS: i64 = 250_000_001;

impl FallingClock {
    pub(crate) fn new() -> Self {
        Self { start: SystemClock.now(), looks: AtomicI64::new(0) }
    }
}

#[async_trait]
impl Clock for FallingClock {
    fn now(&self) -> Timestamp {
        let falls = self.looks.fetch_add(1, Ordering::Relaxed) / LOOKS_BETWEEN_FALLS;
        Timestamp::from_nanos(self.start.nanos() - falls * FALL_NANOS)
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}
