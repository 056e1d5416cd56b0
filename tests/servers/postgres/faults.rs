//! Servers that restart, connections that are cut and rows that others hold, under appends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use prometheus_client::registry::Registry;
use streamgate::backends::postgres::PostgresOptions;
use streamgate::documents::{DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{Event, ExpectedVersion, StreamId, Version};
use streamgate::runtime::{Runtime, Secret};
use streamgate::store::{EventStore, StoreError, StoreOptions, Wakeups, stack};
use streamgate::telemetry::calls::CallMetrics;
use streamgate::testing::builders::{
    self, EventBuilder, close, event, events, head, migration, store_name,
};
use tokio::time::timeout;

use super::kit::{
    PATIENCE, append, hand, hold, open, options, pause, read_all, shared, stream, until, url,
};
use crate::own_server::OwnServer;

const WRITERS: u64 = 12;
const STREAMS: u64 = 4;

/// Behind the wrappers, as the proxy calls it.
fn wrapped(store: Arc<dyn EventStore>) -> Arc<dyn EventStore> {
    let name = store_name("hot");
    let calls = CallMetrics::new(&mut Registry::default()).of(&name);
    let wakeups = Wakeups::new().of(&name);
    stack(store, &StoreOptions::default(), &Runtime::system(), calls, wakeups)
}

/// The number of an event says who sent it and as which one.
fn sent_by(writer: u64, number: u64) -> Event {
    event(writer << 32 | number)
}

/// Appends one event after the other, each again until it is acknowledged. Answers how many were.
async fn write(
    store: Arc<dyn EventStore>,
    stream: StreamId,
    writer: u64,
    least: u64,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut number = 0;
    while number < least || !stop.load(Ordering::Relaxed) {
        match append(&*store, &stream, vec![sent_by(writer, number)]).await {
            Ok(_) => number += 1,
            Err(
                StoreError::OutcomeUnknown { .. }
                | StoreError::Unavailable { .. }
                | StoreError::RateLimited { .. }
                | StoreError::Overloaded { .. },
            ) => pause().await,
            Err(error) => panic!("an append was answered by {error:?}"),
        }
    }
    number
}

/// Writers under `trouble`, each with at least so many events; then what the streams hold.
async fn hold_through(store: Arc<dyn EventStore>, least: u64, trouble: impl Future<Output = ()>) {
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        streams.push(stream(&*store, &number.to_string()).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..WRITERS).map(|writer| {
        let stream = streams[(writer % STREAMS) as usize].clone();
        let writing = write(Arc::clone(&store), stream, writer, least, Arc::clone(&stop));
        #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
        tokio::spawn(writing)
    });
    let writers: Vec<_> = writers.collect();
    trouble.await;
    stop.store(true, Ordering::Relaxed);
    let ended = timeout(3 * PATIENCE, join_all(writers)).await;
    let acknowledged: Vec<u64> =
        ended.expect("it recovers by itself").into_iter().map(Result::unwrap).collect();
    for (number, stream) in (0..).zip(&streams) {
        let mut held: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for event in read_all(&*store, stream).await {
            let number = event.event_id.0.as_u128() as u64;
            held.entry(number >> 32).or_default().push(number & 0xffff_ffff);
        }
        for writer in (number..WRITERS).step_by(STREAMS as usize) {
            let expected: Vec<u64> = (0..acknowledged[writer as usize]).collect();
            assert_eq!(held[&writer], expected, "writer {writer}: lost, doubled or reordered");
        }
    }
}

/// Options whose connections can be told from those of other tests.
fn named() -> PostgresOptions {
    let options = options();
    let url = format!("{}?application_name={}", url(), options.schema);
    PostgresOptions { url: Secret::Text(url), ..options }
}

async fn cut_connections(options: &PostgresOptions, times: u32) {
    let server = hand(&url()).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = $1";
    let mut connections = 0;
    for _ in 0..times {
        pause().await;
        let row = server.query_one(cut, &[&options.schema]).await.unwrap();
        connections += row.get::<_, i64>(0);
    }
    assert!(connections >= i64::from(times) / 2, "only {connections} were there to be cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_double_nothing() {
    let options = named();
    let store = shared(open(&options).await.unwrap());
    hold_through(wrapped(store), 20, cut_connections(&options, 60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_double_nothing_without_the_wrappers() {
    let options = named();
    let store = shared(open(&options).await.unwrap());
    hold_through(store, 20, cut_connections(&options, 60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_the_server_lose_and_double_nothing() {
    let server = OwnServer::postgres();
    let store = shared(open(&PostgresOptions::at(server.place.clone())).await.unwrap());
    hold_through(wrapped(store), 20, async {
        for _ in 0..2 {
            tokio::task::block_in_place(|| server.restart());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_unavailable_and_comes_back() {
    let server = OwnServer::postgres();
    let store = open(&PostgresOptions::at(server.place.clone())).await.unwrap();
    let orders = stream(&store, "1").await;
    append(&store, &orders, events(0..1)).await.unwrap();
    server.stop();
    // Connections that were open may still be lost by the first calls.
    until("writes are certainly not done", || async {
        match append(&store, &orders, events(1..2)).await {
            Err(StoreError::Unavailable { retry_after, .. }) => retry_after.is_some(),
            Err(StoreError::OutcomeUnknown { .. }) => false,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(matches!(store.tail(&orders).await, Err(StoreError::Unavailable { .. })));
    let key = DocumentKey::from_raw("a");
    let put = store.put(&key, "a".into(), Precondition::Absent).await;
    assert_eq!(put.unwrap_err().class().label(), "unavailable");
    server.start_again();
    append(&store, &orders, events(1..2)).await.unwrap();
    store.put(&key, "a".into(), Precondition::Absent).await.unwrap();
    assert_eq!(read_all(&store, &orders).await, events(0..2));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_with_a_stale_head_is_refused_by_the_store_itself() {
    let options = options();
    let (one, other) = (open(&options).await.unwrap(), open(&options).await.unwrap());
    let orders = stream(&one, "1").await;
    append(&one, &orders, events(0..3)).await.unwrap();
    let stale = builders::append(ExpectedVersion::Exact(Version(1)), events(3..4));
    let refused = other.append(&orders, stale.clone()).await;
    let Err(StoreError::WrongExpectedVersion(wrong)) = refused else { panic!("{refused:?}") };
    assert_eq!(wrong.actual, head(2));
    one.close(&orders, close(migration(1), head(2))).await.unwrap();
    for expected in [ExpectedVersion::Any, ExpectedVersion::Exact(Version(2))] {
        let late = builders::append(expected, events(3..4));
        let refused = other.append(&orders, late).await;
        assert!(matches!(refused, Err(StoreError::Closed { .. })), "{refused:?}");
    }
    assert!(append(&other, &orders, events(0..3)).await.unwrap().replay);
    assert_eq!(read_all(&other, &orders).await, events(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_holds_keeps_no_other_waiting() {
    let options = options();
    let store = open(&options).await.unwrap();
    let held = stream(&store, "held").await;
    let mut free = Vec::new();
    for number in 0..8 {
        free.push(stream(&store, &number.to_string()).await);
    }
    let somebody = hold(&options, &held).await;
    let waiting = append(&store, &held, events(0..1));
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    for number in 0..40 {
        let appends = free.iter().map(|stream| append(&store, stream, vec![event(number)]));
        let answers = timeout(PATIENCE / 10, join_all(appends)).await;
        for answer in answers.expect("nobody waits for the neighbour") {
            answer.unwrap();
        }
        assert!(futures::poll!(&mut waiting).is_pending());
    }
    somebody.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(waiting.await.unwrap().first, Version(0));
}

/// Story: two processes write one stream without pause. Whoever was passed over must not take as
/// many turns as it has appends.
#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_for_a_stream_go_in_one_transaction() {
    const APPENDS: u64 = 60;
    let options = named();
    let store = open(&options).await.unwrap();
    let orders = stream(&store, "1").await;
    let (somebody, server) = (hold(&options, &orders).await, hand(&url()).await);
    let appends = (0..APPENDS).map(|number| append(&store, &orders, vec![event(number)]));
    let mut appends = std::pin::pin!(join_all(appends));
    let waits = "SELECT FROM pg_stat_activity WHERE application_name = $1 \
                 AND wait_event_type = 'Lock'";
    let waits = || async { !server.query(waits, &[&options.schema]).await.unwrap().is_empty() };
    tokio::select! {
        _ = &mut appends => panic!("nobody holds the stream"),
        () = until("one of them waits at the server", waits) => {}
    }
    // What comes now does not try by itself.
    let later = (APPENDS..2 * APPENDS).map(|number| append(&store, &orders, vec![event(number)]));
    let mut later = std::pin::pin!(join_all(later));
    assert!(futures::poll!(&mut later).is_pending());
    somebody.batch_execute("ROLLBACK").await.unwrap();
    for answer in appends.await.into_iter().chain(later.await) {
        answer.unwrap();
    }
    let written = format!("SELECT count(DISTINCT xmin::text) FROM {}.events", options.schema);
    let transactions: i64 = server.query_one(&written, &[]).await.unwrap().get(0);
    assert!(transactions <= 4, "{transactions} transactions for {} appends", 2 * APPENDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_keeps_is_unavailable_and_certainly_not_written() {
    let options = options();
    let store = open(&options).await.unwrap();
    let held = stream(&store, "held").await;
    let somebody = hold(&options, &held).await;
    let refused = timeout(PATIENCE, append(&store, &held, events(0..1))).await.unwrap();
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    somebody.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(read_all(&store, &held).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_cannot_take_does_not_undo_its_neighbours() {
    let store = open(&PostgresOptions { append_connections: 1, ..options() }).await.unwrap();
    let orders = stream(&store, "1").await;
    // No parsed value holds a zero byte; what a bug let through must not become everybody's.
    let poison = EventBuilder::new(1_000).event_type("a\0b").build();
    let good = (0..50).map(|number| append(&store, &orders, vec![event(number)]));
    let (bad, good) = tokio::join!(append(&store, &orders, vec![poison]), join_all(good));
    assert!(matches!(bad, Err(StoreError::Bug { .. })), "{bad:?}");
    for answer in good {
        answer.unwrap();
    }
    assert_eq!(read_all(&store, &orders).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_share_transactions() {
    let options = named();
    let store = open(&options).await.unwrap();
    let orders = stream(&store, "1").await;
    let written = format!("SELECT count(DISTINCT xmin::text) FROM {}.events", options.schema);
    let server = hand(&url()).await;
    let appends = (0..400).map(|number| append(&store, &orders, vec![event(number)]));
    for answer in join_all(appends).await {
        answer.unwrap();
    }
    let transactions: i64 = server.query_one(&written, &[]).await.unwrap().get(0);
    assert!(transactions < 40, "{transactions} transactions for 400 appends");
}
