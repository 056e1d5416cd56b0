//! The published limits of an append, checked before any store is called.

use serde::{Deserialize, Serialize};

use super::{Event, InvalidValue};

/// What one append may hold. A store may offer less than the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub event_bytes_max: usize,
    pub batch_events_max: usize,
    pub batch_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: 1024 * 1024,
            batch_events_max: 1_000,
            batch_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// Bytes of one name: event type, content type, metadata key or value.
pub const TEXT_BYTES_MAX: usize = 256;
pub const METADATA_ENTRIES_MAX: usize = 64;
/// Keys and values together.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;

/// An append that no store is asked to take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    #[error("events[{index}] has {size} bytes of payload, the limit is {limit}")]
    EventTooLarge { index: usize, size: usize, limit: usize },
    #[error(
        "the batch has {events} events and {bytes} bytes, \
         the limits are {events_max} and {bytes_max}"
    )]
    BatchTooLarge { events: usize, bytes: usize, events_max: usize, bytes_max: usize },
}

impl Limits {
    /// The tighter of both, limit by limit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            event_bytes_max: self.event_bytes_max.min(other.event_bytes_max),
            batch_events_max: self.batch_events_max.min(other.batch_events_max),
            batch_bytes_max: self.batch_bytes_max.min(other.batch_bytes_max),
        }
    }

    pub fn check(&self, events: &[Event]) -> Result<(), LimitExceeded> {
        let mut bytes = 0;
        for (index, event) in events.iter().enumerate() {
            let size = event.payload.len();
            if size > self.event_bytes_max {
                let limit = self.event_bytes_max;
                return Err(LimitExceeded::EventTooLarge { index, size, limit });
            }
            bytes += event.size();
        }
        if events.len() > self.batch_events_max || bytes > self.batch_bytes_max {
            return Err(LimitExceeded::BatchTooLarge {
                events: events.len(),
                bytes,
                events_max: self.batch_events_max,
                bytes_max: self.batch_bytes_max,
            });
        }
        Ok(())
    }
}

/// Event types, content types, metadata keys and values: UTF-8 without control characters.
pub fn check_text(field: &str, text: &str, may_be_empty: bool) -> Result<(), InvalidValue> {
    if text.is_empty() && !may_be_empty {
        return Err(InvalidValue::new(field, "must not be empty"));
    }
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len());
        return Err(InvalidValue::new(field, problem));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidValue::new(field, "must not hold control characters"));
    }
    Ok(())
}

/// At most 64 entries of at most 256 bytes a side, 8 KiB in all.
pub fn check_metadata<'a>(
    field: &str,
    entries: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> Result<(), InvalidValue> {
    if entries.len() > METADATA_ENTRIES_MAX {
        let problem = format!("has {} entries, the limit is {METADATA_ENTRIES_MAX}", entries.len());
        return Err(InvalidValue::new(field, problem));
    }
    let mut bytes = 0;
    for (key, value) in entries {
        check_text("", key, false)
            .map_err(|fault| InvalidValue::new(format!("{field} key"), fault.problem))?;
        check_text("", value, true)
            .map_err(|fault| InvalidValue::new(format!("{field}[{key:?}]"), fault.problem))?;
        bytes += key.len() + value.len();
    }
    if bytes > METADATA_BYTES_MAX {
        let problem = format!("has {bytes} bytes, the limit is {METADATA_BYTES_MAX}");
        return Err(InvalidValue::new(field, problem));
    }
    Ok(())
}
