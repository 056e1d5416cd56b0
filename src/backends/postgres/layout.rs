//! Rows and parameters as values.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::error::damaged;
use crate::domain::{
    CloseEvent, Digest, Event, EventId, ExpectedVersion, Head, MigrationId, StreamHeader,
    Timestamp, Version,
};
use crate::store::{Found, StoreError, Tail};

/// The metadata of an event that has none is null.
pub(super) fn metadata_text(metadata: &BTreeMap<String, String>) -> Option<String> {
    let text = || serde_json::to_string(metadata).expect("a map of text is JSON");
    (!metadata.is_empty()).then(text)
}

pub(super) fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("headers and CloseEvents are JSON")
}

/// Versions are signed at the server.
pub(super) fn signed(version: Version) -> Result<i64, StoreError> {
    let beyond = StoreError::Unsupported { what: "hold a version beyond 2^63 - 1" };
    i64::try_from(version.0).map_err(|_| beyond)
}

/// The next version that an append expects: null is any, -1 any but 0. No stream reaches the
/// greatest, so all that lie beyond are as good as that one.
pub(super) fn expected_next(expected: ExpectedVersion) -> Option<i64> {
    match expected {
        ExpectedVersion::Any => None,
        ExpectedVersion::NoStream => Some(0),
        ExpectedVersion::StreamExists => Some(-1),
        ExpectedVersion::Exact(version) => {
            Some(i64::try_from(version.0.saturating_add(1)).unwrap_or(i64::MAX))
        }
    }
}

pub(super) fn maker(made_by: Option<MigrationId>) -> Option<Uuid> {
    made_by.map(|migration| migration.0)
}

pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, StoreError> {
    row.try_get(name).map_err(|error| damaged(format!("column {name}: {error}")))
}

pub(super) fn unsigned(number: i64) -> Result<Version, StoreError> {
    let number = u64::try_from(number).map_err(|_| damaged("a version is negative"))?;
    Ok(Version(number))
}

/// The head before the version that comes next. Meaningless without one.
pub(super) fn head_before(next: Option<i64>) -> Result<Head, StoreError> {
    Ok(next.map(unsigned).transpose()?.map_or(Head::NONE, Head::before))
}

pub(super) fn close_event(text: &str) -> Result<CloseEvent, StoreError> {
    serde_json::from_str(text).map_err(|error| damaged(format!("a CloseEvent: {error}")))
}

/// The columns `tail_*`. None when there is no such stream.
pub(super) fn tail(row: &Row) -> Result<Option<Tail>, StoreError> {
    let Some(header) = column::<Option<&str>>(row, "tail_header")? else { return Ok(None) };
    let header: StreamHeader =
        serde_json::from_str(header).map_err(|error| damaged(format!("a header: {error}")))?;
    let closed = column::<Option<&str>>(row, "tail_closed")?.map(close_event).transpose()?;
    let recorded_at = column::<Option<i64>>(row, "tail_recorded_at")?;
    Ok(Some(Tail {
        header,
        base: column::<Option<i64>>(row, "tail_base")?.map(unsigned).transpose()?,
        head: head_before(column(row, "tail_next")?)?,
        recorded_at: recorded_at.map(Timestamp::from_nanos),
        closed,
        removed: column(row, "tail_removed")?,
    }))
}

pub(super) fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    let bytes = bytes.try_into().map_err(|_| damaged("a digest has not 32 bytes"))?;
    Ok(Digest::from_bytes(bytes))
}

pub(super) fn found(version: i64, bytes: &[u8]) -> Result<Found, StoreError> {
    Ok(Found { version: unsigned(version)?, digest: digest(bytes)? })
}

/// Where the columns of an event stand in an answer of `read_v1`; the end of the stream comes
/// before them.
const VERSION: usize = 4;

/// The version of a row that holds an event. None in the row that holds the end of the stream.
pub(super) fn version(row: &Row) -> Result<Option<Version>, StoreError> {
    at::<Option<i64>>(row, VERSION)?.map(unsigned).transpose()
}

pub(super) fn event(row: &Row) -> Result<Event, StoreError> {
    let schema_version: i64 = at(row, VERSION + 3)?;
    let metadata = match at::<Option<&str>>(row, VERSION + 8)? {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| damaged(format!("metadata: {error}")))?
        }
        None => BTreeMap::new(),
    };
    Ok(Event {
        recorded_at: Timestamp::from_nanos(at(row, VERSION + 1)?),
        occurred_at: at::<Option<i64>>(row, VERSION + 2)?.map(Timestamp::from_nanos),
        schema_version: u32::try_from(schema_version)
            .map_err(|_| damaged("a schema version is out of range"))?,
        event_id: EventId(at(row, VERSION + 4)?),
        digest: digest(at(row, VERSION + 5)?)?,
        event_type: at(row, VERSION + 6)?,
        content_type: at(row, VERSION + 7)?,
        metadata,
        payload: Bytes::copy_from_slice(at(row, VERSION + 9)?),
    })
}

fn at<'a, T: FromSql<'a>>(row: &'a Row, place: usize) -> Result<T, StoreError> {
    row.try_get(place).map_err(|error| damaged(format!("column {place}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_the_next_version() {
        let exact = |version| ExpectedVersion::Exact(Version(version));
        for (expected, next) in [
            (ExpectedVersion::Any, None),
            (ExpectedVersion::NoStream, Some(0)),
            (ExpectedVersion::StreamExists, Some(-1)),
            (exact(0), Some(1)),
            (exact(41), Some(42)),
            (exact(u64::MAX), Some(i64::MAX)),
            (exact(1 << 63), Some(i64::MAX)),
        ] {
            assert_eq!(expected_next(expected), next, "{expected}");
        }
    }
}
