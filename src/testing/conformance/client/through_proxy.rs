//! A whole proxy behind its own gRPC interface, on a socket, over memory stores: alone, and while
//! every object of a case moves from store to store for as long as the case lasts.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::{Refusal, Subject};
use crate::app::{App, AppParts, Listeners, Resources, registry};
use crate::config::{Config, Layers};
use crate::domain::limits::Limits;
use crate::domain::{Event, ExpectedVersion, ObjectKey, Version};
use crate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use crate::grpc::v1::migration_service_client::MigrationServiceClient;
use crate::grpc::v1::read_response::Message;
use crate::grpc::v1::{self, MigrationPhase};
use crate::runtime::{Entropy, Runtime, Shutdown, SystemEntropy};
use crate::store::Appended;
use crate::testing::builders;
use crate::testing::conformance::wire::{expectation, new_event, object_ref, recorded, refusal};

const TWO_STORES: &str = "
    [[stores]]
    name = 'hot'
    kind = 'memory'
    [[stores]]
    name = 'cold'
    kind = 'memory'
";

/// Largest messages of the interface, with room for what stands around the payloads.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A proxy that is asked through its own client.
#[derive(Clone)]
pub struct ThroughProxy {
    app: Arc<App>,
    events: EventStoreServiceClient<Channel>,
    migrations: MigrationServiceClient<Channel>,
}

impl ThroughProxy {
    pub async fn start() -> Self {
        Self::over(TWO_STORES, Runtime::system()).await
    }

    /// A proxy on the stores that these settings name.
    pub async fn over(settings: &str, runtime: Runtime) -> Self {
        let file = Some(("conformance.toml".into(), settings.to_owned()));
        let config = Config::assemble(Layers { file, ..Layers::default() });
        let config = config.expect("the settings are right");
        let resources = Resources::open(&config, &runtime, &mut registry()).await;
        let grpc = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let parts = AppParts {
            config,
            runtime,
            resources: resources.expect("the stores open"),
            listeners: Listeners { grpc, http: None },
            registry: registry(),
        };
        let app = App::start(parts).await.expect("the listener is bound");
        let address = format!("http://{}", app.grpc_address());
        let channel = Channel::from_shared(address).expect("an address is a URI");
        let channel = channel.connect().await.expect("the server takes connections");
        let events = EventStoreServiceClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let migrations = MigrationServiceClient::new(channel);
        Self { app: Arc::new(app), events, migrations }
    }

    pub(in crate::testing) fn events(&self) -> EventStoreServiceClient<Channel> {
        self.events.clone()
    }

    /// Moves the object to another store, and sees it succeed.
    pub(in crate::testing) async fn move_to(
        &self,
        object: &ObjectKey,
        target: &str,
        kind: v1::MigrationKind,
    ) {
        let request = v1::MigrateRequest {
            request_id: SystemEntropy.uuid().to_string(),
            object: Some(object_ref(object)),
            kind: kind.into(),
            target_store: target.into(),
            options: Some(v1::MigrationOptions {
                catch_up_delay: prost_types::Duration::try_from(Duration::from_millis(1)).ok(),
                ..v1::MigrationOptions::default()
            }),
            ..v1::MigrateRequest::default()
        };
        let mut migrations = self.migrations.clone();
        let started = migrations.migrate(request).await.expect("nothing stands in the way");
        let migration_id = started.into_inner().migration.expect("it was started").migration_id;
        let watched = migrations.watch_migration(v1::WatchMigrationRequest { migration_id });
        let mut watched = watched.await.expect("it exists").into_inner();
        let mut last = None;
        while let Some(response) = watched.message().await.expect("the server is there") {
            last = response.migration;
        }
        let last = last.expect("the state is told at once");
        assert_eq!(last.phase(), MigrationPhase::Succeeded, "{last:?}");
    }
}

#[async_trait]
impl Subject for ThroughProxy {
    async fn append(
        &self,
        object: &ObjectKey,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<Appended, Refusal> {
        let request = v1::AppendRequest {
            object: Some(object_ref(object)),
            expected_version: Some(expectation(expected)),
            events: events.into_iter().map(new_event).collect(),
            auto_retry_on_stream_closure: None,
        };
        let answer = self.events.clone().append(request).await.map_err(refusal)?.into_inner();
        Ok(Appended {
            first: Version(answer.first_version),
            last: Version(answer.last_version),
            replay: answer.replay,
        })
    }

    async fn read(
        &self,
        object: &ObjectKey,
        from: Version,
        events_max: Option<u64>,
    ) -> Result<Vec<(Version, Event)>, Refusal> {
        let request = v1::ReadRequest {
            object: Some(object_ref(object)),
            start: Some(v1::read_request::Start::FromVersion(from.0)),
            events_max: events_max.unwrap_or(0),
            ..v1::ReadRequest::default()
        };
        let mut stream = self.events.clone().read(request).await.map_err(refusal)?.into_inner();
        let mut history = Vec::new();
        while let Some(response) = stream.message().await.map_err(refusal)? {
            if let Some(Message::Batch(batch)) = response.message {
                history.extend(batch.events.into_iter().map(recorded));
            }
        }
        Ok(history)
    }

    fn limits(&self) -> Limits {
        self.app.proxy().limits()
    }

    async fn finish(&self) {}
}

/// The same proxy, while each object goes to the other store and back without pause.
pub struct UnderMigration {
    proxy: ThroughProxy,
    /// The kinds of the moves, in turn.
    kinds: &'static [v1::MigrationKind],
    moving: Mutex<HashSet<ObjectKey>>,
    movers: Shutdown,
    tally: Arc<Tally>,
}

/// What all movers of a case did.
#[derive(Default)]
struct Tally {
    moved: AtomicU64,
    over: AtomicBool,
}

impl UnderMigration {
    /// Every move copies.
    pub async fn start() -> Self {
        Self::of(&[v1::MigrationKind::Copy]).await
    }

    /// Two moves without copy, then one that copies the whole chain.
    pub async fn mixed() -> Self {
        use v1::MigrationKind::{Continue, Copy};
        Self::of(&[Continue, Continue, Copy]).await
    }

    async fn of(kinds: &'static [v1::MigrationKind]) -> Self {
        Self {
            proxy: ThroughProxy::start().await,
            kinds,
            moving: Mutex::default(),
            movers: Shutdown::new(),
            tally: Arc::default(),
        }
    }

    /// Moves the object from now on; returns after it has moved once, so that every later call
    /// meets an object that has moved and may be moving.
    async fn keep_moving(&self, object: &ObjectKey) {
        if !self.moving.lock().expect("no holder panics").insert(object.clone()) {
            return;
        }
        let (first, has_moved) = tokio::sync::oneshot::channel();
        let mover = Mover {
            proxy: self.proxy.clone(),
            object: object.clone(),
            kinds: self.kinds,
            tally: Arc::clone(&self.tally),
        };
        self.movers.spawn(mover.run(first));
        has_moved.await.expect("the first migration of a case succeeds");
    }
}

#[async_trait]
impl Subject for UnderMigration {
    async fn append(
        &self,
        object: &ObjectKey,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<Appended, Refusal> {
        let answer = self.proxy.append(object, expected, events).await;
        if answer.is_ok() {
            self.keep_moving(object).await;
        }
        answer
    }

    async fn read(
        &self,
        object: &ObjectKey,
        from: Version,
        events_max: Option<u64>,
    ) -> Result<Vec<(Version, Event)>, Refusal> {
        self.proxy.read(object, from, events_max).await
    }

    fn limits(&self) -> Limits {
        self.proxy.limits()
    }

    async fn finish(&self) {
        // A case that appended nothing still saw a proxy that moves something.
        let bystander = builders::object("bystander");
        let appended = self.append(&bystander, ExpectedVersion::Any, builders::events(0..1)).await;
        appended.expect("the bystander is new");
        self.tally.over.store(true, Ordering::Relaxed);
        self.movers.begin();
        self.movers.ended().await;
        let objects = self.moving.lock().expect("no holder panics").len() as u64;
        let moved = self.tally.moved.load(Ordering::Relaxed);
        assert!(moved >= objects, "{objects} objects, but only {moved} cut-overs were seen");
    }
}

/// Moves one object until the case is over.
struct Mover {
    proxy: ThroughProxy,
    object: ObjectKey,
    kinds: &'static [v1::MigrationKind],
    tally: Arc<Tally>,
}

impl Mover {
    async fn run(self, first: tokio::sync::oneshot::Sender<()>) {
        let mut first = Some(first);
        for number in 0.. {
            let target = if number % 2 == 0 { "cold" } else { "hot" };
            let kind = self.kinds[number % self.kinds.len()];
            self.proxy.move_to(&self.object, target, kind).await;
            self.tally.moved.fetch_add(1, Ordering::Relaxed);
            if let Some(first) = first.take() {
                // Nobody waits any more if the case has failed.
                let _ = first.send(());
            }
            if self.tally.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}
