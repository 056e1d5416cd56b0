//! What was appended is read back byte for byte, and ids are never taken for one another.

use super::StoreSubject;
use crate::domain::{Event, ExpectedVersion, StreamId, Timestamp};
use crate::testing::builders::{EventBuilder, RECORDED_AT, event, header};

use ExpectedVersion::Any;

/// Appends events one by one and in one batch, and reads both back.
async fn come_back(subject: &StoreSubject, sent: Vec<Event>) {
    let one_by_one = subject.stream().await;
    for event in &sent {
        one_by_one.append(Any, vec![event.clone()]).await.expect("any is met");
    }
    one_by_one.holds(&sent).await;
    let at_once = subject.stream().await;
    at_once.append(Any, sent.clone()).await.expect("any is met");
    at_once.holds(&sent).await;
}

pub async fn payloads_come_back_byte_for_byte(subject: StoreSubject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads: [&[u8]; 7] =
        [b"", b"\0", b"\0\0\r\n", &every_byte, b"{\"a\": 1.0 }", b"\xff\xfe", "🦀 é".as_bytes()];
    let sent = (0..).zip(payloads);
    let sent = sent.map(|(number, payload)| EventBuilder::new(number).payload(payload.to_vec()));
    come_back(&subject, sent.map(EventBuilder::build).collect()).await;
}

pub async fn the_largest_payload_comes_back(subject: StoreSubject) {
    let limits = subject.store.capabilities().limits;
    // Names and metadata count against the batch and not against the event.
    let largest = limits.event_bytes_max.min(limits.batch_bytes_max - 1_024);
    let bytes: Vec<u8> = (0..largest).map(|index| (index * 31 + index / 251) as u8).collect();
    let stream = subject.stream_of(1).await;
    let large = EventBuilder::new(1).payload(bytes).build();
    stream.append(Any, vec![large.clone()]).await.expect("it is within the limits");
    stream.append(Any, vec![event(2)]).await.expect("any is met");
    stream.holds(&[event(0), large, event(2)]).await;
}

pub async fn text_and_metadata_come_back_as_they_were(subject: StoreSubject) {
    let long = "x".repeat(256);
    let entries: Vec<(String, String)> =
        (0..64).map(|number| (format!("key {}", 63 - number), format!("{number}"))).collect();
    let many: Vec<(&str, &str)> =
        entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let sent = vec![
        EventBuilder::new(0).metadata(&[]).content_type("").build(),
        EventBuilder::new(1).event_type(&long).content_type(&long).schema_version(0).build(),
        EventBuilder::new(2).schema_version(u32::MAX).metadata(&many).build(),
        EventBuilder::new(3).event_type("Ünïcode 🦀 e\u{301}").build(),
        EventBuilder::new(4)
            .metadata(&[("z", "1"), ("a", ""), ("A", "2"), ("é", "3"), ("e\u{301}", "4")])
            .build(),
        EventBuilder::new(5).metadata(&[("a b", "' OR 1=1 --"), ("$x", "\\\"{}%00")]).build(),
        EventBuilder::new(6).event_type("EventStream.Closed.not").build(),
    ];
    come_back(&subject, sent).await;
}

pub async fn times_lose_no_nanosecond(subject: StoreSubject) {
    let nanos = [0, 1, -1, 999_999_999, -1_000_000_001, i64::MAX, i64::MIN, 1_700_000_000_123];
    let mut sent: Vec<Event> = (0..)
        .zip(nanos)
        .map(|(number, nanos)| {
            EventBuilder::new(number).occurred_at(Timestamp::from_nanos(nanos)).build()
        })
        .collect();
    sent.push(EventBuilder::new(100).build());
    come_back(&subject, sent).await;

    let rising = [i64::MIN, -1, 0, 1, 1_700_000_000_123_456_789, i64::MAX];
    let sent = (0..).zip(rising).map(|(number, nanos)| {
        EventBuilder::new(number).recorded_at(Timestamp::from_nanos(nanos)).build()
    });
    come_back(&subject, sent.collect()).await;
}

pub async fn recorded_at_never_decreases(subject: StoreSubject) {
    let at = |seconds: i64| Timestamp::from_nanos(RECORDED_AT.nanos() + seconds * 1_000_000_000);
    let stream = subject.stream().await;
    let mut number = 0;
    let mut expected = Vec::new();
    let mut least = Timestamp::from_nanos(i64::MIN);
    // A clock that stands still, jumps, and falls back, within batches and between them.
    for batch in [vec![5], vec![5, 5], vec![9, 2, 3], vec![-100], vec![8, 10, 1], vec![10]] {
        let mut sent = Vec::new();
        for seconds in batch {
            sent.push(EventBuilder::new(number).recorded_at(at(seconds)).build());
            least = least.max(at(seconds));
            expected.push(EventBuilder::new(number).recorded_at(least).build());
            number += 1;
        }
        stream.append(Any, sent).await.expect("any is met");
        assert_eq!(stream.tail().await.recorded_at, Some(least));
    }
    stream.holds(&expected).await;
}

pub async fn stream_ids_that_look_alike_stay_apart(subject: StoreSubject) {
    let unique = subject.object();
    let long = "x".repeat(StreamId::BYTES_MAX - 60);
    let look_alikes = [
        "a",
        "A",
        "a ",
        " a",
        "a/",
        "/a",
        "a//b",
        "a/b",
        "a%2Fb",
        "a%2fb",
        "a!2fb",
        "..",
        "../..",
        ".",
        "./a",
        "a\\b",
        "é",
        "e\u{301}",
        "É",
        "🦀",
        "a\u{200b}",
        "null",
        "%00",
        "a?b=c#d",
        "'",
        "\"",
        "a:b",
        "a*",
        "0",
        "00",
        &long,
    ];
    let mut streams = Vec::new();
    for (number, look_alike) in (0..).zip(look_alikes) {
        let mut stream = subject.absent(None, 0);
        stream.id = StreamId::new(format!("{}{look_alike}", unique.id)).expect("it is legal");
        stream.header = header(&unique);
        stream.create().await.expect("no other stream has this id");
        let appended = stream.append(Any, vec![event(number)]).await;
        assert_eq!(appended.expect("any is met").first.0, 0, "{look_alike:?}");
        streams.push((stream, event(number)));
    }
    for (stream, sent) in streams {
        stream.holds(&[sent]).await;
    }
}
