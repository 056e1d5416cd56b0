//! A service that takes less than it is asked for says so, and nothing is lost or doubled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use streamgate::documents::{DocumentError, DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{ExpectedVersion, StoreName, StreamId};
use streamgate::runtime::Runtime;
use streamgate::store::{EventStore, StoreError, StoreOptions, Wakeups, stack};
use streamgate::telemetry::calls::CallMetrics;
use streamgate::testing::builders::{self, events, range};

use super::kit::Account;

const DELAY: &str = "throttle&retry_after_ms=37";

fn asks_for_the_delay<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    let delay = Some(Duration::from_millis(37));
    assert!(
        matches!(answer, Err(StoreError::RateLimited { retry_after }) if retry_after == delay),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_calls_tell_the_delay_and_were_not_done() {
    let account = Account::new();
    let store = account.open().await;
    let object = builders::object("1");
    let stream = StreamId::numbered(&object, 0);
    account.rehearse(DELAY, "write", 1).await;
    asks_for_the_delay(store.create(&stream, &builders::header(&object)).await);
    store.create(&stream, &builders::header(&object)).await.unwrap();

    let append = builders::append(ExpectedVersion::Any, events(0..3));
    account.rehearse(DELAY, "batch", 1).await;
    asks_for_the_delay(store.append(&stream, append.clone()).await);
    let appended = store.append(&stream, append).await.unwrap();
    assert!(!appended.replay, "the first was not done");

    account.rehearse(DELAY, "query", 1).await;
    asks_for_the_delay(store.read(&stream, range(0)).await);
    assert_eq!(store.read(&stream, range(0)).await.unwrap().events, events(0..3));
    account.rehearse(DELAY, "read", 1).await;
    asks_for_the_delay(store.tail(&stream).await);

    let key = DocumentKey::deployment();
    account.rehearse(DELAY, "write", 1).await;
    let put = store.put(&key, Bytes::from_static(b"1"), Precondition::Absent).await;
    let delay = Some(Duration::from_millis(37));
    let told = matches!(&put, Err(DocumentError::Unavailable { retry_after, .. })
        if *retry_after == delay);
    assert!(told, "{put:?}");
    store.put(&key, Bytes::from_static(b"1"), Precondition::Absent).await.unwrap();

    let metrics = account.metrics();
    for operation in ["append", "read", "create", "put_document"] {
        let labels = format!("{{store=\"cosmos\",operation=\"{operation}\"}}");
        let throttled = format!("store_requests_throttled_total{labels} 1");
        assert!(metrics.contains(&throttled), "{metrics}");
        let charged = format!("store_request_units_total{labels} ");
        assert!(metrics.contains(&charged), "{metrics}");
    }
}

/// As the rest of the process calls it: the delay is waited for, and the call is made again.
#[tokio::test(flavor = "multi_thread")]
async fn callers_behind_the_wrappers_do_not_notice_a_short_shortage() {
    let account = Account::new();
    let name = StoreName::new("cosmos").unwrap();
    let calls = CallMetrics::new(&mut Registry::default()).of(&name);
    let wakeups = Wakeups::new().of(&name);
    let backend = Arc::new(account.open().await);
    let store = stack(backend, &StoreOptions::default(), &Runtime::system(), calls, wakeups);
    let object = builders::object("1");
    let stream = StreamId::numbered(&object, 0);
    store.create(&stream, &builders::header(&object)).await.unwrap();
    for number in 0..10 {
        account.rehearse(DELAY, "batch", 2).await;
        let append = builders::append(ExpectedVersion::Any, events(number..number + 1));
        let appended = store.append(&stream, append).await.unwrap();
        assert!(!appended.replay);
        account.rehearse(DELAY, "query", 1).await;
        let page = store.read(&stream, range(0)).await.unwrap();
        assert_eq!(page.events, events(0..number + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_unavailable_to_readers_and_in_doubt_for_writers() {
    let account = Account::new();
    let store = account.open().await;
    let object = builders::object("1");
    let stream = StreamId::numbered(&object, 0);
    store.create(&stream, &builders::header(&object)).await.unwrap();
    account.rehearse("refuse", "read", 1).await;
    let tail = store.tail(&stream).await;
    assert!(matches!(tail, Err(StoreError::Unavailable { .. })), "{tail:?}");
    let append = builders::append(ExpectedVersion::NoStream, events(0..1));
    account.rehearse("refuse", "batch", 1).await;
    let doubt = store.append(&stream, append.clone()).await;
    assert!(matches!(doubt, Err(StoreError::OutcomeUnknown { .. })), "{doubt:?}");
    account.rehearse("forbid", "batch", 1).await;
    let refused = store.append(&stream, append.clone()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(!store.append(&stream, append).await.unwrap().replay);
}
