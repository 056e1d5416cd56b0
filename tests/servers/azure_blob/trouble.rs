//! A service that throttles, fails, and is restarted.

use std::sync::Arc;
use std::time::Duration;

use streamgate::backends::azure_blob::{AzureBlobOptions, AzureBlobStore};
use streamgate::documents::{DocumentError, DocumentKey, DocumentStore, Precondition};
use streamgate::domain::ExpectedVersion;
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders::{append, event, header, object, range, stream_id};
use streamgate::testing::parallel;

use super::middle::{Fate, Middle};
use super::rollover::read_all;
use crate::own_server::OwnServer;

async fn behind(middle: &Middle) -> AzureBlobStore {
    let options = AzureBlobOptions { endpoint: middle.endpoint(), ..super::options() };
    super::open(options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn throttling_is_told_with_the_delay_and_nothing_was_done() {
    let middle = Middle::start().await;
    let store = behind(&middle).await;
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    let delay = |answer: &Option<Duration>| *answer == Some(Duration::from_secs(3));
    for answer in [
        "503 Busy\r\nx-ms-error-code: ServerBusy\r\nretry-after: 3\r\n",
        "429 Slower\r\nretry-after: 3\r\n",
        "503 Busy\r\nx-ms-error-code: ServerBusy\r\nx-ms-retry-after-ms: 3000\r\n",
    ] {
        middle.decide(move |_| Fate::Answer(answer));
        middle.seen();
        let write = store.append(&stream, append(ExpectedVersion::Any, vec![event(0)])).await;
        let Err(StoreError::RateLimited { retry_after }) = write else { panic!("{write:?}") };
        assert!(delay(&retry_after), "{retry_after:?}");
        assert_eq!(middle.seen().len(), 1, "nothing is repeated in silence");
        let read = store.tail(&stream).await;
        let Err(StoreError::RateLimited { retry_after }) = read else { panic!("{read:?}") };
        assert!(delay(&retry_after), "{retry_after:?}");
        let key = DocumentKey::deployment();
        let put = store.put(&key, "x".into(), Precondition::Absent).await;
        let Err(DocumentError::Unavailable { retry_after, .. }) = put else { panic!("{put:?}") };
        assert!(delay(&retry_after), "{retry_after:?}");
    }
    middle.decide(|_| Fate::Pass);
    assert_eq!(store.read(&stream, range(0)).await.unwrap().events, []);
    let kept = store.get(&DocumentKey::deployment()).await.unwrap();
    assert_eq!(kept, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failure_of_the_service_leaves_a_write_open_until_its_place_is_looked_at() {
    let middle = Middle::start().await;
    let store = behind(&middle).await;
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    let failed = "500 Late\r\nx-ms-error-code: OperationTimedOut\r\n";
    middle.decide(move |request| match request.appends() {
        true => Fate::Answer(failed),
        false => Fate::Pass,
    });
    let open = store.append(&stream, append(ExpectedVersion::Any, vec![event(0)])).await;
    assert!(matches!(open, Err(StoreError::OutcomeUnknown { .. })), "{open:?}");
    middle.decide(move |request| match request.appends() {
        true => Fate::LoseAnswer,
        false => Fate::Pass,
    });
    let done = store.append(&stream, append(ExpectedVersion::Any, vec![event(1)])).await;
    assert_eq!(done.expect("it stands where it was sent").first.0, 0);
    middle.decide(|_| Fate::Pass);
    assert_eq!(read_all(&store, &stream).await, [event(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_the_service_loses_and_doubles_nothing() {
    const WRITERS: u64 = 4;
    let service = Arc::new(OwnServer::azure_blob());
    let options = AzureBlobOptions { endpoint: service.place.clone(), ..super::small() };
    let store = Arc::new(super::open(options).await);
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    let restarted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers = (0..WRITERS).map(|writer| {
        let (store, stream, restarted) =
            (Arc::clone(&store), stream.clone(), Arc::clone(&restarted));
        async move {
            let (mut sent, mut troubles, mut after) = (0_u64, 0_u64, 0_u64);
            while after < 20 {
                let one = event(writer * 100_000 + sent);
                match store.append(&stream, append(ExpectedVersion::Any, vec![one])).await {
                    Ok(_) => {
                        sent += 1;
                        after += u64::from(restarted.load(std::sync::atomic::Ordering::Acquire));
                    }
                    // The same event again: its id says whether it is there.
                    Err(
                        StoreError::Unavailable { .. }
                        | StoreError::OutcomeUnknown { .. }
                        | StoreError::Contended { .. },
                    ) => {
                        troubles += 1;
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("an append was answered by {error:?}"),
                }
            }
            (sent, troubles)
        }
    });
    let restart = {
        let (service, store, stream) = (Arc::clone(&service), Arc::clone(&store), stream.clone());
        let restarted = Arc::clone(&restarted);
        async move {
            while store.tail(&stream).await.map_or(0, |tail| tail.head.next().0) < 40 {
                tokio::task::yield_now().await;
            }
            tokio::task::spawn_blocking(move || service.restart()).await.unwrap();
            restarted.store(true, std::sync::atomic::Ordering::Release);
            (0, 0)
        }
    };
    let mut tasks: Vec<futures::future::BoxFuture<'static, (u64, u64)>> =
        writers.map(|writer| Box::pin(writer) as _).collect();
    tasks.push(Box::pin(restart));
    let sent = parallel::all(tasks).await;
    let troubles: u64 = sent.iter().map(|(_, troubles)| troubles).sum();
    assert!(troubles > 0, "the service was away for a moment");
    store.forget();
    let held = read_all(&store, &stream).await;
    let acknowledged: u64 = sent.iter().map(|(sent, _)| sent).sum();
    assert_eq!(held.len() as u64, acknowledged, "each event once");
    for (writer, (sent, _)) in (0..WRITERS).zip(sent) {
        let own: Vec<_> = (0..sent).map(|number| event(writer * 100_000 + number)).collect();
        let kept: Vec<_> = held.iter().filter(|held| own.contains(held)).cloned().collect();
        assert_eq!(kept, own, "in the order of their answers");
    }
}
