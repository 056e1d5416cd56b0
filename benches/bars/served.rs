//! A proxy on two stores in a fresh folder, on a runtime of its own.

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

/// Two stores in a folder, ports of the system's choice. `engine` is added to the settings of
/// stores that have an engine.
pub(crate) fn settings(stores: StoreKind, folder: &Path, engine: &str) -> String {
    let (kind, more) = match stores {
        StoreKind::Embedded => ("embedded", engine),
        StoreKind::Memory => ("memory", ""),
    };
    let folder = folder.display();
    format!(
        "[server]\nlisten = '127.0.0.1:0'\nhttp_listen = '127.0.0.1:0'\ndata_dir = '{folder}'\n\
         [log]\nfilter = 'warn'\n\
         [[stores]]\nname = '{FIRST}'\nkind = '{kind}'\n{more}\
         [[stores]]\nname = '{SECOND}'\nkind = '{kind}'\n{more}"
    )
}

impl Served {
    pub(crate) fn start(stores: StoreKind) -> Result<Self, Failure> {
        let folder = folder()?;
        let file = Some((folder.path().join("settings.toml"), settings(stores, folder.path(), "")));
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
