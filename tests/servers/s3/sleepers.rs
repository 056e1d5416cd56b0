//! Writers that slept: what they knew when they fell asleep is refused by the service itself.

use std::sync::Arc;

use bytes::Bytes;
use streamgate::backends::s3::S3Store;
use streamgate::documents::{DocumentError, DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{ExpectedVersion, Head, StreamId, Version};
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders;

use super::kit::{Fate, Held, Place, Relay, append, new_stream, numbers};

/// What happens while a writer's request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meanwhile {
    Append,
    Chunks,
    Close,
    Removal,
}

async fn pass_time(store: &S3Store, stream: &StreamId, until: Meanwhile) {
    append(store, stream, 100..101).await.unwrap();
    if until >= Meanwhile::Chunks {
        for number in 101..120 {
            append(store, stream, number..number + 1).await.unwrap();
        }
    }
    if until >= Meanwhile::Close {
        let head = store.tail(stream).await.unwrap().head;
        store.close(stream, builders::close(builders::migration(1), head)).await.unwrap();
    }
    if until >= Meanwhile::Removal {
        store.remove(stream).await.unwrap();
    }
}

/// The write of a sleeper is held between it and the service, until the world has moved on.
#[tokio::test]
async fn a_write_on_an_old_tail_is_refused_whatever_happened_since() {
    for until in [Meanwhile::Append, Meanwhile::Chunks, Meanwhile::Close, Meanwhile::Removal] {
        let place = Place::new().await.in_pieces();
        let relay = Relay::start().await;
        let sleeper = Arc::new(place.through(&relay).open().await);
        let others = place.open().await;
        let stream = new_stream(&others).await;
        append(&sleeper, &stream, 0..3).await.unwrap();

        let held = Arc::new(Held::default());
        let hold = Arc::clone(&held);
        let mut first = true;
        relay.plan(move |request| {
            if request.writes_a_tail() && std::mem::take(&mut first) {
                Fate::Later(Arc::clone(&hold))
            } else {
                Fate::Pass
            }
        });
        let late = builders::append(ExpectedVersion::Exact(Version(2)), builders::events(50..51));
        let asleep = {
            let (sleeper, stream) = (Arc::clone(&sleeper), stream.clone());
            tokio::spawn(async move { sleeper.append(&stream, late).await })
        };
        held.arrived.notified().await;
        pass_time(&others, &stream, until).await;
        held.released.notify_one();
        let answer = asleep.await.unwrap();
        match until {
            Meanwhile::Append | Meanwhile::Chunks => {
                assert!(matches!(answer, Err(StoreError::WrongExpectedVersion(_))), "{answer:?}");
                let held = numbers(&others, &stream).await;
                assert!(!held.contains(&50), "{until:?}: {held:?}");
            }
            Meanwhile::Close | Meanwhile::Removal => {
                assert!(matches!(answer, Err(StoreError::Closed { .. })), "{answer:?}");
                let tail = others.tail(&stream).await.unwrap();
                assert_eq!(tail.head, Head::at(Version(22)));
                assert_eq!(tail.removed, until == Meanwhile::Removal);
            }
        }
    }
}

/// A process whose memory is old, but whose request is not: it looks again and is told.
#[tokio::test]
async fn a_process_with_an_old_tail_in_memory_appends_behind_the_new_one() {
    let place = Place::new().await.in_pieces();
    let (one, other) = (place.open().await, place.open().await);
    let stream = new_stream(&one).await;
    append(&one, &stream, 0..1).await.unwrap();
    append(&other, &stream, 1..20).await.unwrap();
    let appended = append(&one, &stream, 20..21).await.unwrap();
    assert_eq!(appended.first, Version(20));
    assert_eq!(numbers(&other, &stream).await, (0..21).collect::<Vec<_>>());
}

#[tokio::test]
async fn equal_contents_never_match_an_old_etag() {
    let store = Place::new().await.open().await;
    let key = DocumentKey::from_raw("one");
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    let first = store.put(&key, body("a"), Precondition::Absent).await.unwrap();
    let matches = |etag: &_| Precondition::Matches(Clone::clone(etag));
    let second = store.put(&key, body("b"), matches(&first)).await.unwrap();
    let third = store.put(&key, body("a"), matches(&second)).await.unwrap();
    assert_ne!(first, third);
    let late = store.put(&key, body("late"), matches(&first)).await;
    assert!(matches!(late, Err(DocumentError::Conflict)), "{late:?}");
    assert_eq!(store.get(&key).await.unwrap().unwrap().body, "a");
}
