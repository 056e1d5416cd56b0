//! The composition root: opens what the settings name, connects the parts, starts them, and stops
//! them in order. Nothing else sees all parts.
//!
//! Reading order: this file (start and stop), [`resources`] (stores, documents, coordination),
//! [`marker`] (that a store is the one that is meant), [`hearing`] (who is told what others tell),
//! `probe` (whether stores answer).

pub mod hearing;
pub mod marker;
mod probe;
pub mod resources;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::{Config, ServerSettings};
use crate::documents::ObjectDocuments;
use crate::grpc::{self, Health, RpcMetrics, ServerParts, Tls};
use crate::lock::Owner;
use crate::migration::{Journal, MigrationParts, Migrations};
use crate::proxy::{Proxy, ProxyParts};
use crate::runtime::{Deadline, Runtime};
use crate::telemetry::fields;
use crate::telemetry::http::{self, Readiness};
use crate::telemetry::moves::MoveWatch;

pub use resources::{Findings, OpenError, Resources};

/// Sockets that are bound already, so that whoever starts knows the addresses, and tests can let
/// the system choose them.
pub struct Listeners {
    pub grpc: TcpListener,
    /// None: no metrics and health over HTTP.
    pub http: Option<TcpListener>,
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct CannotListen {
    pub address: SocketAddr,
    #[source]
    pub cause: io::Error,
}

impl Listeners {
    pub async fn bind(server: &ServerSettings) -> Result<Self, CannotListen> {
        let grpc = bind(server.listen).await?;
        let http = Some(bind(server.http_listen).await?);
        Ok(Self { grpc, http })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    TcpListener::bind(address).await.map_err(|cause| CannotListen { address, cause })
}

/// What one proxy is started from. Several in one process may share `resources`; each has a
/// runtime of its own, so that each stops by itself.
pub struct AppParts {
    pub config: Config,
    pub runtime: Runtime,
    pub resources: Resources,
    pub listeners: Listeners,
    /// As [`registry`] makes it.
    pub registry: Registry,
}

/// The registry that a process hands to everything that measures. It puts the prefix on all names.
pub fn registry() -> Registry {
    Registry::with_prefix("streamgate")
}

/// One running proxy.
pub struct App {
    runtime: Runtime,
    drain_delay: Duration,
    grace_period: Duration,
    grpc_address: SocketAddr,
    http_address: Option<SocketAddr>,
    health: Health,
    readiness: Readiness,
    proxy: Arc<Proxy>,
    migrations: Migrations,
    tasks: Vec<JoinHandle<()>>,
}

/// How a stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything in flight ended by itself.
    InTime,
    /// The grace period passed first; what is left ends with the process.
    CutOff,
}

impl App {
    /// Starts to serve. Returns once requests are taken.
    pub async fn start(parts: AppParts) -> io::Result<Self> {
        let AppParts { config, runtime, resources, listeners, mut registry } = parts;
        let tls = Tls::load(&config.server.tls, &runtime, &mut registry);
        let tls = tls.map_err(|fault| io::Error::other(fault.within("server.tls")))?;
        let moves = Arc::new(MoveWatch::default());
        moves.register(&mut registry);
        let objects = ObjectDocuments::new(Arc::clone(&resources.documents));
        let proxy = Arc::new(Proxy::new(ProxyParts {
            placement: config.placement(),
            options: config.proxy,
            limits: config.limits,
            runtime: runtime.clone(),
            stores: resources.stores.clone(),
            documents: objects.clone(),
            pauses: Arc::clone(&resources.pauses),
            hints: Arc::clone(&resources.hints),
            moves: Arc::clone(&moves),
        }));
        let migration_defaults = config.migration.defaults.clone();
        let migrations = Migrations::new(MigrationParts {
            settings: config.migration,
            runtime: runtime.clone(),
            stores: resources.stores.clone(),
            objects,
            journal: Journal::new(Arc::clone(&resources.documents)),
            lock: Arc::clone(&resources.lock),
            pauses: Arc::clone(&resources.pauses),
            hints: Arc::clone(&resources.hints),
            moves,
            owner: Owner(format!("proxy-{}", runtime.entropy.uuid())),
        });
        let server = ServerParts {
            options: config.grpc,
            runtime: runtime.clone(),
            proxy: Arc::clone(&proxy),
            migrations: migrations.clone(),
            migration_defaults,
            metrics: RpcMetrics::new(&mut registry),
            health: Health::default(),
            deployment: resources.deployment,
            tls,
        };
        let mut app = Self {
            drain_delay: config.server.drain_delay,
            grace_period: config.server.grace_period,
            grpc_address: listeners.grpc.local_addr()?,
            http_address: listeners.http.as_ref().map(TcpListener::local_addr).transpose()?,
            health: server.health.clone(),
            readiness: Readiness::default(),
            proxy,
            migrations,
            tasks: Vec::new(),
            runtime,
        };
        app.listen_to_others(&resources);
        app.spawn(server, listeners, registry);
        app.watch_stores(&resources, config.server.health_interval).await;
        app.health.serving(true).await;
        Ok(app)
    }

    fn listen_to_others(&mut self, resources: &Resources) {
        let hearing = hearing::Hearing {
            proxy: Arc::clone(&self.proxy),
            migrations: self.migrations.clone(),
            pauses: Arc::clone(&resources.pauses),
            stores: resources.stores.clone(),
            runtime: self.runtime.clone(),
        };
        let ears = resources.hints.listen();
        self.tasks.push(self.runtime.shutdown.spawn(hearing.run(ears)));
    }

    fn spawn(&mut self, server: ServerParts, listeners: Listeners, registry: Registry) {
        let shutdown = &self.runtime.shutdown;
        let told = shutdown.clone();
        self.tasks.push(shutdown.spawn(async move {
            grpc::serve(server, listeners.grpc, told.begun()).await;
        }));
        self.tasks.push(shutdown.spawn(self.migrations.clone().supervise()));
        if let Some(listener) = listeners.http {
            let (told, readiness) = (shutdown.clone(), self.readiness.clone());
            self.tasks.push(shutdown.spawn(async move {
                let stop = async move { told.begun().await };
                if let Err(error) = http::serve(listener, registry, readiness, stop).await {
                    tracing::error!({ fields::ERROR } = %error, "the HTTP endpoint ended");
                }
            }));
        }
    }

    /// Asks every store once, and then again and again.
    async fn watch_stores(&mut self, resources: &Resources, interval: Duration) {
        let mut probe = probe::Probe::new(
            resources.clone(),
            self.health.clone(),
            self.readiness.clone(),
            self.runtime.clone(),
        );
        probe.look().await;
        self.tasks.push(self.runtime.shutdown.spawn(probe.watch(interval)));
    }

    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    pub fn migrations(&self) -> &Migrations {
        &self.migrations
    }

    /// Resolves when the proxy stops otherwise than by [`Self::stop`].
    pub async fn ended(&self) {
        self.runtime.shutdown.begun().await;
    }

    /// Order: say so, and go on until those who spread requests have heard it; take nothing new
    /// and let what is in flight end (the server does both, and ends watches with a status that
    /// invites to connect again); migrations record where they are and release their locks; then
    /// nobody waits any longer.
    pub async fn stop(self) -> Stopped {
        self.readiness.leave();
        self.health.serving(false).await;
        let clock = &*self.runtime.clock;
        tokio::select! {
            biased;
            () = self.runtime.shutdown.begun() => {}
            () = clock.sleep(self.drain_delay) => {}
        }
        self.health.stop().await;
        self.runtime.shutdown.begin();
        let deadline = Deadline::after(clock, self.grace_period);
        if deadline.bound(clock, self.runtime.shutdown.ended()).await.is_ok() {
            return Stopped::InTime;
        }
        for task in self.tasks {
            task.abort();
        }
        Stopped::CutOff
    }
}
