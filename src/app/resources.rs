//! What a deployment keeps its data in, opened: stores, the document store, coordination.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use uuid::Uuid;

use super::hearing::ToldByHints;
use super::marker::{self, MarkerError};
#[cfg(feature = "azure_blob")]
use crate::backends::azure_blob::AzureBlobStore;
#[cfg(feature = "cosmos")]
use crate::backends::cosmos::CosmosStore;
#[cfg(feature = "embedded")]
use crate::backends::embedded::EmbeddedStore;
use crate::backends::memory::MemoryStore;
#[cfg(feature = "postgres")]
use crate::backends::postgres::PostgresStore;
#[cfg(feature = "s3")]
use crate::backends::s3::S3Store;
use crate::config::{Config, StoreKind, StoreSettings};
use crate::coordination::in_redis::{self, RedisProblem, RedisSettingsError};
use crate::coordination::{
    DocumentLock, InProcessHints, InProcessLock, InProcessPauses, RedisConnection, RedisHints,
    RedisLock, RedisPauseLeases, SharedPauses,
};
use crate::documents::{self, DocumentStore};
use crate::domain::{ErrorClass, StoreName};
use crate::lock::observe::ObserveLock;
use crate::lock::{Hints, Lock, Pauses};
use crate::runtime::Runtime;
use crate::store::{self, EventStore, StoreOptions, StoreWakeups, Stores, Wakeups};
use crate::telemetry::calls::{CallMetrics, StoreCalls};
use crate::telemetry::hints::HintFigures;
use crate::telemetry::holds::HoldFigures;
use crate::telemetry::request_units::RequestUnitMetrics;

/// The outside of a proxy. Cheap to clone; proxies that share it are one deployment.
#[derive(Clone)]
pub struct Resources {
    pub stores: Stores,
    pub documents: Arc<dyn DocumentStore>,
    pub lock: Arc<dyn Lock>,
    pub pauses: Arc<dyn Pauses>,
    pub hints: Arc<dyn Hints>,
    /// What is measured of the appends that pauses hold here.
    pub holds: HoldFigures,
    /// Where the settings name one.
    pub redis: Option<RedisConnection>,
    /// The mark that all stores carry.
    pub deployment: Uuid,
}

/// A backend that was opened as both ports.
struct Backend {
    events: Arc<dyn EventStore>,
    documents: Arc<dyn DocumentStore>,
}

impl Backend {
    fn of(store: impl EventStore + DocumentStore) -> Self {
        let store = Arc::new(store);
        Self { events: store.clone(), documents: store }
    }

    /// As the rest of the process calls it: bounded, repeated and measured.
    fn behind_wrappers(
        self,
        options: &StoreOptions,
        runtime: &Runtime,
        calls: &Arc<StoreCalls>,
        wakeups: StoreWakeups,
    ) -> Self {
        let events = store::stack(self.events, options, runtime, Arc::clone(calls), wakeups);
        let patience = options.patience();
        let documents = documents::stack(self.documents, patience, runtime, Arc::clone(calls));
        Self { events, documents }
    }
}

/// Why a store of the settings, or Redis, is not there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Marker(#[from] MarkerError),
    #[error(transparent)]
    Redis(#[from] RedisSettingsError),
    #[error(transparent)]
    RedisProblem(#[from] RedisProblem),
    #[error("store {store} does not open")]
    Backend {
        store: StoreName,
        class: ErrorClass,
        /// As the backend tells it.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Marker(error) => error.class(),
            Self::Redis(_) => ErrorClass::Invalid,
            Self::RedisProblem(problem) => problem.class(),
            Self::Backend { class, .. } => *class,
        }
    }
}

/// What can be used of what the settings name, and why the rest cannot.
pub struct Findings {
    /// In the order of the settings.
    pub stores: Vec<(StoreName, Result<(), OpenError>)>,
    /// Nothing if the settings name no Redis.
    pub redis: Option<Result<(), OpenError>>,
}

impl Resources {
    /// Opens every store that the settings name as [`Self::open`] does, and closes it again:
    /// for each why it does not open, all of them at once. Marks are read and not written. Redis
    /// is tried as well.
    pub async fn look(config: &Config, runtime: &Runtime) -> Findings {
        let mut registry = Registry::default();
        let calls = CallMetrics::new(&mut registry);
        let opening = Opening { runtime, units: RequestUnitMetrics::new(&mut registry) };
        let wakeups = Wakeups::new();
        let opened = config.stores.iter().map(|store| {
            let (opening, told) = (&opening, wakeups.of(&store.name));
            let calls = calls.of(&store.name);
            async move {
                let backend = opening.open(store, &told).await?;
                Ok(backend.behind_wrappers(&config.store_calls, runtime, &calls, told))
            }
        });
        let opened: Vec<Result<Backend, OpenError>> = futures::future::join_all(opened).await;
        let mut marks = BTreeMap::new();
        for (store, backend) in config.stores.iter().zip(&opened) {
            if let Ok(backend) = backend {
                marks.insert(&store.name, &*backend.documents);
            }
        }
        // A mark says something about the others: it takes all of them to be judged.
        let marked = match marks.len() == config.stores.len() {
            true => Some(marker::look(&marks, &config.documents.store).await),
            false => None,
        };
        let (deployment, wrong) = match marked {
            Some(Ok(found)) => (found.deployment(), None),
            Some(Err(wrong)) => (None, Some(wrong)),
            None => (None, None),
        };
        let stores = config.stores.iter().map(|store| store.name.clone());
        let mut found: Vec<(StoreName, Result<(), OpenError>)> =
            stores.zip(opened.into_iter().map(|backend| backend.map(drop))).collect();
        if let Some(wrong) = wrong
            && let Some((_, outcome)) = found.iter_mut().find(|(name, _)| name == wrong.store())
        {
            *outcome = Err(wrong.into());
        }
        let redis = match &config.coordination.redis {
            Some(options) => Some(in_redis::check::look(options, deployment, runtime).await),
            None => None,
        };
        Findings { stores: found, redis: redis.map(|tried| tried.map_err(OpenError::from)) }
    }

    /// Opens everything that the settings name, and checks that each store is the one it is taken
    /// for. What was opened before a failure is closed again.
    pub async fn open(
        config: &Config,
        runtime: &Runtime,
        registry: &mut Registry,
    ) -> Result<Self, OpenError> {
        let calls = CallMetrics::new(registry);
        let opening = Opening { runtime, units: RequestUnitMetrics::new(registry) };
        let wakeups = Wakeups::new();
        let elsewhere = Arc::new(ToldByHints::default());
        let mut backends = BTreeMap::new();
        for store in &config.stores {
            let mut told = wakeups.of(&store.name);
            let backend = opening.open(store, &told).await?;
            // A store that tells by itself of what others do need not be spoken of.
            if backend.events.capabilities().poll_interval.is_some() {
                told = told.told_elsewhere(elsewhere.clone());
            }
            let calls = calls.of(&store.name);
            let backend = backend.behind_wrappers(&config.store_calls, runtime, &calls, told);
            backends.insert(store.name.clone(), backend);
        }
        let home = &config.documents.store;
        let documents =
            backends.iter().map(|(name, backend)| (name, &*backend.documents)).collect();
        let deployment = marker::check(&documents, home, &*runtime.entropy).await?;
        let documents = Arc::clone(&backends[home].documents);
        let stores: BTreeMap<StoreName, Arc<dyn EventStore>> =
            backends.into_iter().map(|(name, backend)| (name, backend.events)).collect();
        let redis = redis(config, deployment, runtime)?;
        let clock = || Arc::clone(&runtime.clock);
        let is_shared = config.stores.iter().any(|store| store.name == *home && store.is_shared());
        let lock: Arc<dyn Lock> = match &redis {
            Some(redis) => Arc::new(RedisLock::new(redis.clone(), clock())),
            None if is_shared => Arc::new(DocumentLock::new(Arc::clone(&documents), clock())),
            // Nobody else can open these documents, so nobody else moves their objects.
            None => Arc::new(InProcessLock::new(clock())),
        };
        let lock = Arc::new(ObserveLock::new(lock, clock(), registry));
        let holds = HoldFigures::default();
        holds.register(registry);
        let here = InProcessPauses::measured(config.coordination.hold(), clock(), holds.clone());
        let (hints, pauses) = match &redis {
            Some(redis) => {
                let figures = HintFigures::default();
                figures.register(registry);
                let told = between_proxies(redis, here, figures, runtime);
                elsewhere.begin(Arc::clone(&told.0));
                told
            }
            None => within_process(here),
        };
        Ok(Self {
            stores: Stores::new(stores, wakeups),
            documents,
            deployment,
            lock,
            pauses,
            hints,
            holds,
            redis,
        })
    }
}

type Told = (Arc<dyn Hints>, Arc<dyn Pauses>);

/// Proxies that know nothing of each other: each holds its own appends.
fn within_process(here: InProcessPauses) -> Told {
    (Arc::new(InProcessHints::new()), Arc::new(here))
}

/// Proxies that tell each other by Redis, and hold appends together.
fn between_proxies(
    redis: &RedisConnection,
    here: InProcessPauses,
    figures: HintFigures,
    runtime: &Runtime,
) -> Told {
    let hints: Arc<dyn Hints> = Arc::new(RedisHints::start(redis.clone(), runtime, figures));
    let leases = Arc::new(RedisPauseLeases::new(redis.clone()));
    let pauses = SharedPauses::new(here, Arc::clone(&hints), leases, runtime.clone());
    (hints, Arc::new(pauses))
}

/// The connection to Redis that the settings name. Nothing is asked yet: a proxy starts also while
/// Redis is away.
fn redis(
    config: &Config,
    deployment: Uuid,
    runtime: &Runtime,
) -> Result<Option<RedisConnection>, RedisSettingsError> {
    let options = config.coordination.redis.clone();
    options.map(|options| RedisConnection::new(options, deployment, runtime)).transpose()
}

/// What stores that somebody else runs are opened with.
struct Opening<'a> {
    runtime: &'a Runtime,
    units: RequestUnitMetrics,
}

impl Opening<'_> {
    /// `told` are the wake-ups of a store that hears of what other processes append.
    async fn open(&self, store: &StoreSettings, told: &StoreWakeups) -> Result<Backend, OpenError> {
        let Self { runtime, units } = self;
        // What a build without some of the kinds does not need.
        let _ = (runtime, units, told);
        match &store.kind {
            StoreKind::Memory(options) => Ok(Backend::of(MemoryStore::with_options(*options))),
            #[cfg(feature = "azure_blob")]
            StoreKind::AzureBlob(options) => {
                let opened = AzureBlobStore::open((**options).clone(), runtime).await;
                let opened = opened.map_err(|cause| does_not_open(store, cause.class(), cause))?;
                Ok(Backend::of(opened))
            }
            #[cfg(feature = "cosmos")]
            StoreKind::Cosmos(options) => {
                let clock = Arc::clone(&runtime.clock);
                let opened = CosmosStore::open(options.clone(), clock, units.of(&store.name)).await;
                let opened = opened.map_err(|cause| does_not_open(store, cause.class(), cause))?;
                Ok(Backend::of(opened))
            }
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(options) => {
                let opened = EmbeddedStore::open(options.clone());
                let opened = opened.map_err(|cause| does_not_open(store, cause.class(), cause))?;
                Ok(Backend::of(opened))
            }
            #[cfg(feature = "postgres")]
            StoreKind::Postgres(options) => {
                let (options, told) = ((**options).clone(), told.clone());
                let opened = PostgresStore::open(options, runtime, told).await;
                let opened = opened.map_err(|cause| does_not_open(store, cause.class(), cause))?;
                Ok(Backend::of(opened))
            }
            #[cfg(feature = "s3")]
            StoreKind::S3(options) => {
                let opened = S3Store::open((**options).clone(), runtime).await;
                let opened = opened.map_err(|cause| does_not_open(store, cause.class(), cause))?;
                Ok(Backend::of(opened))
            }
        }
    }
}

#[cfg(any(
    feature = "azure_blob",
    feature = "cosmos",
    feature = "embedded",
    feature = "postgres",
    feature = "s3"
))]
fn does_not_open(
    store: &StoreSettings,
    class: ErrorClass,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Backend { store: store.name.clone(), class, cause: cause.into() }
}
