//! Stores in schemas of their own, and a hand at the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use streamgate::backends::postgres::{OpenError, PostgresOptions, PostgresStore};
use streamgate::domain::{Event, ExpectedVersion, StreamId};
use streamgate::runtime::{Entropy, Runtime, Secret, SystemEntropy};
use streamgate::store::{EventStore, StoreWakeups, Wakeups};
use streamgate::testing::builders;
use tokio_postgres::{Client, NoTls};

use crate::service::variable;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn url() -> String {
    variable("STREAMGATE_TEST_POSTGRES_URL")
}

/// A schema that no other test has.
pub(super) fn options() -> PostgresOptions {
    let schema = format!("test_{}", SystemEntropy.uuid().simple());
    PostgresOptions { schema, ..PostgresOptions::at(url()) }
}

pub(super) async fn open(options: &PostgresOptions) -> Result<PostgresStore, OpenError> {
    open_told(options, &Wakeups::new()).await
}

pub(super) async fn open_told(
    options: &PostgresOptions,
    wakeups: &Wakeups,
) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(options.clone(), &Runtime::system(), told(wakeups)).await
}

fn told(wakeups: &Wakeups) -> StoreWakeups {
    wakeups.of(&builders::store_name("hot"))
}

pub(super) async fn store() -> PostgresStore {
    open(&options()).await.unwrap()
}

pub(super) fn listening() -> PostgresOptions {
    PostgresOptions { listen_url: Some(Secret::Text(url())), ..options() }
}

pub(super) async fn listening_store() -> PostgresStore {
    open(&listening()).await.unwrap()
}

/// Lanes that get in each other's way as those of several processes do.
pub(super) async fn wide_store() -> PostgresStore {
    let narrow = PostgresOptions { batch_requests_max: 3, append_connections: 8, ..options() };
    open(&narrow).await.unwrap()
}

/// A connection of somebody who is no store.
pub(super) async fn hand(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    tokio::spawn(connection);
    client
}

/// Somebody who holds the row of a stream until a ROLLBACK.
pub(super) async fn hold(options: &PostgresOptions, stream: &StreamId) -> Client {
    let somebody = hand(&url()).await;
    let hold = format!(
        "BEGIN; SELECT FROM {}.streams WHERE stream_id = '{stream}' FOR UPDATE",
        options.schema
    );
    somebody.batch_execute(&hold).await.unwrap();
    somebody
}

/// A stream that was just created.
pub(super) async fn stream(store: &dyn EventStore, name: &str) -> StreamId {
    let object = builders::object(name);
    let stream = StreamId::numbered(&object, 0);
    store.create(&stream, &builders::header(&object)).await.unwrap();
    stream
}

pub(super) async fn append(
    store: &dyn EventStore,
    stream: &StreamId,
    events: Vec<Event>,
) -> Result<streamgate::store::Appended, streamgate::store::StoreError> {
    store.append(stream, builders::append(ExpectedVersion::Any, events)).await
}

pub(super) async fn read_all(store: &dyn EventStore, stream: &StreamId) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let page = store.read(stream, builders::range(events.len() as u64)).await.unwrap();
        let done = page.reaches_head();
        events.extend(page.events);
        if done {
            return events;
        }
    }
}

/// Waits for a condition, which must come true.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    #[expect(clippy::disallowed_methods, reason = "a real server takes real time")]
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        pause().await;
    }
}

/// The time between two looks at a condition.
#[expect(clippy::disallowed_methods, reason = "a real server takes real time")]
pub(super) async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

pub(super) fn shared(store: PostgresStore) -> Arc<dyn EventStore> {
    Arc::new(store)
}
