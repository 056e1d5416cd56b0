//! Answers that do not come, and a service that asks to slow down.

use std::time::Duration;

use bytes::Bytes;
use streamgate::documents::{DocumentError, DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{Head, Version};
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders;

use super::kit::{Fate, Place, Relay, Request, append, new_stream, numbers};

/// A fate that meets one request of a kind, and none after it.
fn once(fate: Fate, meant: impl Fn(&Request) -> bool) -> impl FnMut(&Request) -> Fate {
    let mut fate = Some(fate);
    move |request| match meant(request) {
        true => fate.take().unwrap_or(Fate::Pass),
        false => Fate::Pass,
    }
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_settled_by_its_nonce() {
    for fate in [Fate::LoseAnswer, Fate::LoseRequest] {
        let place = Place::new().await;
        let relay = Relay::start().await;
        let store = place.through(&relay).open().await;
        let stream = new_stream(&store).await;
        append(&store, &stream, 0..1).await.unwrap();
        relay.plan(once(fate, Request::writes_a_tail));
        let appended = append(&store, &stream, 1..3).await.unwrap();
        assert_eq!((appended.first.0, appended.replay), (1, false));
        assert_eq!(numbers(&store, &stream).await, [0, 1, 2]);
    }
}

#[tokio::test]
async fn an_append_that_nobody_can_settle_is_unknown_and_lands_once_when_repeated() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    let store = place.through(&relay).open().await;
    let stream = new_stream(&store).await;
    append(&store, &stream, 0..1).await.unwrap();
    // The write arrives, its answer is lost, and then nobody is heard any more.
    let mut dead = false;
    relay.plan(move |request| match (dead, request.writes_a_tail()) {
        (true, _) => Fate::LoseRequest,
        (false, true) => {
            dead = true;
            Fate::LoseAnswer
        }
        (false, false) => Fate::Pass,
    });
    let lost = append(&store, &stream, 1..2).await;
    assert!(matches!(lost, Err(StoreError::OutcomeUnknown { .. })), "{lost:?}");
    relay.pass();
    let again = append(&store, &stream, 1..2).await.unwrap();
    assert_eq!((again.first.0, again.replay), (1, true));
    assert_eq!(numbers(&store, &stream).await, [0, 1]);
}

#[tokio::test]
async fn closes_and_documents_whose_answers_are_lost_are_settled() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    let store = place.through(&relay).open().await;
    let stream = new_stream(&store).await;
    append(&store, &stream, 0..1).await.unwrap();
    relay.plan(once(Fate::LoseAnswer, Request::writes_a_tail));
    let close = builders::close(builders::migration(1), Head::at(Version(0)));
    store.close(&stream, close).await.unwrap();
    let is_put = |request: &Request| request.method() == "PUT";
    let key = DocumentKey::from_raw("one");
    relay.plan(once(Fate::LoseAnswer, is_put));
    let etag = store.put(&key, Bytes::from_static(b"1"), Precondition::Absent).await.unwrap();
    relay.plan(once(Fate::LoseAnswer, is_put));
    let next = store.put(&key, Bytes::from_static(b"2"), Precondition::Matches(etag)).await;
    let found = store.get(&key).await.unwrap().unwrap();
    assert_eq!((found.etag, &found.body[..]), (next.unwrap(), &b"2"[..]));
}

const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n\
    Retry-After: 7\r\nConnection: close\r\n\r\n\
    <Error><Code>SlowDown</Code><Message/></Error>";
const TOO_MANY: &str =
    "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_service_that_asks_to_slow_down_is_told_with_the_delay_and_nothing_is_done() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    let store = place.through(&relay).open().await;
    let stream = new_stream(&store).await;
    append(&store, &stream, 0..1).await.unwrap();
    for (answer, seconds) in [(SLOW_DOWN, 7), (TOO_MANY, 1)] {
        relay.plan(move |_| Fate::Answer(answer));
        let delay = Some(Duration::from_secs(seconds));
        for error in [
            append(&store, &stream, 1..2).await.unwrap_err(),
            store.tail(&stream).await.unwrap_err(),
            store.read(&stream, builders::range(0)).await.unwrap_err(),
        ] {
            let StoreError::RateLimited { retry_after } = error else { panic!("{error:?}") };
            assert_eq!(retry_after, delay);
        }
        let error = store.get(&DocumentKey::deployment()).await.unwrap_err();
        let DocumentError::Unavailable { retry_after, .. } = error else { panic!("{error:?}") };
        assert_eq!(retry_after, delay);
    }
    relay.pass();
    assert_eq!(numbers(&store, &stream).await, [0]);
}

#[tokio::test]
async fn an_outage_leaves_reads_undone_and_writes_unknown() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    let store = place.through(&relay).open().await;
    let stream = new_stream(&store).await;
    append(&store, &stream, 0..1).await.unwrap();
    relay.plan(|_| Fate::Answer(BROKEN));
    let read = store.tail(&stream).await.unwrap_err();
    assert!(matches!(read, StoreError::Unavailable { .. }), "{read:?}");
    let write = append(&store, &stream, 1..2).await.unwrap_err();
    assert!(matches!(write, StoreError::OutcomeUnknown { .. }), "{write:?}");
    relay.pass();
    append(&store, &stream, 1..2).await.unwrap();
    drop(relay);
    // Nobody listens any more: the request certainly never left.
    let gone = store.create(&stream, &builders::header(&builders::object("x"))).await;
    assert!(matches!(gone, Err(StoreError::Unavailable { .. })), "{gone:?}");
}

/// A page of an error in the way must not look like a stream that never was.
#[tokio::test]
async fn only_the_service_says_that_a_stream_is_not_there() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    let store = place.through(&relay).open().await;
    let stream = new_stream(&store).await;
    relay.plan(|_| {
        Fate::Answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let tail = store.tail(&stream).await;
    assert!(matches!(tail, Err(StoreError::Unavailable { .. })), "{tail:?}");
}
