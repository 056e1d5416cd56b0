//! A proxy on two stores in a fresh folder, on a runtime of its own.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use streamgate::app::{self, App, AppParts, Listeners, Resources};
use streamgate::config::{Config, Layers};
use streamgate::domain::StoreName;
use streamgate::runtime::Runtime;
use streamgate::store::EventStore;
use tempfile::TempDir;

use crate::Failure;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Embedded,
    /// Without a disk: what is left is the proxy.
    Memory,
}

/// New objects live in this store.
pub(crate) const FIRST: &str = "hot";
pub(crate) const SECOND: &str = "cold";

pub(crate) struct Served {
    threads: tokio::runtime::Runtime,
    resources: Resources,
    /// None only while it is dropped.
    app: Option<App>,
    pub(crate) address: SocketAddr,
    /// Order: removed after everything in it is closed.
    _folder: TempDir,
}

/// A folder on the disk that the build is on: what is in memory needs no sync.
pub(crate) fn folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

/// The settings of a server in a folder, on ports of the system's choice, before those of stores.
pub(crate) fn server_settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[server]\nlisten = '127.0.0.1:0'\nhttp_listen = '127.0.0.1:0'\ndata_dir = '{folder}'\n\
         [log]\nfilter = 'warn'\n"
    )
}

/// Two stores in a folder, ports of the system's choice. `engine` is added to the settings of
/// stores that have an engine.
pub(crate) fn settings(stores: StoreKind, folder: &Path, engine: &str) -> String {
    let (kind, more) = match stores {
        StoreKind::Embedded => ("embedded", engine),
        StoreKind::Memory => ("memory", ""),
    };
    let server = server_settings(folder);
    format!(
        "{server}\
         [[stores]]\nname = '{FIRST}'\nkind = '{kind}'\n{more}\
         [[stores]]\nname = '{SECOND}'\nkind = '{kind}'\n{more}"
    )
}

impl Served {
    pub(crate) fn start(stores: StoreKind) -> Result<Self, Failure> {
        let folder = folder()?;
        let settings = settings(stores, folder.path(), "");
        Self::start_with(folder, settings)
    }

    /// A proxy with these settings, which may name the folder.
    pub(crate) fn start_with(folder: TempDir, settings: String) -> Result<Self, Failure> {
        let file = Some((folder.path().join("settings.toml"), settings));
        let config = Config::assemble(Layers { file, ..Layers::default() })?;
        let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (app, resources) = threads.block_on(async {
            let mut registry = app::registry();
            let runtime = Runtime::system();
            let resources = Resources::open(&config, &runtime, &mut registry).await?;
            let listeners = Listeners::bind(&config.server).await?;
            let opened = resources.clone();
            let parts = AppParts { config, runtime, resources, listeners, registry };
            Ok::<_, Failure>((App::start(parts).await?, opened))
        })?;
        let address = app.grpc_address();
        Ok(Self { threads, resources, app: Some(app), address, _folder: folder })
    }

    /// Calls to stores and documents since the start, as the proxy's own metrics count them.
    pub(crate) fn store_calls(&self) -> Result<u64, Failure> {
        let address = self.app.as_ref().and_then(App::http_address).ok_or("no metrics served")?;
        let mut peer = std::net::TcpStream::connect(address)?;
        peer.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        peer.read_to_string(&mut text)?;
        let counts = text
            .lines()
            .filter(|line| line.starts_with("streamgate_store_call_duration_seconds_count"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// A store as the proxy sees it, to be asked without the proxy.
    pub(crate) fn store(&self, name: &str) -> Arc<dyn EventStore> {
        let name = StoreName::new(name).expect("the benchmarks name stores well");
        Arc::clone(self.resources.stores.get(&name).expect("the settings name both stores"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            self.threads.block_on(app.stop());
        }
    }
}
