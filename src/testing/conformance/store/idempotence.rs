//! A repeated append meets its first answer, whatever happened since (I8).

use super::StoreSubject;
use super::subject::{every_expectation, refused};
use crate::domain::{Digest, ExpectedVersion, Version};
use crate::store::{Appended, Found, StoreError};
use crate::testing::builders::{EventBuilder, event, events};
use crate::testing::parallel;

use ExpectedVersion::{Any, Exact};

fn replay(first: u64, last: u64) -> Appended {
    Appended { first: Version(first), last: Version(last), replay: true }
}

pub async fn a_repeated_append_answers_as_the_first_did_in_every_mode(subject: StoreSubject) {
    let stream = subject.stream_of(1).await;
    stream.append(Any, events(1..3)).await.expect("any is met");
    stream.append(Any, events(3..5)).await.expect("any is met");
    for expected in every_expectation(5) {
        let again = stream.append(expected, events(1..3)).await;
        assert_eq!(again.expect("it was done"), replay(1, 2), "{expected}");
    }
    stream.holds(&events(0..5)).await;
}

pub async fn a_repeated_append_answers_the_same_after_the_close(subject: StoreSubject) {
    let (stream, _) = subject.closed_stream_of(3).await;
    for expected in every_expectation(3) {
        let again = stream.append(expected, events(1..3)).await;
        assert_eq!(again.expect("it was done"), replay(1, 2), "{expected}");
    }
    stream.holds(&events(0..3)).await;
}

/// A migration cuts the events of a stream into pages of its own, and so may a client's retry.
pub async fn known_events_are_a_replay_however_they_are_cut(subject: StoreSubject) {
    let stream = subject.stream_of(2).await;
    stream.append(Any, events(2..6)).await.expect("any is met");
    for (first, last) in [(0, 5), (1, 3), (4, 4), (5, 5), (0, 0)] {
        let again = stream.append(Any, events(first..last + 1)).await;
        assert_eq!(again.expect("they are there"), replay(first, last));
    }
    stream.holds(&events(0..6)).await;
}

pub async fn known_events_in_another_order_are_duplicates(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    for order in [[1, 0], [2, 1], [2, 0]] {
        let reordered = order.map(event).into();
        refused!(stream.append(Any, reordered).await, StoreError::DuplicateEventId { .. });
    }
    stream.holds(&events(0..3)).await;
}

pub async fn known_events_with_a_gap_are_duplicates(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    let gap = vec![event(0), event(2)];
    refused!(stream.append(Any, gap).await, StoreError::DuplicateEventId { .. });
    stream.holds(&events(0..3)).await;
}

pub async fn known_and_new_events_together_are_duplicates(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    for mixed in [vec![2, 9], vec![9, 2], vec![0, 1, 2, 9], vec![8, 0, 9]] {
        for expected in [Any, Exact(Version(2)), Exact(Version(7))] {
            let batch = mixed.iter().copied().map(event).collect();
            let answer = stream.append(expected, batch).await;
            refused!(answer, StoreError::DuplicateEventId { .. });
        }
    }
    stream.holds(&events(0..3)).await;
}

pub async fn one_id_twice_in_a_batch_is_a_duplicate(subject: StoreSubject) {
    let stream = subject.stream_of(1).await;
    for twice in [[7, 7], [0, 0]] {
        let batch = twice.map(event).into();
        refused!(stream.append(Any, batch).await, StoreError::DuplicateEventId { .. });
    }
    stream.holds(&events(0..1)).await;
}

pub async fn a_known_id_with_another_digest_is_a_duplicate(subject: StoreSubject) {
    let stream = subject.stream_of(2).await;
    let mut changed = EventBuilder::new(1).payload("something else").build();
    assert_ne!(changed.digest, event(1).digest);
    for expected in [Any, Exact(Version(0)), Exact(Version(1))] {
        let answer = stream.append(expected, vec![changed.clone()]).await;
        refused!(answer, StoreError::DuplicateEventId { .. });
    }
    // The digest decides, and not the bytes: a transforming migration may have changed those.
    changed.digest = event(1).digest;
    let again = stream.append(Any, vec![changed]).await;
    assert_eq!(again.expect("the digest is the same"), replay(1, 1));
    let no_digest = Digest::from_bytes([0; 32]);
    let batch = vec![event(0), crate::domain::Event { digest: no_digest, ..event(1) }];
    refused!(stream.append(Any, batch).await, StoreError::DuplicateEventId { .. });
    stream.holds(&events(0..2)).await;
}

/// Judged the other way round, a retry of an `exact` append whose answer was lost would be told
/// that it failed, while its event is in the history.
pub async fn ids_come_before_the_expected_version(subject: StoreSubject) {
    let stream = subject.stream_of(2).await;
    stream.append(Exact(Version(1)), vec![event(2)]).await.expect("1 is the head");
    let again = stream.append(Exact(Version(1)), vec![event(2)]).await;
    assert_eq!(again.expect("it was done"), replay(2, 2));
    let stale = stream.append(Exact(Version(1)), vec![event(3)]).await;
    refused!(stale, StoreError::WrongExpectedVersion(_));
    stream.holds(&events(0..3)).await;
}

pub async fn concurrent_repeats_of_one_append_land_once(subject: StoreSubject) {
    let stream = subject.stream().await;
    for round in 0..20 {
        let batch = events(3 * round..3 * round + 3);
        let repeats = (0..6).map(|_| {
            let (stream, batch) = (stream.clone(), batch.clone());
            async move { stream.append_anyhow(batch).await }
        });
        for answer in parallel::all(repeats).await {
            let Appended { first, last, .. } = answer.expect("any is met");
            assert_eq!((first, last), (Version(3 * round), Version(3 * round + 2)));
        }
    }
    stream.holds(&events(0..60)).await;
}

pub async fn find_tells_where_each_id_is(subject: StoreSubject) {
    let stream = subject.stream_of(4).await;
    let asked: Vec<_> = [3, 9, 0, 3].map(|number| event(number).event_id).into();
    let at = |version| Some(Found { version: Version(version), digest: event(version).digest });
    let expected = [at(3), None, at(0), at(3)];
    let found = subject.store.find(&stream.id, &asked).await.expect("the stream exists");
    assert_eq!(found, expected);
    stream.close(1, crate::testing::builders::head(3)).await.expect("3 is the head");
    let found = subject.store.find(&stream.id, &asked).await.expect("the stream exists");
    assert_eq!(found, expected, "also of a closed stream");
    let none = subject.store.find(&stream.id, &[]).await.expect("the stream exists");
    assert_eq!(none, []);
}
