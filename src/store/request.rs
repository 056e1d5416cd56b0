//! What is asked of an event store, and what it answers.

use crate::domain::{
    CloseEvent, Digest, Event, ExpectedVersion, Head, MigrationId, StreamHeader, Timestamp, Version,
};

/// An atomic append of one or more events.
#[derive(Clone, Debug)]
pub struct Append {
    /// The migration that made the stream, as the document or the CloseEvent told it.
    pub made_by: Option<MigrationId>,
    /// The base that the stream has, or takes with this append if it has none.
    pub base: Version,
    /// Judged on the stream's head, which is `base - 1` before its first event.
    pub expected: ExpectedVersion,
    /// `recorded_at` is raised by the store to that of the event before.
    pub events: Vec<Event>,
}

/// The answer to an append, the same for the first time and for every replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: Version,
    pub last: Version,
    /// The events were there already.
    pub replay: bool,
}

/// Which events to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRange {
    pub from: Version,
    /// Whole events are returned until either limit is reached, at least one.
    pub events_max: usize,
    pub bytes_max: usize,
}

impl ReadRange {
    /// Whether a page that holds this much already takes one more event of `size` bytes.
    pub fn has_room(&self, events: usize, bytes: usize, size: usize) -> bool {
        events == 0 || (events < self.events_max && bytes.saturating_add(size) <= self.bytes_max)
    }
}

/// Events in ascending order without gaps, and the end of their stream as it was then.
#[derive(Clone, Debug)]
pub struct Page {
    /// The version of the first event; that asked for when there is none.
    pub first: Version,
    pub events: Vec<Event>,
    pub head: Head,
    pub closed: Option<CloseEvent>,
}

impl Page {
    /// The version after the last event of this page.
    pub fn next(&self) -> Version {
        self.first.plus(self.events.len() as u64)
    }

    /// Whether this page reaches the head.
    pub fn reaches_head(&self) -> bool {
        self.next() >= self.head.next()
    }
}

/// The end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    pub header: StreamHeader,
    /// None while a stream that was created without base has no events.
    pub base: Option<Version>,
    /// Meaningless while there is no base.
    pub head: Head,
    /// `recorded_at` of the last event.
    pub recorded_at: Option<Timestamp>,
    pub closed: Option<CloseEvent>,
    pub removed: bool,
}

/// Where a stream holds an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub version: Version,
    pub digest: Digest,
}

/// The end of a stream that is asked for.
#[derive(Clone, Debug)]
pub struct Close {
    pub made_by: Option<MigrationId>,
    /// `close.head` is the head at which alone the close succeeds; `closed_at` is raised to the
    /// last event's `recorded_at`.
    pub event: CloseEvent,
}

/// How many events a removal deleted; 0 when it was done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    pub events: u64,
}
