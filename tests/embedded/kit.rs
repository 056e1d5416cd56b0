//! Streams, events and closes that every test here starts from.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use streamgate::backends::embedded::{EmbeddedOptions, EmbeddedStore};
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{
    CloseEvent, Digest, Event, EventId, ExpectedVersion, Head, MigrationId, ObjectKey,
    StreamHeader, StreamId, Timestamp, Version,
};
use streamgate::store::{Append, Close, EventStore, ReadRange};
use uuid::Uuid;

pub(crate) const ALL: ReadRange =
    ReadRange { from: Version(0), events_max: 100_000, bytes_max: usize::MAX };

pub(crate) fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(EmbeddedOptions::at(path)).unwrap()
}

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(format!("Order/{name}/0000000000")).unwrap()
}

pub(crate) fn header(name: &str) -> StreamHeader {
    StreamHeader {
        object: ObjectKey::new("Order", name).unwrap(),
        predecessor: None,
        made_by: None,
        base: Some(Version(0)),
    }
}

pub(crate) fn event(id: u128) -> Event {
    let mut event = Event {
        event_id: EventId(Uuid::from_u128(id)),
        event_type: "Shipped".into(),
        schema_version: 1,
        content_type: "application/json".into(),
        payload: Bytes::from(format!("{{\"id\":{id}}}").repeat(20)),
        metadata: [("trace".to_owned(), id.to_string())].into(),
        occurred_at: Some(Timestamp::from_nanos(-7)),
        recorded_at: Timestamp::from_nanos(1_000),
        digest: Digest::from_bytes([0; 32]),
    };
    event.digest = Digest::of(&event);
    event
}

pub(crate) fn append(events: Vec<Event>) -> Append {
    Append { made_by: None, base: Version(0), expected: ExpectedVersion::Any, events }
}

pub(crate) fn close_at(version: u64) -> Close {
    let event = CloseEvent {
        migration: MigrationId(Uuid::from_u128(1)),
        kind: MigrationKind::Copy,
        continuation: None,
        head: Head::at(Version(version)),
        checksum: None,
        closed_at: Timestamp::from_nanos(5),
    };
    Close { made_by: None, event }
}

pub(crate) async fn filled(
    store: &EmbeddedStore,
    name: &str,
    ids: std::ops::Range<u128>,
) -> StreamId {
    let stream = stream(name);
    store.create(&stream, &header(name)).await.unwrap();
    for id in ids {
        store.append(&stream, append(vec![event(id)])).await.unwrap();
    }
    stream
}

pub(crate) fn engine(path: &Path) -> PathBuf {
    path.join("engine")
}

pub(crate) fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}
