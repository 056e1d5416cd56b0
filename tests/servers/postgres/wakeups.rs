//! Processes hear of what others append.

use std::time::Duration;

use streamgate::domain::StreamAddress;
use streamgate::store::{EventStore, Wakeups, Watch};
use streamgate::testing::builders::{close, events, head, migration, store_name};

use super::kit::{append, hand, listening, open, open_told, options, stream, until, url};

/// Far below every interval at which somebody would look without being told.
const SOON: Duration = Duration::from_secs(10);

async fn is_woken(watch: &mut Watch) -> bool {
    tokio::time::timeout(SOON, watch.changed()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_and_a_close_wake_a_watch_of_another_process() {
    let (options, wakeups) = (listening(), Wakeups::new());
    let writer = open(&options).await.unwrap();
    let reader = open_told(&options, &wakeups).await.unwrap();
    assert_eq!(reader.capabilities().poll_interval, None);
    let orders = stream(&writer, "1").await;
    let address = StreamAddress { store: store_name("hot"), stream_id: orders.clone() };
    let mut watch = wakeups.watch(&address);
    append(&writer, &orders, events(0..1)).await.unwrap();
    assert!(is_woken(&mut watch).await);
    let closed = writer.close(&orders, close(migration(1), head(0))).await;
    closed.unwrap();
    assert!(is_woken(&mut watch).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_was_cut_off_comes_back_and_wakes_everybody() {
    let (options, wakeups) = (listening(), Wakeups::new());
    let writer = open(&options).await.unwrap();
    let reader = open_told(&options, &wakeups).await.unwrap();
    let orders = stream(&writer, "1").await;
    let address = StreamAddress { store: store_name("hot"), stream_id: orders.clone() };
    let server = hand(&url()).await;
    let listeners = format!(
        "FROM pg_stat_activity WHERE query = 'LISTEN {}' AND pid <> pg_backend_pid()",
        options.schema
    );
    let count = format!("SELECT count(*) {listeners}");
    let listening = || async { server.query_one(&count, &[]).await.unwrap().get::<_, i64>(0) };
    assert_eq!(listening().await, 2);
    let mut watch = wakeups.watch(&address);
    let cut = format!("SELECT pg_terminate_backend(pid, 10000) {listeners}");
    server.query(&cut, &[]).await.unwrap();
    assert!(is_woken(&mut watch).await, "something may have been missed");
    until("both listen again", || async { listening().await == 2 }).await;
    // What the way back itself told is not what is asked for here.
    let mut watch = wakeups.watch(&address);
    append(&writer, &orders, events(0..1)).await.unwrap();
    assert!(is_woken(&mut watch).await);
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_listener_followers_poll() {
    let options = options();
    let store = open(&options).await.unwrap();
    assert_eq!(store.capabilities().poll_interval, Some(options.poll_interval));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_ends_with_its_store() {
    let options = listening();
    let store = open(&options).await.unwrap();
    let server = hand(&url()).await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN ' || $1";
    let schema = options.schema.clone();
    let listening =
        || async { server.query_one(count, &[&schema]).await.unwrap().get::<_, i64>(0) };
    assert_eq!(listening().await, 1);
    drop(store);
    until("nobody listens", || async { listening().await == 0 }).await;
}
