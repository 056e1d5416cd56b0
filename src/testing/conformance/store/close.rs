//! A close is bound to the head, happens once, and lets nothing in behind it (I2, I3).

use super::StoreSubject;
use super::subject::{every_expectation, refused};
use crate::domain::close_event::MigrationKind;
use crate::domain::{
    Checksum, CloseEvent, Continuation, ExpectedVersion, Head, StreamAddress, StreamRef, Timestamp,
    Version,
};
use crate::store::{Close, StoreError};
use crate::testing::builders::{
    EventBuilder, RECORDED_AT, close_event, event, events, head, migration, store_name, stream_id,
};
use crate::testing::parallel;

pub async fn close_at_the_exact_head_ends_the_stream(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    let answer = stream.close(1, head(2)).await.expect("2 is the head");
    assert_eq!(answer, close_event(migration(1), head(2)));
    let tail = stream.tail().await;
    assert_eq!((tail.head, tail.closed), (head(2), Some(answer)), "a close is no version");
    stream.holds(&events(0..3)).await;
}

pub async fn close_at_any_other_head_is_a_conflict(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    for other in [Head::NONE, head(0), head(1), head(3), head(1_000)] {
        match stream.close(1, other).await {
            Err(StoreError::WrongExpectedVersion(wrong)) => assert_eq!(wrong.actual, head(2)),
            answer => panic!("expected a conflict at {other}, got {answer:?}"),
        }
    }
    assert_eq!(stream.tail().await.closed, None);
    stream.append(ExpectedVersion::Any, vec![event(3)]).await.expect("the stream is still open");
    stream.holds(&events(0..4)).await;
}

pub async fn close_by_another_maker_is_refused(subject: StoreSubject) {
    let stream = subject.stream_of(1).await;
    let foreign = Close { made_by: Some(migration(7)), event: close_event(migration(7), head(0)) };
    refused!(subject.store.close(&stream.id, foreign).await, StoreError::WrongMaker { .. });
    assert_eq!(stream.tail().await.closed, None);
}

pub async fn the_same_close_again_answers_the_same(subject: StoreSubject) {
    let (stream, first) = subject.closed_stream_of(3).await;
    let again = stream.close(1, head(2)).await.expect("it was done by this very close");
    assert_eq!(again, first);
    // A migration that resumes does not know when it closed.
    let mut later = close_event(migration(1), head(2));
    later.closed_at = RECORDED_AT.plus(std::time::Duration::from_secs(60));
    let again = subject.store.close(&stream.id, Close { made_by: None, event: later }).await;
    assert_eq!(again.expect("it was done by this very close"), first);
}

pub async fn another_close_is_refused_with_the_first(subject: StoreSubject) {
    let (stream, first) = subject.closed_stream_of(3).await;
    let rival = close_event(migration(2), head(2));
    let mut seal = close_event(migration(1), head(2));
    seal.continuation = None;
    let beyond = close_event(migration(1), head(3));
    for other in [rival, seal, beyond] {
        match subject.store.close(&stream.id, Close { made_by: None, event: other }).await {
            Err(StoreError::Closed { close }) => assert_eq!(*close, first),
            answer => panic!("expected the first close, got {answer:?}"),
        }
    }
    assert_eq!(stream.tail().await.closed, Some(first));
}

pub async fn concurrent_closes_have_one_winner(subject: StoreSubject) {
    for _ in 0..20 {
        let stream = subject.stream_of(1).await;
        let rivals = (0..4).map(|rival| {
            let stream = stream.clone();
            async move { stream.close(rival, head(0)).await }
        });
        let answers = parallel::all(rivals).await;
        let stored = stream.tail().await.closed.expect("one of them closed it");
        let mut won = 0;
        for answer in answers {
            match answer {
                Ok(close) => {
                    won += 1;
                    assert_eq!(close, stored);
                }
                Err(StoreError::Closed { close }) => assert_eq!(*close, stored),
                Err(error) => panic!("a rival's close was answered by {error:?}"),
            }
        }
        assert_eq!(won, 1);
    }
}

pub async fn no_append_after_a_close_in_any_mode_at_any_version(subject: StoreSubject) {
    let (stream, first) = subject.closed_stream_of(3).await;
    for (number, expected) in (100..).zip(every_expectation(3)) {
        for batch in [events(number..number + 1), events(1_000 + number..1_003 + number)] {
            match stream.append(expected, batch).await {
                Err(StoreError::Closed { close }) => assert_eq!(*close, first, "{expected}"),
                answer => panic!("expected the close at {expected}, got {answer:?}"),
            }
        }
    }
    stream.holds(&events(0..3)).await;
    let tail = stream.tail().await;
    assert_eq!((tail.head, tail.closed), (head(2), Some(first)));
}

pub async fn an_empty_stream_can_be_closed(subject: StoreSubject) {
    let stream = subject.stream().await;
    refused!(stream.close(1, head(0)).await, StoreError::WrongExpectedVersion(_));
    let close = stream.close(1, Head::NONE).await.expect("there is no event");
    for expected in every_expectation(0) {
        refused!(stream.append(expected, vec![event(0)]).await, StoreError::Closed { .. });
    }
    assert_eq!(stream.tail().await.closed, Some(close));
    stream.holds(&[]).await;
}

pub async fn a_stream_without_base_is_closed_at_the_head_its_closer_knows(subject: StoreSubject) {
    let mut stream = subject.absent(Some(migration(1)), 5);
    stream.header.base = None;
    stream.create().await.expect("the id is new");
    let close = stream.close(2, head(4)).await.expect("there is no event");
    let tail = stream.tail().await;
    assert_eq!((tail.head, tail.closed.as_ref()), (head(4), Some(&close)));
    refused!(stream.append(ExpectedVersion::Any, vec![event(5)]).await, StoreError::Closed { .. });

    // An append that came first gave the stream a base, and its head is another.
    let mut used = subject.absent(Some(migration(1)), 5);
    used.header.base = None;
    used.create().await.expect("the id is new");
    used.append(ExpectedVersion::Any, vec![event(5)]).await.expect("any is met");
    refused!(used.close(2, head(4)).await, StoreError::WrongExpectedVersion(_));
    used.close(2, head(5)).await.expect("5 is the head");
}

pub async fn closed_at_is_raised_to_the_last_event(subject: StoreSubject) {
    let stream = subject.stream().await;
    let late = RECORDED_AT.plus(std::time::Duration::from_secs(9));
    let last = EventBuilder::new(0).recorded_at(late).build();
    stream.append(ExpectedVersion::Any, vec![last]).await.expect("any is met");
    let close = stream.close(1, head(0)).await.expect("0 is the head");
    assert_eq!(close.closed_at, late);
    assert_eq!(stream.tail().await.closed, Some(close));
}

pub async fn a_close_event_is_kept_byte_for_byte(subject: StoreSubject) {
    let stream = subject.stream_of(1).await;
    let hostile = stream_id(&format!("../a%2F\u{1F980}/{}", "\u{e9}".repeat(200)));
    let address = StreamAddress { store: store_name("cold-2_b"), stream_id: hostile };
    let next = StreamRef { address, base: Version(1), made_by: Some(migration(3)) };
    let event = CloseEvent {
        migration: migration(3),
        kind: MigrationKind::Continue,
        continuation: Some(Continuation(next)),
        head: head(0),
        checksum: Some(Checksum::from_bytes([0xa5; 32])),
        closed_at: Timestamp::from_nanos(i64::MAX),
    };
    let close = Close { made_by: None, event: event.clone() };
    assert_eq!(subject.store.close(&stream.id, close).await.expect("0 is the head"), event);
    assert_eq!(stream.tail().await.closed, Some(event.clone()));
    let page = subject.store.read(&stream.id, crate::testing::builders::range(0)).await;
    assert_eq!(page.expect("the stream can be read").closed, Some(event.clone()));
    match stream.append(ExpectedVersion::Any, vec![self::event(9)]).await {
        Err(StoreError::Closed { close }) => assert_eq!(*close, event),
        answer => panic!("expected the close, got {answer:?}"),
    }
}
