//! Appends land at exactly head + 1, whole or not at all (I1).

use super::StoreSubject;
use super::subject::refused;
use crate::domain::{ExpectedVersion, Head, Version};
use crate::store::{Appended, StoreError};
use crate::testing::builders::{EventBuilder, event, events, head, migration};
use crate::testing::parallel;

use ExpectedVersion::{Any, Exact, NoStream, StreamExists};

pub async fn append_lands_behind_the_head_and_says_where(subject: StoreSubject) {
    let stream = subject.stream().await;
    let one = stream.append(NoStream, events(0..1)).await.expect("the stream is empty");
    assert_eq!(one, Appended { first: Version(0), last: Version(0), replay: false });
    let more = stream.append(Exact(Version(0)), events(1..4)).await.expect("0 is the head");
    assert_eq!(more, Appended { first: Version(1), last: Version(3), replay: false });
    stream.holds(&events(0..4)).await;
}

pub async fn append_with_stale_version_is_a_conflict(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    for stale in [0, 1] {
        match stream.append(Exact(Version(stale)), vec![event(9)]).await {
            Err(StoreError::WrongExpectedVersion(wrong)) => assert_eq!(wrong.actual, head(2)),
            other => panic!("expected a conflict at {stale}, got {other:?}"),
        }
    }
    stream.holds(&events(0..3)).await;
}

pub async fn append_ahead_of_the_head_is_a_conflict(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    for ahead in [3, 4, 1_000, u64::MAX - 1] {
        let answer = stream.append(Exact(Version(ahead)), vec![event(9)]).await;
        refused!(answer, StoreError::WrongExpectedVersion(_));
    }
    stream.holds(&events(0..3)).await;
}

pub async fn no_stream_is_met_before_the_first_event_only(subject: StoreSubject) {
    let stream = subject.stream().await;
    stream.append(NoStream, vec![event(0)]).await.expect("there is no event yet");
    let again = stream.append(NoStream, vec![event(1)]).await;
    refused!(again, StoreError::WrongExpectedVersion(_));
    stream.holds(&events(0..1)).await;
}

pub async fn stream_exists_is_met_after_the_first_event_only(subject: StoreSubject) {
    let stream = subject.stream().await;
    let early = stream.append(StreamExists, vec![event(0)]).await;
    refused!(early, StoreError::WrongExpectedVersion(_));
    stream.append(Any, vec![event(0)]).await.expect("any is always met");
    stream.append(StreamExists, vec![event(1)]).await.expect("there is an event");
    stream.holds(&events(0..2)).await;
}

pub async fn any_is_met_by_every_head(subject: StoreSubject) {
    let stream = subject.stream().await;
    for number in 0..5 {
        let appended = stream.append(Any, vec![event(number)]).await.expect("any is always met");
        assert_eq!(appended.first, Version(number));
    }
    stream.holds(&events(0..5)).await;
}

pub async fn a_refused_batch_leaves_nothing(subject: StoreSubject) {
    let stream = subject.stream_of(2).await;
    let refusal = stream.append(Exact(Version(0)), events(10..15)).await;
    refused!(refusal, StoreError::WrongExpectedVersion(_));
    let mixed = vec![event(20), event(1), event(21)];
    refused!(stream.append(Any, mixed).await, StoreError::DuplicateEventId { .. });
    stream.holds(&events(0..2)).await;
    let ids: Vec<_> = [10, 14, 20, 21].map(|number| event(number).event_id).into();
    let found = subject.store.find(&stream.id, &ids).await.expect("the stream exists");
    assert_eq!(found, [None; 4], "no trace of a refused batch");
    stream.append(Any, events(10..15)).await.expect("their ids are still free");
}

pub async fn a_batch_beyond_the_limits_is_refused_whole(subject: StoreSubject) {
    let stream = subject.stream().await;
    let limits = subject.store.capabilities().limits;
    let payload = |bytes: usize| vec![b'x'; bytes];
    let too_large = EventBuilder::new(1).payload(payload(limits.event_bytes_max + 1)).build();
    refused!(stream.append(Any, vec![event(0), too_large]).await, StoreError::LimitExceeded(_));
    let too_many = events(0..limits.batch_events_max as u64 + 1);
    refused!(stream.append(Any, too_many).await, StoreError::LimitExceeded(_));
    let share = limits.event_bytes_max.min(limits.batch_bytes_max);
    let too_heavy = (0..=limits.batch_bytes_max / share)
        .map(|number| EventBuilder::new(number as u64).payload(payload(share)).build());
    refused!(stream.append(Any, too_heavy.collect()).await, StoreError::LimitExceeded(_));
    stream.holds(&[]).await;
}

pub async fn the_largest_batch_within_the_limits_is_taken(subject: StoreSubject) {
    let stream = subject.stream().await;
    let limits = subject.store.capabilities().limits;
    let most = events(0..limits.batch_events_max as u64);
    let appended = stream.append(NoStream, most.clone()).await.expect("it is within the limits");
    assert_eq!(appended.last, Version(most.len() as u64 - 1));
    stream.holds(&most).await;
}

pub async fn append_by_another_maker_is_refused(subject: StoreSubject) {
    let stream = subject.absent(Some(migration(1)), 0);
    stream.create().await.expect("the id is new");
    for made_by in [None, Some(migration(2))] {
        let mut foreign = stream.append_of(Any, vec![event(0)]);
        foreign.made_by = made_by;
        match subject.store.append(&stream.id, foreign).await {
            Err(StoreError::WrongMaker { expected, actual }) => {
                assert_eq!((expected, actual), (made_by, Some(migration(1))));
            }
            other => panic!("expected another maker to be refused, got {other:?}"),
        }
    }
    stream.append(Any, vec![event(0)]).await.expect("the maker is the right one");
    stream.holds(&events(0..1)).await;
}

pub async fn append_from_another_base_is_refused(subject: StoreSubject) {
    let stream = subject.stream_of(2).await;
    let mut misled = stream.append_of(Any, vec![event(9)]);
    misled.base = Version(1);
    refused!(subject.store.append(&stream.id, misled).await, StoreError::Corrupt { .. });
    stream.holds(&events(0..2)).await;
}

pub async fn a_stream_with_a_base_starts_there(subject: StoreSubject) {
    let mut stream = subject.absent(Some(migration(1)), 5);
    stream.header.base = Some(Version(5));
    stream.create().await.expect("the id is new");
    refused!(stream.append(NoStream, events(5..6)).await, StoreError::WrongExpectedVersion(_));
    let first = stream.append(Exact(Version(4)), events(5..7)).await.expect("4 is the head");
    assert_eq!((first.first, first.last), (Version(5), Version(6)));
    stream.append(StreamExists, events(7..8)).await.expect("the object has events");
    stream.holds(&events(5..8)).await;
}

pub async fn a_base_is_taken_by_the_first_event(subject: StoreSubject) {
    let mut stream = subject.absent(Some(migration(1)), 5);
    stream.header.base = None;
    stream.create().await.expect("the id is new");
    // Expectations are judged on the object, which has events, and not on the empty stream.
    refused!(stream.append(NoStream, events(5..6)).await, StoreError::WrongExpectedVersion(_));
    let stale = stream.append(Exact(Version(3)), events(5..6)).await;
    refused!(stale, StoreError::WrongExpectedVersion(_));
    assert_eq!(stream.tail().await.base, None, "a refused append sets no base");

    stream.append(Exact(Version(4)), events(5..6)).await.expect("4 is the object's head");
    let tail = stream.tail().await;
    assert_eq!((tail.base, tail.head), (Some(Version(5)), head(5)));
    let mut other = stream.append_of(Any, events(6..7));
    other.base = Version(6);
    refused!(subject.store.append(&stream.id, other).await, StoreError::Corrupt { .. });
    stream.holds(&events(5..6)).await;
}

pub async fn concurrent_any_appends_are_contiguous(subject: StoreSubject) {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 16;
    let stream = subject.stream().await;
    let writers = (0..WRITERS).map(|writer| {
        let stream = stream.clone();
        async move {
            let mut told = Vec::new();
            for round in 0..APPENDS {
                let number = 2 * (writer * APPENDS + round);
                let batch = events(number..number + 2);
                let answer = stream.append_anyhow(batch.clone()).await.expect("any is met");
                told.push((answer.first.0, batch));
            }
            told
        }
    });
    let mut told: Vec<_> = parallel::all(writers).await.into_iter().flatten().collect();
    told.sort_by_key(|(first, _)| *first);
    let mut expected = Vec::new();
    for (first, batch) in told {
        assert_eq!(first, expected.len() as u64, "every version is given away once");
        expected.extend(batch);
    }
    assert_eq!(expected.len() as u64, 2 * WRITERS * APPENDS);
    stream.holds(&expected).await;
}

pub async fn concurrent_exact_appends_have_one_winner(subject: StoreSubject) {
    let stream = subject.stream().await;
    for round in 0..20_u64 {
        let expected = ExpectedVersion::exactly(Head::before(Version(round)));
        let rivals = (0..4).map(|rival| {
            let stream = stream.clone();
            async move { stream.append(expected, vec![event(4 * round + rival)]).await }
        });
        let answers = parallel::all(rivals).await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 1, "{answers:?}");
        for answer in answers.into_iter().filter(Result::is_err) {
            refused!(answer, StoreError::WrongExpectedVersion(_));
        }
        assert_eq!(stream.tail().await.head, head(round));
    }
}
