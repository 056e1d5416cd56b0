//! A client of a server: the calls of the interface, and nothing that the interface does not say.

use std::net::SocketAddr;
use std::time::Duration;

use streamgate::grpc::v1;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::grpc::v1::migration_service_client::MigrationServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_types::StatusExt;

/// The longest that anything here is waited for, on the slowest of machines.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let seen = tokio::time::timeout(WITHIN, async {
        loop {
            ticks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    });
    seen.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Waits for something that comes by itself.
pub(crate) async fn soon<F: Future>(what: &str, work: F) -> F::Output {
    let done = tokio::time::timeout(WITHIN, work).await;
    done.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// One connection, made when first used.
#[derive(Clone)]
pub(crate) struct Client {
    events: EventStoreServiceClient<Channel>,
    migrations: MigrationServiceClient<Channel>,
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.tcp_nodelay(true).connect_lazy();
        Self {
            events: EventStoreServiceClient::new(channel.clone()),
            migrations: MigrationServiceClient::new(channel),
        }
    }

    /// What this client does not wrap.
    pub(crate) fn events(&self) -> EventStoreServiceClient<Channel> {
        self.events.clone()
    }

    pub(crate) async fn append(
        &self,
        object: &v1::ObjectRef,
        expected: Option<v1::expected_version::Kind>,
        events: Vec<v1::NewEvent>,
    ) -> Result<v1::AppendResponse, Status> {
        let mut request = Request::new(v1::AppendRequest {
            object: Some(object.clone()),
            expected_version: expected.map(|kind| v1::ExpectedVersion { kind: Some(kind) }),
            events,
            auto_retry_on_stream_closure: None,
        });
        request.set_timeout(WITHIN);
        Ok(self.events.clone().append(request).await?.into_inner())
    }

    /// The whole history with the header before it.
    pub(crate) async fn read(&self, object: &v1::ObjectRef) -> Result<History, Status> {
        let request = v1::ReadRequest { object: Some(object.clone()), ..Default::default() };
        let mut stream = self.events.clone().read(request).await?.into_inner();
        let mut history = History::default();
        while let Some(message) = stream.message().await? {
            match message.message.expect("a message is one of them") {
                v1::read_response::Message::Header(header) => history.header = header,
                v1::read_response::Message::Batch(batch) => history.events.extend(batch.events),
                other => panic!("a plain read told {other:?}"),
            }
        }
        Ok(history)
    }

    pub(crate) async fn object(&self, object: &v1::ObjectRef) -> Result<v1::ObjectInfo, Status> {
        let request = v1::GetObjectRequest { object: Some(object.clone()) };
        let answer = self.events.clone().get_object(request).await?.into_inner();
        Ok(answer.object.expect("an answer holds the object"))
    }

    pub(crate) async fn migrate(
        &self,
        request: v1::MigrateRequest,
    ) -> Result<v1::Migration, Status> {
        let answer = self.migrations.clone().migrate(request).await?.into_inner();
        Ok(answer.migration.expect("an answer holds the migration"))
    }

    pub(crate) async fn migration(&self, id: &str) -> Result<v1::Migration, Status> {
        let request = v1::GetMigrationRequest { migration_id: id.to_owned() };
        let answer = self.migrations.clone().get_migration(request).await?.into_inner();
        Ok(answer.migration.expect("an answer holds the migration"))
    }

    pub(crate) async fn all_migrations(&self) -> Result<Vec<v1::Migration>, Status> {
        let mut all = Vec::new();
        let mut request = v1::ListMigrationsRequest { page_size: 1_000, ..Default::default() };
        loop {
            let page = self.migrations.clone().list_migrations(request.clone()).await?;
            let page = page.into_inner();
            all.extend(page.migrations);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn watch(&self, id: &str) -> Result<Watch, Status> {
        let request = v1::WatchMigrationRequest { migration_id: id.to_owned() };
        let states = self.migrations.clone().watch_migration(request).await?.into_inner();
        Ok(Watch { states, last: None })
    }

    pub(crate) async fn pause(&self, id: &str) -> Result<(), Status> {
        let request = v1::PauseMigrationRequest { migration_id: id.to_owned() };
        self.migrations.clone().pause_migration(request).await.map(drop)
    }

    pub(crate) async fn resume(&self, id: &str) -> Result<(), Status> {
        let request = v1::ResumeMigrationRequest { migration_id: id.to_owned() };
        self.migrations.clone().resume_migration(request).await.map(drop)
    }

    pub(crate) async fn cancel(&self, id: &str, remove_target: bool) -> Result<(), Status> {
        let migration_id = id.to_owned();
        let request = v1::CancelMigrationRequest { migration_id, remove_target };
        self.migrations.clone().cancel_migration(request).await.map(drop)
    }
}

/// An object as a read told it.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) header: v1::ReadHeader,
    pub(crate) events: Vec<v1::RecordedEvent>,
}

/// The states of one migration, as they come.
pub(crate) struct Watch {
    states: Streaming<v1::WatchMigrationResponse>,
    last: Option<v1::Migration>,
}

impl Watch {
    /// None after the end of the migration.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::Migration>, Status> {
        let state = self.states.message().await?;
        let state = state.map(|state| state.migration.expect("a state holds the migration"));
        if state.is_some() {
            self.last.clone_from(&state);
        }
        Ok(state)
    }

    /// The present state or the first one after it that is as wanted; else the last one.
    pub(crate) async fn until(
        &mut self,
        wanted: impl Fn(&v1::Migration) -> bool,
    ) -> Result<v1::Migration, Status> {
        while self.last.as_ref().is_none_or(|state| !wanted(state)) {
            if self.next().await?.is_none() {
                break;
            }
        }
        self.last.clone().ok_or_else(|| Status::internal("a watch that showed nothing"))
    }
}

/// The reason that the server gave; none if the error is not of its making.
pub(crate) fn reason(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == "streamgate");
    info.map(|info| info.reason.clone())
}

pub(crate) fn has_ended(migration: &v1::Migration) -> bool {
    match migration.phase() {
        v1::MigrationPhase::Succeeded
        | v1::MigrationPhase::Failed
        | v1::MigrationPhase::Cancelled => true,
        v1::MigrationPhase::Unspecified
        | v1::MigrationPhase::Preparing
        | v1::MigrationPhase::CatchingUp
        | v1::MigrationPhase::Closing
        | v1::MigrationPhase::Rerouting
        | v1::MigrationPhase::Verifying => false,
    }
}

/// Asserts that a history is exactly these events: each once, in order, every byte as it was
/// sent, recorded at moments that never decrease.
#[track_caller]
pub(crate) fn assert_same(object: &v1::ObjectRef, history: &History, sent: &[v1::NewEvent]) {
    assert_eq!(history.events.len(), sent.len(), "the number of events of {object:?}");
    let mut latest = (i64::MIN, 0);
    for ((version, sent), recorded) in (0..).zip(sent).zip(&history.events) {
        let moment = recorded.recorded_at.expect("every event was recorded at some moment");
        let moment = (moment.seconds, moment.nanos);
        assert!(moment >= latest, "recorded_at falls at {version} of {object:?}");
        latest = moment;
        let same = recorded.version == version
            && recorded.event_id == sent.event_id
            && recorded.event_type == sent.event_type
            && recorded.schema_version == sent.schema_version
            && recorded.content_type == sent.content_type
            && recorded.metadata == sent.metadata
            && recorded.occurred_at == sent.occurred_at
            && recorded.payload == sent.payload;
        assert!(same, "{object:?} at {version}: sent {}, read {}", shown(sent), read(recorded));
    }
}

/// Without a payload that nobody could read.
fn shown(event: &v1::NewEvent) -> String {
    format!("{} ({} bytes, {:?})", event.event_id, event.payload.len(), event.occurred_at)
}

fn read(event: &v1::RecordedEvent) -> String {
    let (id, version, bytes) = (&event.event_id, event.version, event.payload.len());
    format!("{id} at {version} ({bytes} bytes, {:?})", event.occurred_at)
}
