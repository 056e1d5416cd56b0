//! The words of the blueprint as values. No I/O, nothing async, no clock.
//!
//! Reading order: [`object`], [`event`], [`version`], [`stream`], [`close_event`],
//! [`object_document`], [`canonical`], [`checksum`], [`error_class`], [`reason`],
//! [`limits`].

#![warn(clippy::wildcard_enum_match_arm)]

pub mod canonical;
pub mod checksum;
pub mod close_event;
pub mod error_class;
pub mod event;
pub mod limits;
pub mod object;
pub mod object_document;
pub mod reason;
pub mod stream;
pub mod timestamp;
pub mod version;

pub use checksum::{Checksum, Digest};
pub use close_event::{CloseEvent, Continuation};
pub use error_class::ErrorClass;
pub use event::{Event, EventId};
pub use object::{ObjectId, ObjectKey, ObjectName};
pub use object_document::ObjectDocument;
pub use reason::Reason;
pub use stream::{MigrationId, StoreName, StreamAddress, StreamHeader, StreamId, StreamRef};
pub use timestamp::Timestamp;
pub use version::{ExpectedVersion, Head, Version, WrongExpectedVersion};

/// A value that could not be parsed: which field, what was wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidValue {
    /// The field in the words of the interface, as `object_name` or `events[3].event_type`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl InvalidValue {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same fault, seen from the message that holds the field.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}
