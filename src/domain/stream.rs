//! Streams: where one run of an object's events lives, and what made it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::object::text_value;
use super::{InvalidValue, ObjectKey, Version};

/// The configured name of a store: `[a-z][a-z0-9_-]{0,62}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(Arc<str>);

impl StoreName {
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidValue> {
        let text = text.as_ref();
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let goes_on_well = bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        });
        if starts_well && goes_on_well && text.len() <= 63 {
            return Ok(Self(text.into()));
        }
        Err(InvalidValue::new(
            "store",
            "must be a lower-case letter followed by at most 62 of a-z, 0-9, '_' or '-'",
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a stream within its store: 1 to 512 bytes of UTF-8 without control characters.
///
/// The first stream of an object is `{object_name}/{object_id}/0000000000`; the object document
/// counts up for the next. The pair of store and stream id is never used twice.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamId(Arc<str>);

impl StreamId {
    pub const BYTES_MAX: usize = 512;

    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidValue> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            let problem = format!("must be 1 to 512 bytes of UTF-8, has {}", text.len());
            return Err(InvalidValue::new("stream_id", problem));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidValue::new("stream_id", "must not hold control characters"));
        }
        Ok(Self(text.into()))
    }

    /// The id that the object document hands out as its `number`-th.
    pub fn numbered(object: &ObjectKey, number: u64) -> Self {
        Self(format!("{object}/{number:010}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A migration's identity. It follows from the `request_id`, so that two equal requests are one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub Uuid);

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for MigrationId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |_| InvalidValue::new("migration_id", "must be a UUID");
        Uuid::parse_str(text).map(Self).map_err(invalid)
    }
}

text_value!(StoreName);
text_value!(StreamId);

/// Where a stream lives.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamAddress {
    pub store: StoreName,
    pub stream_id: StreamId,
}

impl fmt::Display for StreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.stream_id)
    }
}

impl fmt::Debug for StreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// All that a writer must know of a stream to append to it: as the document or a CloseEvent told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamRef {
    #[serde(flatten)]
    pub address: StreamAddress,
    /// Version of the stream's first event.
    pub base: Version,
    /// The migration that made the stream; none for an object's first stream.
    pub made_by: Option<MigrationId>,
}

/// What creating a stream writes, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHeader {
    pub object: ObjectKey,
    /// The stream that this one continues.
    pub predecessor: Option<StreamAddress>,
    /// The migration that made the stream; every append must name it.
    pub made_by: Option<MigrationId>,
    /// Version of the first event, when known at creation. A continuation without copy takes it
    /// with its first event, and never before the source is closed.
    pub base: Option<Version>,
}
