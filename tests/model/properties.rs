//! What must hold: in every state, over every step, and where everything has come to rest.

use super::cast::{Contents, MIGRATIONS, Migration, Slot};
use super::configurations::Misreading;
use super::state::{Finish, Maker, ReaderStep, State};
use super::world::World;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Property {
    /// What was acknowledged stands at its version.
    AcknowledgedIsThere,
    NothingTwice,
    RefusedIsNotThere,
    /// From the document and from every older one the same open stream is reached.
    OneOpenStream,
    /// A close that the document does not show yet leads to an open stream.
    NeverTwoMovesBehind,
    /// A stream that was ever shown or written is never shorter than the document knows it.
    NothingLooksRestored,
    HistoryGrowsAtItsEnd,
    /// I2.
    ClosedIsClosed,
    /// I4.
    CompleteBeforeClose,
    /// I6.
    DocumentMovesForward,
    /// I8.
    RetriesAreSafe,
    /// I10.
    ForeignIsLeftAlone,
    /// I11.
    NothingNeededIsRemoved,
    /// I12: only the object's running migration closes, and only to the stream that it was given.
    OnlyTheRunningOneCloses,
    /// I12: what a final record says is what happened.
    RecordsTellTheTruth,
    /// A stream is handed out to one migration.
    NoTargetTwice,
    ReadersMissNothing,
    /// What an append expects is judged on the object and not on its newest stream.
    JudgedOnTheObject,
    /// The machine has an answer to whatever may come of its effects.
    MachineExpectsIt,
    /// The runner's own check never stops a migration.
    InvariantsLetItGoOn,
    /// Without faults everything ends, and then everything is settled.
    ComesToRest,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) property: Property,
    pub(crate) told: String,
}

impl Violation {
    pub(crate) fn new(property: Property, told: impl Into<String>) -> Self {
        Self { property, told: told.into() }
    }
}

fn hold(holds: bool, property: Property, told: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(property, told())) }
}

/// In every state.
impl World {
    pub(crate) fn check_state(&self, state: &State) -> Result<(), Violation> {
        self.check_streams(state)?;
        self.check_records(state)?;
        self.check_routes(state)?;
        self.check_promises(state, self.history(state))
    }

    /// What clients see: each version once, whatever number of streams it lies in.
    pub(crate) fn history(&self, state: &State) -> Contents {
        let Some(look) = self.look(state.document) else { return Contents::NOTHING };
        let slot = open_stream(state, look.active()).unwrap_or(look.active());
        let mut history = self.history_to(state, slot);
        if self.is(Misreading::StreamsOneAfterTheOther) {
            history = (0..look.closed)
                .map(|route| state.stream(look.stream(route).0).contents)
                .chain([state.stream(slot).contents])
                .fold(Contents::NOTHING, Contents::followed_by);
        }
        history
    }

    fn check_promises(&self, state: &State, history: Contents) -> Result<(), Violation> {
        for (event, version) in (0..).zip(state.told.acknowledged) {
            let there = version == 0 || history.at(version - 1) == event;
            hold(there, Property::AcknowledgedIsThere, || {
                let version = version - 1;
                format!("acknowledged e{event} at version {version} is not there: {history:?}")
            })?;
            let refused = event > 0 && state.told.refused & (1 << event) != 0;
            let stands = refused && history.place_of(event).is_some();
            hold(!stands, Property::RefusedIsNotThere, || {
                format!("e{event} was refused for certain, yet it is in the history {history:?}")
            })?;
        }
        let mut seen = 0_u16;
        for event in history.iter() {
            let twice = seen & (1 << event) != 0;
            hold(!twice, Property::NothingTwice, || format!("e{event} twice: {history:?}"))?;
            seen |= 1 << event;
        }
        Ok(())
    }

    fn check_routes(&self, state: &State) -> Result<(), Violation> {
        let Some(look) = self.look(state.document) else { return Ok(()) };
        let reached = open_stream(state, look.active());
        for route in 0..=look.closed {
            let from = look.stream(route).0;
            let to = open_stream(state, from);
            hold(to.is_some() && to == reached, Property::OneOpenStream, || {
                format!("from stream {from} one reaches {to:?}, from the document {reached:?}")
            })?;
        }
        let active = state.stream(look.active());
        if let Some(close) = active.closed {
            let goes_on = close.to.is_some_and(|to| state.stream(to).closed.is_none());
            hold(goes_on, Property::NeverTwoMovesBehind, || {
                format!("stream {} is closed, and its continuation too", look.active())
            })?;
        }
        let next = active.next_from(look.base(look.closed));
        hold(next >= look.head_min, Property::NothingLooksRestored, || {
            format!("stream {} is shorter than when it became active", look.active())
        })
    }

    fn check_records(&self, state: &State) -> Result<(), Violation> {
        for migration in 0..MIGRATIONS as Migration {
            let record = state.record(migration);
            let Some(finish) = record.finished else { continue };
            let source = state.stream(record.source);
            let closed = source.closed.is_some_and(|close| close.by == migration);
            hold((finish == Finish::Succeeded) == closed, Property::RecordsTellTheTruth, || {
                let said = if closed { "closed its source" } else { "did not close its source" };
                format!("m{migration} {said}, and its final record says {finish:?}")
            })?;
            let ended = record.seen.ended;
            let agrees =
                finish == Finish::Succeeded || ended.is_none_or(|end| finish == Finish::Ended(end));
            hold(agrees, Property::RecordsTellTheTruth, || {
                format!("m{migration} ended as {ended:?}, and its final record says {finish:?}")
            })?;
        }
        Ok(())
    }

    fn check_streams(&self, state: &State) -> Result<(), Violation> {
        for (slot, stream) in (0..).zip(&state.streams) {
            if let Some(close) = stream.closed
                && let Some(to) = close.to
            {
                let by = usize::from(close.by);
                let ran = state.told.ran[by] & (1 << slot) != 0;
                let its = state.told.given[by] & (1 << to) != 0;
                hold(ran && its, Property::OnlyTheRunningOneCloses, || {
                    format!("m{by} closed stream {slot} in favour of {to}, and may not")
                })?;
            }
            let orphan = stream.closed.is_some_and(|close| close.to.is_none());
            if orphan || (stream.removed && stream.closed.is_none()) {
                hold(!is_needed(state, slot), Property::NothingNeededIsRemoved, || {
                    format!("stream {slot} was sealed or removed, and a close points to it")
                })?;
            }
            let given = state.told.given.iter().filter(|given| **given & (1 << slot) != 0);
            hold(given.count() <= 1, Property::NoTargetTwice, || {
                format!("stream {slot} was handed out to two migrations")
            })?;
            let foreign = stream.contents.place_of(super::operators::FOREIGN).is_some();
            let touched = foreign && (stream.closed.is_some() || stream.removed);
            hold(!touched, Property::ForeignIsLeftAlone, || {
                format!("stream {slot} holds what another wrote, and was sealed or removed")
            })?;
        }
        Ok(())
    }

    pub(crate) fn check_reader(&self, state: &State) -> Result<(), Violation> {
        let history = self.history(state);
        let reader = &state.reader;
        let true_so_far = history.starts_with(reader.seen);
        let ended = reader.step == ReaderStep::Done;
        let enough = !ended || reader.seen.len() >= reader.at_least;
        hold(true_so_far && enough, Property::ReadersMissNothing, || {
            format!("the reader saw {:?} of {history:?}", reader.seen)
        })
    }
}

/// Where closes lead from a stream; none if they lead to what takes no appends.
fn open_stream(state: &State, from: Slot) -> Option<Slot> {
    let mut slot = from;
    for _ in 0..state.streams.len() {
        let stream = state.stream(slot);
        match stream.closed {
            None => {
                let there = stream.maker != Maker::Missing && !stream.removed;
                return there.then_some(slot);
            }
            Some(close) => slot = close.to?,
        }
    }
    None
}

fn is_needed(state: &State, slot: Slot) -> bool {
    let points =
        |stream: &super::state::Stream| stream.closed.is_some_and(|close| close.to == Some(slot));
    state.streams.iter().any(points)
}

/// Over every step.
impl World {
    pub(crate) fn check_step(&self, before: &State, after: &State) -> Result<(), Violation> {
        if before.streams != after.streams || before.document != after.document {
            self.check_closes(before, after)?;
            self.check_document(before, after)?;
            let (old, new) = (self.history(before), self.history(after));
            hold(new.starts_with(old), Property::HistoryGrowsAtItsEnd, || {
                format!("the history was {old:?} and became {new:?}")
            })?;
        }
        Ok(())
    }

    fn check_closes(&self, before: &State, after: &State) -> Result<(), Violation> {
        for (slot, (old, new)) in (0..).zip(before.streams.iter().zip(&after.streams)) {
            let same =
                old.closed.is_none() || (old.closed == new.closed && old.contents == new.contents);
            hold(same, Property::ClosedIsClosed, || {
                format!("the closed stream {slot} was {old:?} and became {new:?}")
            })?;
            let Some(close) = new.closed.filter(|_| old.closed.is_none()) else { continue };
            let Some(to) = close.to else { continue };
            let target = before.stream(to);
            let source = self.history_to(before, slot);
            let complete = match self.cast.continues(close.by) {
                false => target.contents == source && target.base == Some(0),
                // Nothing is copied, and nothing decides the base before the close does.
                true => target.contents == Contents::NOTHING,
            };
            let exact = close.next == old.next_from(self.base_of(before, slot));
            hold(complete && exact, Property::CompleteBeforeClose, || {
                let target = target.contents;
                format!("stream {slot} {source:?} was closed while stream {to} held {target:?}")
            })?;
        }
        Ok(())
    }

    fn check_document(&self, before: &State, after: &State) -> Result<(), Violation> {
        let Some(old) = self.look(before.document) else { return Ok(()) };
        let Some(new) = self.look(after.document) else {
            return Err(Violation::new(Property::DocumentMovesForward, "the document vanished"));
        };
        let closed = before.stream(old.active()).closed;
        let stayed = new.active() == old.active() && new.closed == old.closed;
        let moved = new.closed == old.closed + 1
            && closed.is_some_and(|close| close.to == Some(new.active()));
        let grew = before.document == after.document || new.revision == old.revision + 1;
        hold((stayed || moved) && grew, Property::DocumentMovesForward, || {
            let (from, to) = (old.active(), new.active());
            format!("the document went from stream {from} to {to}, not one change forward")
        })
    }
}

/// Where nothing more happens.
impl World {
    pub(crate) fn check_rest(&self, state: &State) -> Result<(), Violation> {
        let rest = |holds: bool, told: String| hold(holds, Property::ComesToRest, || told);
        for writer in 0..self.configuration.writers.len() {
            let settled = self.event_of(state, writer).is_none();
            rest(settled, format!("writer {writer} never got an answer"))?;
        }
        if let Some(look) = self.look(state.document) {
            let active = look.active();
            let open = state.stream(active).closed.is_none();
            rest(open, format!("the document names stream {active}, which is closed"))?;
            let running = look.running;
            rest(running.is_none(), format!("the document still names {running:?}"))?;
        }
        for migration in 0..MIGRATIONS as Migration {
            let record = state.record(migration);
            if !record.written || record.finished.is_some() {
                continue;
            }
            let source = state.stream(record.source);
            rest(record.seen.ended.is_some(), format!("m{migration} never ended"))?;
            // Provisional only while a sleeper could still close in favour of the copy.
            let copied = record.target.map_or(0, |slot| state.stream(slot).next());
            let beyond = source.next_from(self.base_of(state, record.source)) > copied;
            let passed = source.closed.is_some() || (beyond && !self.cast.continues(migration));
            let holds = record.target.is_some() && !passed;
            rest(holds, format!("m{migration} could have been settled, and is not"))?;
        }
        Ok(())
    }
}
