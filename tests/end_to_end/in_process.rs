//! Servers in this process, on embedded stores in a folder of their own or on others, reached over
//! TCP.

#[cfg(feature = "servers")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use streamgate::app::{App, AppParts, Listeners, Resources, Stopped, registry};
use streamgate::config::{Config, Layers};
use streamgate::coordination::InProcessHints;
use streamgate::domain::Timestamp;
use streamgate::runtime::{Clock, Runtime, SystemClock};
use tempfile::TempDir;

use super::client::Client;
use super::permits::STORES;

pub(crate) struct InProcess {
    app: App,
    config: Config,
    clock: Arc<dyn Clock>,
    resources: Resources,
    folder: Arc<TempDir>,
}

impl InProcess {
    /// On embedded stores of these names.
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        let store = |name| format!("[[stores]]\nname = \"{name}\"\nkind = \"embedded\"\n");
        Self::over(&STORES.map(store).concat(), clock).await
    }

    /// On the stores of these settings.
    pub(crate) async fn over(settings: &str, clock: Arc<dyn Clock>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n\
             data_dir = {:?}\n{settings}",
            folder.path()
        );
        let file = Some((PathBuf::from("test.toml"), text));
        let config = Config::assemble(Layers { file, ..Layers::default() }).unwrap();
        let runtime = Runtime { clock: Arc::clone(&clock), ..Runtime::system() };
        let mut registry = registry();
        let resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
        Self::serve(config, runtime, resources, registry, folder).await
    }

    /// Another proxy of the same deployment, which knows nothing of what this one remembers, and
    /// does not hear of what it does.
    pub(crate) async fn another(&self) -> Self {
        let runtime = Runtime { clock: Arc::clone(&self.clock), ..Runtime::system() };
        let (mut resources, folder) = (self.resources.clone(), Arc::clone(&self.folder));
        resources.hints = Arc::new(InProcessHints::default());
        Self::serve(self.config.clone(), runtime, resources, registry(), folder).await
    }

    async fn serve(
        config: Config,
        runtime: Runtime,
        resources: Resources,
        registry: Registry,
        folder: Arc<TempDir>,
    ) -> Self {
        let clock = Arc::clone(&runtime.clock);
        let listeners = Listeners::bind(&config.server).await.unwrap();
        let parts = AppParts {
            config: config.clone(),
            runtime,
            resources: resources.clone(),
            listeners,
            registry,
        };
        Self { app: App::start(parts).await.unwrap(), config, clock, resources, folder }
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
        super::metrics::counter(address, name).await
    }

    /// Nothing in flight may be left to cut off.
    pub(crate) async fn stop(self) {
        assert_eq!(self.app.stop().await, Stopped::InTime);
    }
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
