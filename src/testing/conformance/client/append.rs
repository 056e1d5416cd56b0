//! What an append promises to its client, wherever the object lives.

use super::{ClientSubject, Refusal, refused};
use crate::domain::{ExpectedVersion, Head, Reason, Version};
use crate::store::Appended;
use crate::testing::builders::{EventBuilder, event, events, head};
use crate::testing::parallel;

use ExpectedVersion::{Any, Exact, NoStream, StreamExists};

fn at(appended: Result<Appended, Refusal>) -> (u64, u64) {
    let appended = appended.expect("nothing is in the way");
    (appended.first.0, appended.last.0)
}

pub async fn append_lands_behind_the_head_and_says_where(subject: ClientSubject) {
    let object = subject.object();
    assert_eq!(at(object.append(NoStream, events(0..1)).await), (0, 0));
    assert_eq!(at(object.append(Exact(Version(0)), events(1..4)).await), (1, 3));
    assert_eq!(at(object.append(Any, events(4..5)).await), (4, 4));
    assert_eq!(at(object.append(StreamExists, events(5..7)).await), (5, 6));
    object.holds(&events(0..7)).await;
}

pub async fn append_with_stale_version_is_a_conflict(subject: ClientSubject) {
    let object = subject.object_of(3).await;
    for stale in [0, 1] {
        let answer = object.append(Exact(Version(stale)), vec![event(9)]).await;
        let refusal = refused(answer, Reason::WrongExpectedVersion);
        assert_eq!(refusal.actual, Some(head(2)));
    }
    object.holds(&events(0..3)).await;
}

pub async fn append_ahead_of_the_head_is_a_conflict(subject: ClientSubject) {
    let object = subject.object_of(3).await;
    for ahead in [3, 4, 1_000] {
        let answer = object.append(Exact(Version(ahead)), vec![event(9)]).await;
        refused(answer, Reason::WrongExpectedVersion);
    }
    object.holds(&events(0..3)).await;
}

pub async fn no_stream_is_met_before_the_first_event_only(subject: ClientSubject) {
    let object = subject.object();
    assert_eq!(at(object.append(NoStream, vec![event(0)]).await), (0, 0));
    refused(object.append(NoStream, vec![event(1)]).await, Reason::WrongExpectedVersion);
    object.holds(&events(0..1)).await;
}

pub async fn an_object_without_events_meets_no_expectation_of_events(subject: ClientSubject) {
    for expected in [StreamExists, Exact(Version(0)), Exact(Version(5))] {
        let object = subject.object();
        let refusal =
            refused(object.append(expected, vec![event(0)]).await, Reason::WrongExpectedVersion);
        assert_eq!(refusal.actual, Some(Head::NONE));
        assert_eq!(at(object.append(NoStream, vec![event(0)]).await), (0, 0));
    }
    // A subject that moves objects needs one that can be moved.
    subject.object_of(1).await;
}

pub async fn a_refused_batch_leaves_nothing(subject: ClientSubject) {
    let object = subject.object_of(2).await;
    let stale = object.append(Exact(Version(0)), events(10..15)).await;
    refused(stale, Reason::WrongExpectedVersion);
    let mixed = object.append(Any, vec![event(20), event(1), event(21)]).await;
    refused(mixed, Reason::DuplicateEventId);
    object.holds(&events(0..2)).await;
    assert_eq!(at(object.append(Any, events(10..15)).await), (2, 6), "their ids are still free");
}

pub async fn a_batch_beyond_the_limits_is_refused_whole(subject: ClientSubject) {
    let object = subject.object_of(1).await;
    let limits = object.subject.limits();
    let too_large = vec![b'x'; limits.event_bytes_max + 1];
    let batch = vec![event(1), EventBuilder::new(2).payload(too_large).build()];
    refused(object.append(Any, batch).await, Reason::EventTooLarge);
    let too_many = events(1..limits.batch_events_max as u64 + 2);
    refused(object.append(Any, too_many).await, Reason::BatchTooLarge);
    object.holds(&events(0..1)).await;
}

pub async fn a_repeated_append_answers_as_the_first_did_in_every_mode(subject: ClientSubject) {
    let object = subject.object_of(1).await;
    assert_eq!(at(object.append(Exact(Version(0)), events(1..3)).await), (1, 2));
    assert_eq!(at(object.append(Any, events(3..5)).await), (3, 4));
    let exact = (0..8).map(|version| Exact(Version(version)));
    for expected in [Any, NoStream, StreamExists].into_iter().chain(exact) {
        let again = object.append(expected, events(1..3)).await.expect("it was done");
        let first = Appended { first: Version(1), last: Version(2), replay: true };
        assert_eq!(again, first, "{expected}");
    }
    object.holds(&events(0..5)).await;
}

pub async fn known_events_in_another_arrangement_are_duplicates(subject: ClientSubject) {
    let object = subject.object_of(3).await;
    for arrangement in [vec![1, 0], vec![0, 2], vec![2, 9], vec![9, 2], vec![0, 1, 2, 9]] {
        for expected in [Any, Exact(Version(2)), Exact(Version(7))] {
            let batch = arrangement.iter().copied().map(event).collect();
            refused(object.append(expected, batch).await, Reason::DuplicateEventId);
        }
    }
    object.holds(&events(0..3)).await;
}

pub async fn a_known_id_with_another_content_is_a_duplicate(subject: ClientSubject) {
    let object = subject.object_of(2).await;
    for expected in [Any, Exact(Version(0)), Exact(Version(1))] {
        let changed = EventBuilder::new(1).payload("something else").build();
        refused(object.append(expected, vec![changed]).await, Reason::DuplicateEventId);
    }
    object.holds(&events(0..2)).await;
}

pub async fn concurrent_any_appends_are_contiguous(subject: ClientSubject) {
    const WRITERS: u64 = 4;
    const APPENDS: u64 = 16;
    let object = subject.object();
    let writers = (0..WRITERS).map(|writer| {
        let object = object.clone();
        async move {
            let mut told = Vec::new();
            for round in 0..APPENDS {
                let number = 2 * (writer * APPENDS + round);
                let batch = events(number..number + 2);
                let (first, _) = at(object.append_anyhow(batch.clone()).await);
                told.push((first, batch));
            }
            assert!(told.is_sorted_by_key(|(first, _)| *first), "one writer's order is kept");
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
    object.holds(&expected).await;
}

pub async fn concurrent_exact_appends_have_one_winner(subject: ClientSubject) {
    let object = subject.object();
    let mut winners = Vec::new();
    for round in 0..10_u64 {
        let expected = ExpectedVersion::exactly(Head::before(Version(round)));
        let rivals = (0..4).map(|rival| {
            let object = object.clone();
            async move {
                let sent = event(4 * round + rival);
                (sent.clone(), object.append(expected, vec![sent]).await)
            }
        });
        let mut won = Vec::new();
        for (sent, answer) in parallel::all(rivals).await {
            match answer {
                Ok(_) => won.push(sent),
                Err(refusal) => assert_eq!(refusal.reason, Reason::WrongExpectedVersion),
            }
        }
        assert_eq!(won.len(), 1, "one winner in round {round}");
        winners.extend(won);
    }
    object.holds(&winners).await;
}

pub async fn concurrent_repeats_of_one_append_land_once(subject: ClientSubject) {
    let object = subject.object();
    for round in 0..10 {
        let batch = events(3 * round..3 * round + 3);
        let repeats = (0..4).map(|_| {
            let (object, batch) = (object.clone(), batch.clone());
            async move { object.append_anyhow(batch).await }
        });
        for answer in parallel::all(repeats).await {
            assert_eq!(at(answer), (3 * round, 3 * round + 2));
        }
    }
    object.holds(&events(0..30)).await;
}

pub async fn appends_each_sent_after_the_answer_keep_their_order(subject: ClientSubject) {
    let object = subject.object();
    for number in 0..100 {
        assert_eq!(at(object.append_anyhow(vec![event(number)]).await), (number, number));
    }
    object.holds(&events(0..100)).await;
}
