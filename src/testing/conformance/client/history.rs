//! What a read promises to its client: each version once, in order, as it was sent.

use std::panic::Location;

use super::{ClientSubject, assert_history, refused};
use crate::domain::{Event, ExpectedVersion, ObjectKey, Reason, Timestamp, Version};
use crate::testing::builders::{EventBuilder, event, events};
use crate::testing::parallel;

use ExpectedVersion::Any;

pub async fn an_object_that_never_was_is_not_found(subject: ClientSubject) {
    let object = subject.object();
    let answer = object.subject.read(&object.key, Version(0), None).await;
    refused(answer, Reason::ObjectNotFound);
    // A subject that moves objects needs one that can be moved.
    subject.object_of(1).await;
}

pub async fn a_read_starts_where_asked(subject: ClientSubject) {
    let object = subject.object_of(10).await;
    for from in 0..10 {
        let history = object.read(from, None).await;
        assert_history(&history, from, &events(from..10), Location::caller());
    }
}

pub async fn a_read_stops_at_the_count(subject: ClientSubject) {
    let object = subject.object_of(10).await;
    for (from, count) in [(0, 1), (0, 9), (3, 4), (9, 1), (8, 50)] {
        let history = object.read(from, Some(count)).await;
        let end = (from + count).min(10);
        assert_history(&history, from, &events(from..end), Location::caller());
    }
}

pub async fn a_read_from_beyond_the_head_is_empty(subject: ClientSubject) {
    let object = subject.object_of(3).await;
    for from in [3, 4, 1_000] {
        assert_eq!(object.read(from, None).await, []);
    }
}

pub async fn reads_beside_appends_see_a_growing_prefix(subject: ClientSubject) {
    const EVENTS: u64 = 40;
    let object = subject.object_of(1).await;
    let writer = {
        let object = object.clone();
        async move {
            for number in 1..EVENTS {
                object.append_anyhow(vec![event(number)]).await.expect("any is met");
                let seen = object.read(number, None).await;
                assert_eq!(seen.len(), 1, "an append is seen once it was answered");
            }
        }
    };
    let reader = {
        let object = object.clone();
        async move {
            let mut seen = 1;
            while seen < EVENTS {
                let history = object.read(0, None).await;
                let count = history.len() as u64;
                assert!(count >= seen, "the history never shrinks");
                assert_history(&history, 0, &events(0..count), Location::caller());
                seen = count;
                tokio::task::yield_now().await;
            }
        }
    };
    let both: [futures::future::BoxFuture<'static, ()>; 2] = [Box::pin(writer), Box::pin(reader)];
    parallel::all(both).await;
    object.holds(&events(0..EVENTS)).await;
}

pub async fn a_long_history_is_read_in_order(subject: ClientSubject) {
    const EVENTS: u64 = 2_500;
    let object = subject.object();
    let batch = object.subject.limits().batch_events_max.min(500) as u64;
    for first in (0..EVENTS).step_by(batch as usize) {
        let end = (first + batch).min(EVENTS);
        object.append_anyhow(events(first..end)).await.expect("any is met");
    }
    object.holds(&events(0..EVENTS)).await;
}

/// Versions and times are those of the first answer, whatever the object went through since.
pub async fn what_was_read_once_is_read_the_same_again(subject: ClientSubject) {
    let object = subject.object_of(1).await;
    let told = |history: &[(Version, Event)]| -> Vec<_> {
        history.iter().map(|(at, event)| (*at, event.event_id, event.recorded_at)).collect()
    };
    let mut before = told(&object.read(0, None).await);
    for number in 1..40 {
        object.append_anyhow(vec![event(number)]).await.expect("any is met");
        let now = told(&object.read(0, None).await);
        assert_eq!(now[..before.len()], before[..]);
        before = now;
    }
    assert_eq!(before.len(), 40);
}

pub async fn payloads_come_back_byte_for_byte(subject: ClientSubject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads: [&[u8]; 7] =
        [b"", b"\0", b"\0\0\r\n", &every_byte, b"{\"a\": 1.0 }", b"\xff\xfe", "🦀 é".as_bytes()];
    let sent: Vec<Event> = (0..)
        .zip(payloads)
        .map(|(number, payload)| EventBuilder::new(number).payload(payload.to_vec()).build())
        .collect();
    let object = subject.object();
    object.append_anyhow(sent.clone()).await.expect("any is met");
    object.holds(&sent).await;
}

pub async fn the_largest_payload_comes_back(subject: ClientSubject) {
    let object = subject.object_of(1).await;
    let limits = object.subject.limits();
    let largest = limits.event_bytes_max.min(limits.batch_bytes_max - 1_024);
    let bytes: Vec<u8> = (0..largest).map(|index| (index * 31 + index / 251) as u8).collect();
    let large = EventBuilder::new(1).payload(bytes).build();
    object.append_anyhow(vec![large.clone()]).await.expect("it is within the limits");
    object.holds(&[event(0), large]).await;
}

pub async fn text_metadata_and_times_come_back_as_they_were(subject: ClientSubject) {
    let long = "x".repeat(256);
    let time = |nanos| Timestamp::from_nanos(nanos);
    let sent = vec![
        EventBuilder::new(0).metadata(&[]).content_type("").build(),
        EventBuilder::new(1).event_type(&long).content_type(&long).schema_version(0).build(),
        EventBuilder::new(2).schema_version(u32::MAX).event_type("Ünïcode 🦀 e\u{301}").build(),
        EventBuilder::new(3).metadata(&[("z", "1"), ("a", ""), ("A", "2"), ("é", "3")]).build(),
        EventBuilder::new(4).occurred_at(time(0)).build(),
        EventBuilder::new(5).occurred_at(time(1)).build(),
        EventBuilder::new(6).occurred_at(time(-1)).build(),
        EventBuilder::new(7).occurred_at(time(-1_000_000_001)).build(),
        EventBuilder::new(8).occurred_at(time(1_700_000_000_123_456_789)).build(),
    ];
    let object = subject.object();
    object.append_anyhow(sent.clone()).await.expect("any is met");
    object.holds(&sent).await;
}

pub async fn object_ids_that_look_alike_stay_apart(subject: ClientSubject) {
    let unique = subject.object();
    let long = "x".repeat(255 - unique.key.id.as_str().len());
    let look_alikes = [
        "a",
        "A",
        "a ",
        " a",
        "a/",
        "/a",
        "a/b",
        "a//b",
        "a%2Fb",
        "a!2fb",
        "..",
        "../..",
        ".",
        "a\\b",
        "é",
        "e\u{301}",
        "🦀",
        "a\u{200b}",
        "'",
        "a:b",
        "a*",
        "0",
        "/0000000000",
        &long,
    ];
    let mut objects = Vec::new();
    for (number, look_alike) in (0..).zip(look_alikes) {
        let mut object = unique.clone();
        let id = format!("{}{look_alike}", unique.key.id);
        object.key = ObjectKey::new(unique.key.name.as_str(), id).expect("legal ids");
        let appended = object.append(ExpectedVersion::NoStream, vec![event(number)]).await;
        appended.unwrap_or_else(|refusal| panic!("{look_alike:?}: {refusal:?}"));
        objects.push((object, event(number)));
    }
    for (object, sent) in objects {
        object.append(Any, vec![event(1_000)]).await.expect("any is met");
        object.holds(&[sent, event(1_000)]).await;
    }
}
