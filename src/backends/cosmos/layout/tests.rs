//! The forms of items, and that a batch within the limits fits into a request.

use serde_json::json;

use super::super::options::LIMITS;
use super::*;
use crate::domain::StreamAddress;
use crate::domain::limits::{METADATA_BYTES_MAX, METADATA_ENTRIES_MAX, TEXT_BYTES_MAX};
use crate::testing::builders::{EventBuilder, close_event, event, head, migration, object};

/// What the service takes in one request.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;

fn header() -> StreamHeader {
    StreamHeader {
        object: object("1"),
        predecessor: None,
        made_by: Some(migration(1)),
        base: Some(Version(u64::MAX)),
    }
}

#[test]
fn a_head_keeps_every_digit() {
    let mut close = close_event(migration(2), head(u64::MAX - 1));
    close.closed_at = Timestamp::from_nanos(i64::MAX);
    for closed in [None, Some(close)] {
        let tail = Tail {
            header: header(),
            base: Some(Version(u64::MAX)),
            head: head(u64::MAX - 1),
            recorded_at: Some(Timestamp::from_nanos(i64::MIN)),
            closed,
            removed: true,
        };
        let mut item = serde_json::to_value(HeadItem::of("stream/a", &tail)).unwrap();
        let numbers = item.as_object().unwrap().values().filter(|value| value.is_number());
        assert_eq!(numbers.count(), 1, "the format alone is a number: {item}");
        item["_etag"] = json!("\"1\"");
        assert!(is_head(&item));
        assert_eq!(HeadItem::read(item).unwrap(), Head { tail, etag: "\"1\"".into() });
    }
    let new = Tail::of_new(StreamHeader { base: None, ..header() });
    let mut item = serde_json::to_value(HeadItem::of("stream/a", &new)).unwrap();
    assert_eq!(item["head"], Value::Null);
    assert!(HeadItem::read(item.clone()).is_err(), "a state that nobody can name");
    item["_etag"] = json!("\"1\"");
    assert_eq!(HeadItem::read(item).unwrap().tail, new);
}

#[test]
fn places_are_ordered_as_versions_are() {
    let versions = [0, 1, 9, 10, 1 << 53, (1 << 53) + 1, u64::MAX].map(Version);
    let places = versions.map(place);
    assert!(places.is_sorted());
    assert_eq!(places[0], FIRST_PLACE);
    assert!(HEAD_PLACE < FIRST_PLACE);
    for (version, place) in versions.into_iter().zip(&places) {
        assert_eq!(version_of(place), Ok(version));
    }
}

#[test]
fn events_and_documents_come_back_as_they_were() {
    let item = serde_json::to_value(EventItem::of("stream/a", Version(7), &event(1))).unwrap();
    assert_eq!(EventPlace::read(item.clone()).unwrap().version(), Ok(Version(7)));
    assert_eq!(EventItem::read(item), Ok((Version(7), event(1))));
    let key = DocumentKey::from_raw("objects/a/!2f");
    let mut item = serde_json::to_value(DocumentItem::of(&key, &[0, 255, 10])).unwrap();
    item["_etag"] = json!("\"2\"");
    let document = DocumentItem::read(item).unwrap();
    assert_eq!((document.key, &document.body[..]), (key, &[0, 255, 10][..]));
    assert_eq!(document.etag, Etag("\"2\"".into()));
}

#[test]
fn a_newer_format_and_a_foreign_item_are_told_apart() {
    let mut item = serde_json::to_value(EventItem::of("stream/a", Version(7), &event(1))).unwrap();
    item["format"] = json!(2);
    let newer = EventItem::read(item.clone()).unwrap_err().to_string();
    assert_eq!(newer, "an event has format 2, this release knows up to 1");
    assert!(EventItem::read(json!({ "id": "x" })).is_err());
    item["format"] = json!(1);
    item["event"] = json!("AAAA");
    assert!(EventItem::read(item).is_err());
}

/// The worst that the limits of the interface let through: every text is all quotation marks,
/// which JSON doubles, and doubles again within a string.
#[test]
fn the_largest_batch_within_the_limits_fits_into_a_request() {
    let quotes = |bytes: usize| "\"".repeat(bytes);
    let stream = StreamId::new(quotes(StreamId::BYTES_MAX)).unwrap();
    let partition = stream_partition(&stream);
    let address = StreamAddress {
        store: crate::testing::builders::store_name("hot"),
        stream_id: stream.clone(),
    };
    let header = StreamHeader {
        object: object(&quotes(255)),
        predecessor: Some(address),
        made_by: Some(migration(1)),
        base: Some(Version(0)),
    };
    let head = HeadItem::of(&partition, &Tail::of_new(header));
    let mut bytes = serde_json::to_string(&head).unwrap().len();

    let count = LIMITS.batch_events_max;
    let metadata: Vec<(String, String)> = (0..METADATA_ENTRIES_MAX)
        .map(|number| {
            (format!("{number:02}"), quotes(METADATA_BYTES_MAX / METADATA_ENTRIES_MAX - 2))
        })
        .collect();
    let mut event = EventBuilder::new(1).build();
    event.event_type = quotes(TEXT_BYTES_MAX);
    event.content_type = quotes(TEXT_BYTES_MAX);
    event.metadata = metadata.into_iter().collect();
    event.payload = Bytes::new();
    let share = LIMITS.batch_bytes_max / count;
    event.payload = vec![0; share - event.size()].into();
    assert!(LIMITS.check(&vec![event.clone(); count]).is_ok());
    let item = serde_json::to_string(&EventItem::of(&partition, Version(1), &event)).unwrap();
    let around = r#"{"operationType":"Create","resourceBody":},"#.len();
    bytes += count * (item.len() + around);
    assert!(bytes <= REQUEST_BYTES_MAX, "{bytes} bytes");
    // And close enough to it that the limit is not a waste.
    assert!(bytes > REQUEST_BYTES_MAX * 9 / 10, "{bytes} bytes");
}
