//! An event as it is stored and read back, byte for byte.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Digest, Timestamp};

/// The identity of an event, by which a retry is recognised (I8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A business event. Its version is its place and travels beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    pub event_id: EventId,
    pub event_type: String,
    pub schema_version: u32,
    pub content_type: String,
    pub payload: Bytes,
    pub metadata: BTreeMap<String, String>,
    /// When it happened, by the client's word.
    pub occurred_at: Option<Timestamp>,
    /// When it was recorded. On its way into a store this is the proxy's clock; the store raises
    /// it to the last event's, so that it never decreases within an object. Copies keep it.
    pub recorded_at: Timestamp,
    /// Digest of what the client sent. Copies and transformations keep it (I8).
    pub digest: Digest,
}

impl Event {
    /// Bytes that count against the limits: payload, names and metadata.
    pub fn size(&self) -> usize {
        let metadata: usize =
            self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.payload.len() + self.event_type.len() + self.content_type.len() + metadata
    }
}

impl fmt::Debug for Event {
    /// Never shows the payload or the metadata: this may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("event_id", &self.event_id)
            .field("event_type", &self.event_type)
            .field("payload_bytes", &self.payload.len())
            .field("recorded_at", &self.recorded_at.nanos())
            .finish_non_exhaustive()
    }
}
