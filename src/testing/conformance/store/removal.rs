//! Removal takes the events and leaves the end, so that the id is never free again (I2, I11).

use super::StoreSubject;
use super::subject::{every_expectation, refused};
use crate::domain::{ExpectedVersion, StreamHeader};
use crate::store::StoreError;
use crate::testing::builders::{event, events, head, migration, range};

pub async fn an_open_stream_is_not_removed(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    refused!(subject.store.remove(&stream.id).await, StoreError::NotClosed);
    stream.append(ExpectedVersion::Any, vec![event(3)]).await.expect("the stream is open");
    stream.holds(&events(0..4)).await;
}

pub async fn a_removed_stream_leaves_header_head_and_close(subject: StoreSubject) {
    let (stream, close) = subject.closed_stream_of(3).await;
    let removed = subject.store.remove(&stream.id).await.expect("the stream is closed");
    assert_eq!(removed.events, 3);
    let tail = stream.tail().await;
    assert!(tail.removed);
    assert_eq!(tail.header, stream.header);
    assert_eq!((tail.base, tail.head), (Some(stream.base), head(2)));
    assert_eq!(tail.closed, Some(close));
}

/// A writer that slept with an old head would find its place free again.
pub async fn no_append_after_a_removal_in_any_mode_at_any_version(subject: StoreSubject) {
    let (stream, close) = subject.closed_stream_of(3).await;
    subject.store.remove(&stream.id).await.expect("the stream is closed");
    for (number, expected) in (100..).zip(every_expectation(3)) {
        // New events, and those that were there: what was removed is not known any more.
        for batch in [events(number..number + 1), events(0..3), vec![event(1)]] {
            match stream.append(expected, batch).await {
                Err(StoreError::Closed { close: told }) => assert_eq!(*told, close, "{expected}"),
                answer => panic!("expected the close at {expected}, got {answer:?}"),
            }
        }
    }
    assert_eq!(stream.tail().await.head, head(2));
}

pub async fn reads_of_a_removed_stream_are_gone(subject: StoreSubject) {
    let (stream, close) = subject.closed_stream_of(3).await;
    subject.store.remove(&stream.id).await.expect("the stream is closed");
    for from in [0, 2, 3, 1_000] {
        match subject.store.read(&stream.id, range(from)).await {
            Err(StoreError::Gone { head: told_head, close: told }) => {
                assert_eq!((told_head, *told), (head(2), close.clone()));
            }
            answer => panic!("expected that the events are gone, got {answer:?}"),
        }
    }
    let ids = [event(0).event_id];
    refused!(subject.store.find(&stream.id, &ids).await, StoreError::Gone { .. });
}

pub async fn a_removed_id_stays_taken(subject: StoreSubject) {
    let (stream, close) = subject.closed_stream_of(3).await;
    subject.store.remove(&stream.id).await.expect("the stream is closed");
    let other = StreamHeader { made_by: Some(migration(9)), ..stream.header.clone() };
    refused!(subject.store.create(&stream.id, &other).await, StoreError::AlreadyExists);
    stream.create().await.expect("the header is the same");
    let tail = stream.tail().await;
    assert!(tail.removed, "creating again raises nothing from the dead");
    assert_eq!(tail.closed, Some(close.clone()));
    assert_eq!(stream.close(1, head(2)).await.expect("it was done by this very close"), close);
    let rival = stream.close(2, head(2)).await;
    refused!(rival, StoreError::Closed { .. });
}

pub async fn removing_twice_is_removing_once(subject: StoreSubject) {
    let (stream, _) = subject.closed_stream_of(3).await;
    subject.store.remove(&stream.id).await.expect("the stream is closed");
    let before = stream.tail().await;
    let again = subject.store.remove(&stream.id).await.expect("it was done before");
    assert_eq!(again.events, 0);
    assert_eq!(stream.tail().await, before);
}
