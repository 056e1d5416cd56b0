//! The stored formats by example, and what a changed byte does to them.

use uuid::Uuid;

use super::*;
use crate::domain::close_event::MigrationKind;
use crate::domain::{Head, MigrationId, ObjectKey};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sealed(key: &[u8], record: Record) -> Vec<u8> {
    record.seal(key).1
}

fn event() -> Event {
    Event {
        event_id: EventId(Uuid::from_u128(7)),
        event_type: "Shipped".into(),
        schema_version: 1,
        content_type: String::new(),
        payload: Bytes::from_static(b"{}"),
        metadata: [("a".into(), "b".into())].into(),
        occurred_at: None,
        recorded_at: Timestamp::from_nanos(5),
        digest: Digest::from_bytes([9; 32]),
    }
}

fn close() -> CloseEvent {
    CloseEvent {
        migration: MigrationId(Uuid::from_u128(1)),
        kind: MigrationKind::Copy,
        continuation: None,
        head: Head::at(Version(3)),
        checksum: None,
        closed_at: Timestamp::from_nanos(6),
    }
}

#[test]
fn keys_are_what_they_always_were() {
    let stream = StreamId::new("A/1").unwrap();
    let id = EventId(Uuid::from_u128(0xab));
    let keys = [
        (commit_key(COMMITS_KEPT + 2).to_vec(), "0100000002"),
        (header_key(&stream), "02412f31"),
        (end_key(258).to_vec(), "030000000000000102"),
        (event_key(1, Version(255)).to_vec(), "04000000000000000100000000000000ff"),
        (event_id_key(1, id).to_vec(), "050000000000000001000000000000000000000000000000ab"),
        (document_key(&DocumentKey::from_raw("a/b")), "06612f62"),
        (purge_key(1).to_vec(), "070000000000000001"),
    ];
    for (key, expected) in keys {
        assert_eq!(hex(&key), expected);
    }
}

#[test]
fn records_are_what_they_always_were() {
    let key = end_key(1);
    let end = sealed(&key, EndRecord::record(close(), Version(0), None, true));
    let text = std::str::from_utf8(&end[4..]).unwrap();
    let expected = concat!(
        r#"{"format":1,"close":{"migration":"00000000-0000-0000-0000-000000000001","#,
        r#""kind":"copy","continuation":null,"head":3,"checksum":null,"closed_at":6},"#,
        r#""base":0,"recorded_at":null,"removed":true}"#
    );
    assert_eq!(text, expected);
    let header = StreamHeader {
        object: ObjectKey::new("Order", "1").unwrap(),
        predecessor: None,
        made_by: None,
        base: Some(Version(0)),
    };
    let header = sealed(&[2], HeaderRecord::record(9, header));
    let text = std::str::from_utf8(&header[4..]).unwrap();
    let expected = concat!(
        r#"{"format":1,"number":9,"header":{"object":{"object_name":"Order","object_id":"1"},"#,
        r#""predecessor":null,"made_by":null,"base":0}}"#
    );
    assert_eq!(text, expected);
    let commit = Commit { sequence: 1, records: 2, chain: 3, next_stream: 4 };
    let record = sealed(&commit_key(1), commit.record());
    assert_eq!(hex(&record), "14c20ad8000000000000000100000002000000030000000000000004");
    assert_eq!(hex(&sealed(&[5], event_id_record(Version(3)))), "3597005b0000000000000003");
    let document = sealed(&[6], document_record(1 << 16, b"{}"));
    assert_eq!(hex(&document[4..]), "00000000000100007b7d");
}

#[test]
fn what_was_written_is_read_back() {
    let key = event_key(3, Version(8));
    let time = Timestamp::from_nanos(i64::MAX - 1);
    let value = sealed(&key, EventRecord::of(&event()).at(time));
    let expected = Event { recorded_at: time, ..event() };
    assert_eq!(EventRecord::read(&key, value.clone().into()), Ok(expected));
    assert_eq!(EventRecord::read_recorded_at(&key, &value), Ok(time));
    assert_eq!(EventRecord::read_digest(&key, &value), Ok(event().digest));
    let key = end_key(3);
    let end = sealed(&key, EndRecord::record(close(), Version(2), Some(time), false));
    let end = EndRecord::read(&key, &end).unwrap();
    assert_eq!((end.close, end.base), (close(), Version(2)));
    assert_eq!((end.recorded_at, end.removed), (Some(time), false));
    let commit = Commit { sequence: 77, records: 2, chain: 3, next_stream: 4 };
    let key = commit_key(77);
    assert_eq!(Commit::read(&key, &sealed(&key, commit.record())), Ok(commit));
    let key = document_key(&DocumentKey::from_raw("x"));
    let document = sealed(&key, document_record(5, b"body"));
    assert_eq!(read_document(&key, &document), Ok((5, Bytes::from_static(b"body"))));
    assert_eq!(document_of(&key), Some(DocumentKey::from_raw("x")));
}

#[test]
fn every_changed_or_missing_byte_is_noticed() {
    let key = event_key(3, Version(8));
    let value = sealed(&key, EventRecord::of(&event()).at(event().recorded_at));
    for at in 0..value.len() {
        let mut flipped = value.clone();
        flipped[at] ^= 0x40;
        assert!(EventRecord::read(&key, flipped.into()).is_err(), "byte {at}");
        assert!(EventRecord::read(&key, value[..at].into()).is_err(), "cut at {at}");
    }
    let other = event_key(3, Version(9));
    assert!(EventRecord::read(&other, value.into()).is_err(), "moved to another version");
}

#[test]
fn a_record_of_a_newer_format_is_left_alone() {
    let key = end_key(3);
    let newer = sealed(&key, Record::of(br#"{"format":2,"closing":true}"#));
    let problem = EndRecord::read(&key, &newer).unwrap_err().to_string();
    assert_eq!(problem, "the end of a stream has format 2, this release knows up to 1");
}
