//! Items of the container, field by field. Stored formats: a field never changes its meaning.
//! `docs/stores/cosmos.md` shows them.
//!
//! A stream is one logical partition: a head item, and an item for each event, whose id is the
//! event's id. So the service itself refuses an id that the stream holds already, in the same
//! atomic step that replaces the head. A document is a partition of its own.
//!
//! The service keeps numbers as doubles, so whatever may be above 2^53 is text: versions as twenty
//! digits, whose order as text is that of the numbers, and all else as JSON within a string.

use std::fmt::Display;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::documents::{Document, DocumentKey, Etag};
use crate::domain::canonical;
use crate::domain::{
    CloseEvent, Digest, Event, EventId, Head as HeadVersion, StreamHeader, StreamId, Timestamp,
    Version,
};
use crate::store::Tail;

/// The format of every item.
const FORMAT: u64 = 1;

/// The container's partition key.
pub(super) const PARTITION_PATH: &str = "/partition";
/// What queries look things up by; nothing else needs an index.
pub(super) const INDEXED_PATHS: [&str; 2] = ["/place/?", "/key/?"];

/// The id of the item that ends a stream. No event's id: those are UUIDs.
pub(super) const HEAD_ID: &str = "head";
/// The head's place, before that of every event.
pub(super) const HEAD_PLACE: &str = "!";
/// The place of the first event there may be.
pub(super) const FIRST_PLACE: &str = "00000000000000000000";
/// The id of the only item in a document's partition.
pub(super) const DOCUMENT_ID: &str = "document";

pub(super) fn stream_partition(stream: &StreamId) -> String {
    format!("stream/{stream}")
}

pub(super) fn document_partition(key: &DocumentKey) -> String {
    format!("document/{key}")
}

/// A partition in which nothing is ever written, to see what is permitted.
pub(super) const NOTHING_PARTITION: &str = "nothing";

/// Where an event stands, as text that is ordered as versions are.
pub(super) fn place(version: Version) -> String {
    format!("{:020}", version.0)
}

/// An item that cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub(super) struct BadItem {
    what: &'static str,
    problem: String,
}

impl BadItem {
    fn new(what: &'static str, problem: impl Display) -> Self {
        Self { what, problem: problem.to_string() }
    }
}

/// The end of a stream as it was seen, and the mark of that state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tail: Tail,
    pub(super) etag: String,
}

/// What ends a stream. Never removed: it is what refuses every later append (I2).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeadItem {
    #[serde(skip_deserializing)]
    id: String,
    #[serde(skip_deserializing)]
    partition: String,
    #[serde(skip_deserializing)]
    place: String,
    format: u64,
    #[serde(with = "as_text")]
    header: StreamHeader,
    #[serde(with = "as_text")]
    base: Option<Version>,
    #[serde(with = "as_text")]
    head: HeadVersion,
    #[serde(with = "as_text")]
    recorded_at: Option<Timestamp>,
    #[serde(with = "as_text")]
    closed: Option<CloseEvent>,
    removed: bool,
    #[serde(rename = "_etag", default, skip_serializing)]
    etag: String,
}

impl HeadItem {
    pub(super) fn of(partition: &str, tail: &Tail) -> Self {
        Self {
            id: HEAD_ID.into(),
            partition: partition.into(),
            place: HEAD_PLACE.into(),
            format: FORMAT,
            header: tail.header.clone(),
            base: tail.base,
            head: tail.head,
            recorded_at: tail.recorded_at,
            closed: tail.closed.clone(),
            removed: tail.removed,
            etag: String::new(),
        }
    }

    pub(super) fn read(item: Value) -> Result<Head, BadItem> {
        let what = "the head of a stream";
        let item: Self = parse(what, item)?;
        if item.etag.is_empty() {
            // An empty condition would be none.
            return Err(BadItem::new(what, "has no etag"));
        }
        let tail = Tail {
            header: item.header,
            base: item.base,
            head: item.head,
            recorded_at: item.recorded_at,
            closed: item.closed,
            removed: item.removed,
        };
        Ok(Head { tail, etag: item.etag })
    }
}

/// Whether this is the head among the items of a stream.
pub(super) fn is_head(item: &Value) -> bool {
    id(item) == Some(HEAD_ID)
}

pub(super) fn id(item: &Value) -> Option<&str> {
    item.get("id")?.as_str()
}

/// An event on its way to the service.
#[derive(Debug, Serialize)]
pub(super) struct EventItem<'a> {
    id: EventId,
    partition: &'a str,
    place: String,
    format: u64,
    /// For people who look into the container; not read back.
    #[serde(rename = "type")]
    event_type: &'a str,
    digest: Digest,
    /// The canonical form.
    event: String,
}

/// What is read of an event to know where it stands.
#[derive(Debug, Deserialize)]
pub(super) struct EventPlace {
    pub(super) id: EventId,
    place: String,
    pub(super) digest: Digest,
}

/// What is read of an event to give it back.
#[derive(Debug, Deserialize)]
struct StoredEvent {
    place: String,
    event: String,
}

const EVENT_WHAT: &str = "an event";

impl<'a> EventItem<'a> {
    pub(super) fn of(partition: &'a str, version: Version, event: &'a Event) -> Self {
        let mut bytes = Vec::with_capacity(canonical::size_hint(event));
        canonical::write_event(event, &mut bytes);
        Self {
            id: event.event_id,
            partition,
            place: place(version),
            format: FORMAT,
            event_type: &event.event_type,
            digest: event.digest,
            event: BASE64_STANDARD.encode(bytes),
        }
    }

    pub(super) fn read(item: Value) -> Result<(Version, Event), BadItem> {
        let item: StoredEvent = parse(EVENT_WHAT, item)?;
        let bytes = BASE64_STANDARD.decode(item.event);
        let bytes = Bytes::from(bytes.map_err(|error| BadItem::new(EVENT_WHAT, error))?);
        let event = canonical::read_event(&bytes);
        let event = event.map_err(|error| BadItem::new(EVENT_WHAT, error))?;
        Ok((version_of(&item.place)?, event))
    }
}

impl EventPlace {
    pub(super) fn read(item: Value) -> Result<Self, BadItem> {
        parse(EVENT_WHAT, item)
    }

    pub(super) fn version(&self) -> Result<Version, BadItem> {
        version_of(&self.place)
    }
}

fn version_of(place: &str) -> Result<Version, BadItem> {
    let version = place.parse().map_err(|error| BadItem::new(EVENT_WHAT, error))?;
    Ok(Version(version))
}

/// A small record. Its body is bytes of which the service knows nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DocumentItem {
    #[serde(skip_deserializing)]
    id: String,
    #[serde(skip_deserializing)]
    partition: String,
    key: String,
    format: u64,
    body: String,
    #[serde(rename = "_etag", default, skip_serializing)]
    etag: String,
}

impl DocumentItem {
    pub(super) fn of(key: &DocumentKey, body: &[u8]) -> Self {
        Self {
            id: DOCUMENT_ID.into(),
            partition: document_partition(key),
            key: key.to_string(),
            format: FORMAT,
            body: BASE64_STANDARD.encode(body),
            etag: String::new(),
        }
    }

    pub(super) fn read(item: Value) -> Result<Document, BadItem> {
        let what = "a document";
        let item: Self = parse(what, item)?;
        let body = BASE64_STANDARD.decode(item.body).map_err(|error| BadItem::new(what, error))?;
        Ok(Document {
            key: DocumentKey::from_raw(item.key),
            etag: Etag(item.etag),
            body: body.into(),
        })
    }
}

fn parse<T: for<'de> Deserialize<'de>>(what: &'static str, item: Value) -> Result<T, BadItem> {
    match item.get("format").and_then(Value::as_u64) {
        Some(found) if found > FORMAT => {
            let problem = format!("has format {found}, this release knows up to {FORMAT}");
            Err(BadItem::new(what, problem))
        }
        Some(_) => serde_json::from_value(item).map_err(|error| BadItem::new(what, error)),
        None => Err(BadItem::new(what, "has no format")),
    }
}

/// A value as JSON within a string; nothing as null.
mod as_text {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match serde_json::to_string(value).map_err(S::Error::custom)?.as_str() {
            "null" => serializer.serialize_none(),
            text => serializer.serialize_str(text),
        }
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        serde_json::from_str(text.as_deref().unwrap_or("null")).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
