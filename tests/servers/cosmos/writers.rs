//! Writers that slept, and answers that were lost (I1, I2, I8).

use streamgate::domain::{ExpectedVersion, ObjectKey, StreamHeader, StreamId, Version};
use streamgate::runtime::{Entropy, SystemEntropy};
use streamgate::store::{Append, Close, EventStore, StoreError};
use streamgate::testing::builders::{self, close_event, event, events, head, migration, range};

use super::kit::{Account, requests};

fn object() -> ObjectKey {
    builders::object(&SystemEntropy.uuid().to_string())
}

fn append(expected: ExpectedVersion, numbers: std::ops::Range<u64>) -> Append {
    builders::append(expected, events(numbers))
}

async fn create(store: &impl EventStore) -> StreamId {
    let object = object();
    let stream = StreamId::numbered(&object, 0);
    let header: StreamHeader = builders::header(&object);
    store.create(&stream, &header).await.expect("the id is new");
    stream
}

/// The head that a sleeper remembers is never true again, whatever happened while it slept: its
/// batch reaches the service and is refused there, and by nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_slept_through_appends_close_and_removal_is_refused_by_the_service() {
    let account = Account::new();
    let (sleeper, awake) = (account.open().await, account.open().await);
    let stream = create(&sleeper).await;
    sleeper.append(&stream, append(ExpectedVersion::Any, 0..2)).await.unwrap();

    awake.append(&stream, append(ExpectedVersion::Any, 2..3)).await.unwrap();
    let (asked, late) = account.counted(sleeper.append(&stream, append(exactly(1), 10..11))).await;
    assert_eq!(asked, requests([("batch", 1), ("query", 1)]), "it was tried, and looked after");
    assert!(matches!(late, Err(StoreError::WrongExpectedVersion(_))), "{late:?}");

    // Sleeps again, with the head 2.
    let close = Close { made_by: None, event: close_event(migration(1), head(2)) };
    let closed = awake.close(&stream, close).await.unwrap();
    for (expected, numbers) in [(ExpectedVersion::Any, 20..21), (exactly(2), 21..23)] {
        let (asked, late) =
            account.counted(sleeper.append(&stream, append(expected, numbers))).await;
        assert!(
            matches!(&late, Err(StoreError::Closed { close }) if **close == closed),
            "{late:?}"
        );
        assert!(asked.contains_key("query"));
    }
    let other = account.open().await;
    other.tail(&stream).await.unwrap();
    awake.remove(&stream).await.unwrap();
    for store in [&sleeper, &other] {
        for numbers in [30..31, 0..2] {
            let late = store.append(&stream, append(ExpectedVersion::Any, numbers)).await;
            let told = matches!(&late, Err(StoreError::Closed { close }) if **close == closed);
            assert!(told, "{late:?}");
        }
    }
    let tail = awake.tail(&stream).await.unwrap();
    assert!(tail.removed && tail.head == head(2) && tail.closed == Some(closed));
    let gone = sleeper.read(&stream, range(0)).await;
    assert!(matches!(gone, Err(StoreError::Gone { .. })), "{gone:?}");
}

/// As above, but the sleeper remembers the open head right up to the removal: the events' ids are
/// free again, and only the head's etag stands between.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_a_removal_freed_let_no_sleeper_in() {
    let account = Account::new();
    let (sleeper, awake) = (account.open().await, account.open().await);
    let stream = create(&sleeper).await;
    sleeper.append(&stream, append(ExpectedVersion::Any, 0..3)).await.unwrap();
    let close = Close { made_by: None, event: close_event(migration(1), head(2)) };
    awake.close(&stream, close).await.unwrap();
    assert_eq!(awake.remove(&stream).await.unwrap().events, 3);
    let (asked, late) = account.counted(sleeper.append(&stream, append(exactly(2), 3..5))).await;
    assert_eq!(asked, requests([("batch", 1), ("query", 1)]));
    assert!(matches!(late, Err(StoreError::Closed { .. })), "{late:?}");
    let found = awake.remove(&stream).await.unwrap();
    assert_eq!(found.events, 0, "nothing came back");
}

/// An append whose answer was lost is in the stream. The client library sends it again by itself
/// and is refused, which must not be taken for the outcome.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_was_lost_is_found_again_and_landed_once() {
    let account = Account::new();
    let store = account.open().await;
    let stream = create(&store).await;
    let mut next = 0;
    for expected in [ExpectedVersion::NoStream, exactly(1), ExpectedVersion::Any] {
        account.rehearse("lose_answer", "batch", 1).await;
        let batch = append(expected, next..next + 2);
        match store.append(&stream, batch.clone()).await {
            Ok(appended) => assert_eq!(appended.first, Version(next)),
            Err(StoreError::OutcomeUnknown { .. }) => {
                let again = store.append(&stream, batch).await.unwrap();
                assert!(again.replay && again.first == Version(next), "{again:?}");
            }
            Err(error) => panic!("a lost answer was taken for {error:?}"),
        }
        next += 2;
    }
    let page = store.read(&stream, range(0)).await.unwrap();
    assert_eq!(page.events, events(0..6));
}

/// A removal that is cut off says that it does not know, and goes on when it is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_cut_off_goes_on_where_it_stopped() {
    let account = Account::new();
    let store = account.open().await;
    let stream = create(&store).await;
    for from in [0, 99, 198] {
        store.append(&stream, append(ExpectedVersion::Any, from..from + 99)).await.unwrap();
    }
    let close = Close { made_by: None, event: close_event(migration(1), head(296)) };
    store.close(&stream, close).await.unwrap();
    account.rehearse("refuse", "batch", 1).await;
    let cut = store.remove(&stream).await;
    assert!(matches!(cut, Err(StoreError::OutcomeUnknown { .. })), "{cut:?}");
    let gone = store.read(&stream, range(0)).await;
    assert!(matches!(gone, Err(StoreError::Gone { .. })), "{gone:?}");
    let (asked, removed) = account.counted(store.remove(&stream)).await;
    assert_eq!(removed.unwrap().events, 297);
    assert_eq!(asked["batch"], 3, "{asked:?}");
    assert_eq!(store.remove(&stream).await.unwrap().events, 0);
}

fn exactly(version: u64) -> ExpectedVersion {
    ExpectedVersion::Exact(Version(version))
}

/// A page of a long stream is read from several answers of the service, and any number of ids is
/// looked up.
#[tokio::test(flavor = "multi_thread")]
async fn long_pages_and_many_ids_are_put_together() {
    let account = Account::new();
    let store = account.open().await;
    let stream = create(&store).await;
    for from in (0..1_287).step_by(99) {
        store.append(&stream, append(ExpectedVersion::Any, from..from + 99)).await.unwrap();
    }
    let mut all = range(3);
    all.events_max = 5_000;
    let page = store.read(&stream, all).await.unwrap();
    assert_eq!(page.events, events(3..1_287));
    assert!(page.reaches_head());
    let ids: Vec<_> = (1_200..1_500).map(|number| event(number).event_id).collect();
    let found = store.find(&stream, &ids).await.unwrap();
    let versions: Vec<_> = found.iter().flatten().map(|found| found.version.0).collect();
    assert_eq!(versions, (1_200..1_287).collect::<Vec<u64>>());
    assert_eq!(found.len(), 300);
}
