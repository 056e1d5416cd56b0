//! Values for tests, each with defaults that a test only overrides where they matter.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::canonical;
use crate::domain::close_event::MigrationKind;
use crate::domain::{
    CloseEvent, Continuation, Digest, Event, EventId, ExpectedVersion, Head, MigrationId,
    ObjectKey, StoreName, StreamAddress, StreamHeader, StreamId, StreamRef, Timestamp, Version,
};
use crate::runtime::Patience;
use crate::store::{Append, Close, ReadRange};

/// The moment at which event 0 of [`event`] was recorded.
pub const RECORDED_AT: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

/// The `number`-th event: equal numbers make equal events, others differ in id and payload.
pub fn event(number: u64) -> Event {
    EventBuilder::new(number).build()
}

pub fn events(numbers: Range<u64>) -> Vec<Event> {
    numbers.map(event).collect()
}

/// An event that differs from the default in what is set; its digest follows.
pub struct EventBuilder(Event);

impl EventBuilder {
    pub fn new(number: u64) -> Self {
        Self(Event {
            event_id: EventId(Uuid::from_u128(0xE << 120 | u128::from(number))),
            event_type: "Happened".into(),
            schema_version: 1,
            content_type: "text/plain".into(),
            payload: Bytes::from(format!("event {number}")),
            metadata: [("number".to_owned(), number.to_string())].into(),
            occurred_at: None,
            recorded_at: RECORDED_AT,
            digest: Digest::from_bytes([0; 32]),
        })
    }

    pub fn event_type(mut self, event_type: &str) -> Self {
        self.0.event_type = event_type.to_owned();
        self
    }

    pub fn schema_version(mut self, schema_version: u32) -> Self {
        self.0.schema_version = schema_version;
        self
    }

    pub fn content_type(mut self, content_type: &str) -> Self {
        self.0.content_type = content_type.to_owned();
        self
    }

    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.0.payload = payload.into();
        self
    }

    pub fn metadata(mut self, entries: &[(&str, &str)]) -> Self {
        let owned = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.0.metadata = owned.collect();
        self
    }

    pub fn occurred_at(mut self, occurred_at: Timestamp) -> Self {
        self.0.occurred_at = Some(occurred_at);
        self
    }

    pub fn recorded_at(mut self, recorded_at: Timestamp) -> Self {
        self.0.recorded_at = recorded_at;
        self
    }

    pub fn build(mut self) -> Event {
        self.0.digest = Digest::of(&self.0);
        self.0
    }
}

/// What the client sent of an event, as bytes that compare.
pub fn sent(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    canonical::write_sent(event, &mut bytes);
    bytes
}

pub fn object(id: &str) -> ObjectKey {
    ObjectKey::new("Order", id).expect("test ids are legal")
}

pub fn stream_id(id: &str) -> StreamId {
    StreamId::new(id).expect("test ids are legal")
}

pub fn store_name(name: &str) -> StoreName {
    StoreName::new(name).expect("test names are legal")
}

pub fn migration(number: u64) -> MigrationId {
    MigrationId(Uuid::from_u128(0xA << 120 | u128::from(number)))
}

/// The header of an object's first stream.
pub fn header(object: &ObjectKey) -> StreamHeader {
    let base = Some(Version::FIRST);
    StreamHeader { object: object.clone(), predecessor: None, made_by: None, base }
}

/// An append to an object's first stream.
pub fn append(expected: ExpectedVersion, events: Vec<Event>) -> Append {
    Append { made_by: None, base: Version::FIRST, expected, events }
}

/// The CloseEvent of a copying migration that goes on in another store.
pub fn close_event(migration: MigrationId, head: Head) -> CloseEvent {
    let stream_id = stream_id(&format!("Order/continuation/{migration}"));
    let address = StreamAddress { store: store_name("cold"), stream_id };
    let next = StreamRef { address, base: Version::FIRST, made_by: Some(migration) };
    CloseEvent {
        migration,
        kind: MigrationKind::Copy,
        continuation: Some(Continuation(next)),
        head,
        checksum: None,
        closed_at: RECORDED_AT,
    }
}

/// The close of an object's first stream.
pub fn close(migration: MigrationId, head: Head) -> Close {
    Close { made_by: None, event: close_event(migration, head) }
}

pub fn head(version: u64) -> Head {
    Head::at(Version(version))
}

/// Three tries, a second each.
pub fn patience() -> Patience {
    Patience {
        read_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_secs(1),
        attempts_max: 3,
        wait_first: Duration::from_millis(5),
        wait_max: Duration::from_millis(50),
    }
}

/// Everything from a version on, as far as one page goes.
pub fn range(from: u64) -> ReadRange {
    ReadRange { from: Version(from), events_max: usize::MAX, bytes_max: usize::MAX }
}
