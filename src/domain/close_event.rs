//! The event that ends a stream and names its continuation.

use serde::{Deserialize, Serialize};

use super::{Checksum, Head, MigrationId, StreamRef, Timestamp};

/// How a migration carries the history over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationKind {
    /// Every event of the history is copied; the target's base is that of the copy.
    Copy,
    /// Nothing is copied; the target goes on at head + 1.
    Continue,
}

/// Where an object goes on after a close.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Continuation(pub StreamRef);

/// The body of the event of type [`CloseEvent::EVENT_TYPE`].
///
/// A system event: never copied, never shown in history, never counted in a version that a
/// client sees. Once it is durable no append to its stream succeeds, ever (I2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CloseEvent {
    pub migration: MigrationId,
    pub kind: MigrationKind,
    /// None seals a copy that will never be used (I11).
    pub continuation: Option<Continuation>,
    /// The head at which the stream was closed.
    pub head: Head,
    /// The running checksum of the history from the continuation's base up to the head, as it was
    /// copied; none where nothing was.
    pub checksum: Option<Checksum>,
    /// The closer's clock, raised by the store to the last event's `recorded_at`.
    pub closed_at: Timestamp,
}

impl CloseEvent {
    /// The event type under which a raw read shows it.
    pub const EVENT_TYPE: &'static str = "EventStream.Closed";

    pub fn continuation(&self) -> Option<&StreamRef> {
        self.continuation.as_ref().map(|continuation| &continuation.0)
    }
}
