//! What an append or a close means for a stream: the part of the contract that every backend
//! shares. Pure: the backend looks things up and makes the answer durable, in one atomic step.

use std::collections::HashSet;

use super::{Append, Appended, Close, Found, StoreError, Tail};
use crate::domain::{
    CloseEvent, Event, EventId, ExpectedVersion, Head, MigrationId, StreamHeader, Timestamp,
    Version, WrongExpectedVersion,
};

/// What is to be done for an append that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendVerdict {
    /// The events are there already: answer this and change nothing.
    Replay(Appended),
    /// Store the events from `appended.first` on; the stream has `base` from now on.
    Accept { appended: Appended, base: Version },
}

/// What is to be done for a close that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseVerdict {
    /// The stream was closed by this very close: answer what is stored.
    Replay(CloseEvent),
    /// Store this CloseEvent; the stream has `base` from now on.
    Accept { event: CloseEvent, base: Version },
}

/// Judges an append to a stream that ends in `tail`. `find` looks an id up in the stream.
///
/// Order: ids, maker, closed, base, expected version. Ids come first so that a repeated append
/// meets its first answer whatever happened to the stream since (I8). On a removed stream nothing
/// is looked up: its refusal is that of a closed one, in every backend alike.
pub fn append(
    tail: &Tail,
    append: &Append,
    mut find: impl FnMut(EventId) -> Result<Option<Found>, StoreError>,
) -> Result<AppendVerdict, StoreError> {
    check_alone(append)?;
    if !tail.removed
        && let Some(replay) = replayed(&append.events, &mut find)?
    {
        return Ok(AppendVerdict::Replay(replay));
    }
    check_maker(tail, append.made_by)?;
    if let Some(close) = &tail.closed {
        return Err(StoreError::closed(close.clone()));
    }
    let base = tail.base.unwrap_or(append.base);
    if base != append.base {
        let detail = format!("the stream's base is {base}, the append names {}", append.base);
        return Err(StoreError::Corrupt { detail });
    }
    let head = tail.head_from(base);
    append.expected.judge(head)?;
    let count = append.events.len() as u64;
    let (first, last) = (head.next(), head.next().plus(count - 1));
    Ok(AppendVerdict::Accept { appended: Appended { first, last, replay: false }, base })
}

/// Where the events stand, if all of them are there, side by side and in this order. `find` looks
/// an id up in whatever is asked: a stream, or several of one object.
pub fn replayed(
    events: &[Event],
    mut find: impl FnMut(EventId) -> Result<Option<Found>, StoreError>,
) -> Result<Option<Appended>, StoreError> {
    let mut known = Vec::with_capacity(events.len());
    for event in events {
        if let Some(found) = find(event.event_id)? {
            known.push((event, found));
        }
    }
    let Some((_, Found { version: first, .. })) = known.first().copied() else {
        return Ok(None);
    };
    let misplaced = (0..).zip(&known).find(|(offset, (event, found))| {
        found.version != first.plus(*offset) || found.digest != event.digest
    });
    if let Some((_, (event, _))) = misplaced {
        return Err(StoreError::DuplicateEventId { event_id: event.event_id });
    }
    if known.len() < events.len() {
        let event_id = known[0].0.event_id;
        return Err(StoreError::DuplicateEventId { event_id });
    }
    let last = first.plus(events.len() as u64 - 1);
    Ok(Some(Appended { first, last, replay: true }))
}

/// What is wrong with an append whatever the stream holds: a backend that judges elsewhere asks
/// first.
pub fn check_alone(append: &Append) -> Result<(), StoreError> {
    if append.events.is_empty() {
        return Err(StoreError::Bug { detail: "an append without events".into() });
    }
    check_ids_differ(&append.events)
}

fn check_ids_differ(events: &[Event]) -> Result<(), StoreError> {
    if events.len() < 2 {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(events.len());
    match events.iter().find(|event| !seen.insert(event.event_id)) {
        Some(twice) => Err(StoreError::DuplicateEventId { event_id: twice.event_id }),
        None => Ok(()),
    }
}

/// Judges a close of a stream that ends in `tail`.
///
/// A close is the same as the stored one if all but its time is equal: a migration that resumes
/// does not know when it closed. A stream that has no base yet has no event either, so it is
/// closed at whatever head its closer knows from the document, and an append that came before
/// gave it a base and makes that head wrong.
pub fn close(tail: &Tail, close: &Close) -> Result<CloseVerdict, StoreError> {
    if let Some(stored) = &tail.closed {
        let same = CloseEvent { closed_at: stored.closed_at, ..close.event.clone() };
        if same == *stored {
            return Ok(CloseVerdict::Replay(same));
        }
    }
    check_maker(tail, close.made_by)?;
    if let Some(stored) = &tail.closed {
        return Err(StoreError::closed(stored.clone()));
    }
    let base = tail.base.unwrap_or(close.event.head.next());
    let actual = tail.head_from(base);
    if actual != close.event.head {
        let expected = ExpectedVersion::exactly(close.event.head);
        return Err(WrongExpectedVersion { expected, actual }.into());
    }
    let mut event = close.event.clone();
    event.closed_at = event.closed_at.max(tail.recorded_at.unwrap_or(event.closed_at));
    Ok(CloseVerdict::Accept { event, base })
}

/// Judges the creation of a stream whose id is taken: the same header again is no error.
pub fn create_again(tail: &Tail, header: &StreamHeader) -> Result<(), StoreError> {
    if tail.header == *header { Ok(()) } else { Err(StoreError::AlreadyExists) }
}

fn check_maker(tail: &Tail, expected: Option<MigrationId>) -> Result<(), StoreError> {
    let actual = tail.header.made_by;
    if expected == actual { Ok(()) } else { Err(StoreError::WrongMaker { expected, actual }) }
}

/// Raises every `recorded_at` to that of the event before, the first to `floor`. Answers the last.
pub fn raise_recorded_at(events: &mut [Event], floor: Option<Timestamp>) -> Option<Timestamp> {
    let mut least = floor;
    for event in events {
        let raised = least.map_or(event.recorded_at, |least| least.max(event.recorded_at));
        event.recorded_at = raised;
        least = Some(raised);
    }
    least
}

impl Tail {
    /// The end of a stream that was just created.
    pub fn of_new(header: StreamHeader) -> Self {
        let base = header.base;
        let head = base.map_or(Head::NONE, Head::before);
        Self { header, base, head, recorded_at: None, closed: None, removed: false }
    }

    /// The end after events whose last has this version and time.
    pub fn append(&mut self, base: Version, last: Version, recorded_at: Option<Timestamp>) {
        self.base = Some(base);
        self.head = Head::at(last);
        self.recorded_at = recorded_at;
    }

    /// The end after a close.
    pub fn close(&mut self, base: Version, event: CloseEvent) {
        self.base = Some(base);
        self.head = event.head;
        self.closed = Some(event);
    }

    /// The head, of a stream that has or takes this base.
    pub fn head_from(&self, base: Version) -> Head {
        if self.base.is_some() { self.head } else { Head::before(base) }
    }

    /// How many events the stream holds, or held before it was removed.
    pub fn event_count(&self) -> u64 {
        self.base.map_or(0, |base| self.head.next().0 - base.0)
    }
}

#[cfg(test)]
mod tests;
