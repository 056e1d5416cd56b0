//! Reading: an object's history, in both directions, from anywhere, and what comes after it.
//!
//! Reading order: this file (what is asked for), `pages` (the streams of a read, page by page),
//! [`history`] (the history batch by batch), `seek` (from a moment on), [`filter`], [`token`]
//! (where a read stood), [`follow`] (what comes), [`raw`] (one stream as it is stored).

pub mod filter;
pub mod follow;
pub mod history;
mod pages;
pub mod raw;
mod seek;
pub mod token;

use crate::domain::{Event, ObjectKey, Timestamp, Version};

pub use filter::EventFilter;
pub use follow::{Followed, Follower};
pub use history::HistoryReader;
pub use raw::{RawCommand, RawStreamView};
pub use token::ResumeToken;

/// Which way a read goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Forward,
    /// From the newest event to the oldest.
    Backward,
}

/// Where a read starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadStart {
    /// At the first event; backward at the last.
    #[default]
    Outset,
    Version(Version),
    /// Behind the last event; backward at it.
    End,
    /// At the first event recorded at this moment or later; backward at the last one recorded at
    /// this moment or before.
    Time(Timestamp),
    /// Where an earlier read stood.
    Resume(ResumeToken),
}

/// A read as a client asked for it.
#[derive(Clone, Debug)]
pub struct ReadCommand {
    pub object: ObjectKey,
    pub range: ReadLimits,
}

/// What of a history is read.
#[derive(Clone, Debug, Default)]
pub struct ReadLimits {
    pub start: ReadStart,
    pub direction: Direction,
    /// Of the events that match the filter. None: no limit.
    pub events_max: Option<u64>,
    /// Of the events that match the filter. None: no limit. At least one event is read.
    pub bytes_max: Option<u64>,
    pub filter: EventFilter,
}

impl ReadCommand {
    /// The whole history, from its beginning.
    pub fn all(object: ObjectKey) -> Self {
        Self { object, range: ReadLimits::default() }
    }
}

/// An event at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub version: Version,
    pub event: Event,
}

/// Where a read goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    At(Version),
    /// A backward read has passed the first event.
    BeforeFirst,
}

impl Position {
    /// The position before a version.
    fn before(version: Version) -> Self {
        version.0.checked_sub(1).map_or(Self::BeforeFirst, |before| Self::At(Version(before)))
    }
}

/// Events in the order of the read, and where it goes on. Empty when a filter passed over a page.
#[derive(Clone, Debug)]
pub struct Batch {
    pub events: Vec<Recorded>,
    pub next: Position,
}
