//! Every way to judge an append or a close, without a store.

use std::collections::HashMap;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::domain::close_event::MigrationKind;
use crate::domain::{Digest, ObjectKey};

fn event(id: u128) -> Event {
    let mut event = Event {
        event_id: EventId(Uuid::from_u128(id)),
        event_type: "Happened".into(),
        schema_version: 1,
        content_type: String::new(),
        payload: Bytes::from(id.to_string()),
        metadata: Default::default(),
        occurred_at: None,
        recorded_at: Timestamp::from_nanos(5),
        digest: Digest::from_bytes([0; 32]),
    };
    event.digest = Digest::of(&event);
    event
}

fn maker(id: u128) -> Option<MigrationId> {
    Some(MigrationId(Uuid::from_u128(id)))
}

fn header(base: Option<Version>) -> StreamHeader {
    let object = ObjectKey::new("order", "1").unwrap();
    StreamHeader { object, predecessor: None, made_by: maker(9), base }
}

/// A stream from base 0 that holds the events 100, 101, ... `count` of them.
fn tail(count: u64) -> Tail {
    let mut tail = Tail::of_new(header(Some(Version(0))));
    if count > 0 {
        tail.append(Version(0), Version(count - 1), Some(Timestamp::from_nanos(7)));
    }
    tail
}

fn closing(head: Head) -> Close {
    let event = CloseEvent {
        migration: MigrationId(Uuid::from_u128(1)),
        kind: MigrationKind::Copy,
        continuation: None,
        head,
        checksum: None,
        closed_at: Timestamp::from_nanos(1),
    };
    Close { made_by: maker(9), event }
}

fn closed(mut tail: Tail) -> Tail {
    let event = closing(tail.head).event;
    tail.close(tail.base.unwrap(), event);
    tail
}

fn asked(expected: ExpectedVersion, ids: &[u128]) -> Append {
    let events = ids.iter().copied().map(event).collect();
    Append { made_by: maker(9), base: Version(0), expected, events }
}

fn judged(tail: &Tail, asked: &Append) -> Result<AppendVerdict, StoreError> {
    let count = tail.event_count();
    let held: HashMap<EventId, Found> = (0..count)
        .map(|version| {
            let event = event(100 + u128::from(version));
            (event.event_id, Found { version: Version(version), digest: event.digest })
        })
        .collect();
    append(tail, asked, |id| Ok(held.get(&id).copied()))
}

const MODES: [ExpectedVersion; 5] = [
    ExpectedVersion::Any,
    ExpectedVersion::NoStream,
    ExpectedVersion::StreamExists,
    ExpectedVersion::Exact(Version(0)),
    ExpectedVersion::Exact(Version(77)),
];

#[test]
fn a_replay_is_recognised_in_every_mode_whatever_became_of_the_stream() {
    for tail in [tail(3), closed(tail(3))] {
        for mode in MODES {
            let mut again = asked(mode, &[101, 102]);
            again.made_by = None;
            let first = Appended { first: Version(1), last: Version(2), replay: true };
            assert_eq!(judged(&tail, &again).unwrap(), AppendVerdict::Replay(first), "{mode}");
        }
    }
}

#[test]
fn known_ids_in_any_other_arrangement_are_refused() {
    let arrangements: [&[u128]; 6] =
        [&[101, 100], &[100, 102], &[102, 5], &[5, 100], &[5, 5], &[100, 101, 102, 5]];
    for ids in arrangements {
        for mode in MODES {
            let refused = judged(&tail(3), &asked(mode, ids));
            assert!(matches!(refused, Err(StoreError::DuplicateEventId { .. })), "{ids:?}");
        }
    }
    let mut changed = asked(ExpectedVersion::Any, &[100]);
    changed.events[0].digest = Digest::from_bytes([1; 32]);
    let refused = judged(&tail(3), &changed);
    assert!(matches!(refused, Err(StoreError::DuplicateEventId { .. })));
}

#[test]
fn maker_comes_before_closed_and_closed_before_the_expected_version() {
    let mut foreign = asked(ExpectedVersion::Exact(Version(77)), &[5]);
    foreign.made_by = maker(8);
    let refused = judged(&closed(tail(3)), &foreign);
    assert!(matches!(refused, Err(StoreError::WrongMaker { .. })));
    for mode in MODES {
        let refused = judged(&closed(tail(3)), &asked(mode, &[5]));
        assert!(matches!(refused, Err(StoreError::Closed { .. })), "{mode}");
    }
    let refused = judged(&tail(3), &asked(ExpectedVersion::Exact(Version(77)), &[5]));
    assert!(matches!(refused, Err(StoreError::WrongExpectedVersion(_))));
}

#[test]
fn a_stream_without_base_takes_that_of_its_first_append_or_close() {
    let fresh = Tail::of_new(header(None));
    let mut first = asked(ExpectedVersion::Exact(Version(6)), &[5, 6]);
    first.base = Version(7);
    let appended = Appended { first: Version(7), last: Version(8), replay: false };
    let accepted = AppendVerdict::Accept { appended, base: Version(7) };
    assert_eq!(judged(&fresh, &first).unwrap(), accepted);

    let CloseVerdict::Accept { base, .. } = close(&fresh, &closing(Head::at(Version(6)))).unwrap()
    else {
        panic!("not closed before");
    };
    assert_eq!(base, Version(7));

    let mut taken = fresh;
    taken.append(Version(7), Version(8), None);
    let refused = close(&taken, &closing(Head::at(Version(6))));
    assert!(matches!(refused, Err(StoreError::WrongExpectedVersion(_))));
    let mut other = asked(ExpectedVersion::Any, &[500]);
    other.base = Version(6);
    let refused = append(&taken, &other, |_| Ok(None));
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_close_is_bound_to_the_head_and_the_same_again_answers_the_same() {
    for wrong in [Head::NONE, Head::at(Version(1)), Head::at(Version(3))] {
        let refused = close(&tail(3), &closing(wrong));
        assert!(matches!(refused, Err(StoreError::WrongExpectedVersion(_))), "{wrong}");
    }
    let right = closing(Head::at(Version(2)));
    let CloseVerdict::Accept { event, base } = close(&tail(3), &right).unwrap() else {
        panic!("not closed before");
    };
    assert_eq!(event.closed_at, Timestamp::from_nanos(7), "raised to the last event's");
    let mut tail = tail(3);
    tail.close(base, event.clone());
    let mut later = right.clone();
    later.event.closed_at = Timestamp::from_nanos(100);
    assert_eq!(close(&tail, &later).unwrap(), CloseVerdict::Replay(event.clone()));
    let mut other = right;
    other.event.migration = MigrationId(Uuid::from_u128(2));
    match close(&tail, &other) {
        Err(StoreError::Closed { close }) => assert_eq!(*close, event),
        other => panic!("{other:?}"),
    }
}

#[test]
fn recorded_at_never_falls() {
    let mut events: Vec<Event> = (0..3).map(event).collect();
    for (event, nanos) in events.iter_mut().zip([5, 9, 3]) {
        event.recorded_at = Timestamp::from_nanos(nanos);
    }
    let last = raise_recorded_at(&mut events, Some(Timestamp::from_nanos(7)));
    let times: Vec<i64> = events.iter().map(|event| event.recorded_at.nanos()).collect();
    assert_eq!(times, [7, 9, 9]);
    assert_eq!(last, Some(Timestamp::from_nanos(9)));
}
