//! What the exploration knows beside the state: the configuration, and everything that is kept
//! once so that states stay small.

use super::calls::{Call, Judged, Reply};
use super::cast::{Cast, Contents, Migration, Slot};
use super::configurations::{Configuration, Misreading};
use super::documents::{Change, DocumentId, Documents, Look, Refusal};
use super::machines::Machines;
use super::properties::Violation;
use super::state::{Maker, State};

pub(crate) struct World {
    pub(crate) configuration: Configuration,
    pub(crate) cast: Cast,
    pub(crate) documents: Documents,
    pub(crate) machines: Machines,
    pub(crate) judged: Judged,
    /// Where the steps of a run-out are noted, if somebody wants to see them.
    pub(crate) trace: Option<Vec<Step>>,
}

/// A step that was taken: who, before and after.
pub(crate) type Step = (Label, State, State);

/// One step of one actor, and what the world is after it.
pub(crate) struct Successor {
    pub(crate) label: Label,
    pub(crate) after: Result<State, Violation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label {
    pub(crate) actor: Actor,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Actor {
    Migrator(u8),
    Writer(u8),
    Reader,
    /// Asks for a migration of this source.
    Asker(Migration, Slot),
    Canceller(Migration),
    Deleter(Slot),
    Foreigner,
    Network,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Done,
    /// Done over the route that knows of so many closed streams.
    Over(u8),
    AnswerLost,
    NotDone,
    OnItsWay,
    Crash,
    /// From the record.
    Starts,
    /// Reads the record again, for orders.
    Looks,
    TimesOut,
}

impl World {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self {
            cast: Cast::new(configuration.kinds()),
            documents: Documents::new(configuration.misreading),
            machines: Machines::default(),
            judged: Judged::default(),
            trace: None,
            configuration,
        }
    }

    pub(crate) fn is(&self, misreading: Misreading) -> bool {
        self.configuration.misreading == Some(misreading)
    }

    pub(crate) fn look(&self, document: DocumentId) -> Option<&Look> {
        self.documents.look(document)
    }

    pub(crate) fn change(
        &mut self,
        document: DocumentId,
        change: Change,
    ) -> Result<DocumentId, Refusal> {
        self.documents.change(&self.cast, document, change)
    }

    /// Where a stream begins, which a continuation is told by the close before it has an event.
    pub(crate) fn base_of(&self, state: &State, slot: Slot) -> u8 {
        let told = state.streams.iter().filter_map(|stream| stream.closed);
        let mut told = told.filter(|close| close.to == Some(slot));
        let told = told.next().map(|close| self.cast.base_behind(close));
        told.or(state.stream(slot).base).unwrap_or(0)
    }

    /// The history up to the end of a stream, as the chain before it holds it. A stream that is
    /// needed for it and was removed ends it early.
    pub(crate) fn history_to(&self, state: &State, last: Slot) -> Contents {
        let Some(look) = self.look(state.document) else { return state.stream(last).contents };
        let mut chain: Vec<(Slot, u8)> =
            (0..=look.closed).map(|route| (look.stream(route).0, look.base(route))).collect();
        match chain.iter().position(|(slot, _)| *slot == last) {
            Some(place) => chain.truncate(place + 1),
            // The document does not show the close yet that leads to it.
            None => chain.push((last, self.base_of(state, last))),
        }
        let mut history = Contents::NOTHING;
        loop {
            let version = history.len();
            let holder = chain.iter().rev().find(|(_, base)| *base <= version);
            let Some(stream) = holder.map(|(slot, _)| state.stream(*slot)) else { break };
            match stream.at(version) {
                _ if stream.removed => break,
                0 => break,
                event => history.push(event),
            }
        }
        history
    }

    pub(crate) fn may_fault(&self, state: &State) -> bool {
        self.configuration.faults.is_none_or(|most| state.faults < most)
    }

    pub(crate) fn note_fault(&self, state: &mut State) {
        if self.configuration.faults.is_some() {
            state.faults += 1;
        }
    }

    pub(crate) fn initial(&mut self) -> State {
        let mut state = State {
            streams: Default::default(),
            document: DocumentId::NONE,
            records: Default::default(),
            migrators: Default::default(),
            writers: Default::default(),
            reader: Default::default(),
            foreigner_wrote: false,
            late: None,
            faults: 0,
            told: Default::default(),
        };
        let configuration = &self.configuration;
        if configuration.object != super::configurations::Object::New {
            state.document = self.documents.first(&self.cast);
            state.streams[0].maker = Maker::Nobody;
            state.streams[0].base = Some(0);
        }
        if configuration.object == super::configurations::Object::OneEvent {
            let mut contents = Contents::NOTHING;
            contents.push(1);
            state.streams[0].contents = contents;
            state.told.acknowledged[1] = 1;
        }
        for (record, asked) in state.records.iter_mut().zip(configuration.migrations) {
            record.written = asked.at_start;
            record.seen.remove_target = asked.remove_target;
        }
        state
    }

    /// Everything that can happen next, in a fixed order.
    pub(crate) fn successors(&mut self, state: &State, out: &mut Vec<Successor>) {
        for process in 0..self.configuration.migrators.len() {
            self.migrator_steps(state, process, out);
        }
        for writer in 0..self.configuration.writers.len() {
            self.writer_steps(state, writer, out);
        }
        if self.configuration.reader {
            self.reader_steps(state, out);
        }
        self.operator_steps(state, out);
        self.land(state, out);
    }

    /// The call that is on its way arrives; nobody waits for the answer any more.
    pub(crate) fn land(&mut self, state: &State, out: &mut Vec<Successor>) {
        if let Some(call) = state.late {
            let mut after = *state;
            after.late = None;
            self.execute(&mut after, call);
            let label = Label { actor: Actor::Network, fate: Fate::Done };
            out.push(Successor { label, after: Ok(after) });
        }
    }

    /// The three things that can become of a call, beside nothing at all. `answered` and
    /// `unanswered` say how the caller goes on.
    pub(crate) fn fates(
        &mut self,
        state: &State,
        actor: Actor,
        call: Call,
        answered: impl FnOnce(&mut Self, &mut State, Reply) -> Result<(), Violation>,
        unanswered: impl Fn(&mut Self, &mut State),
        out: &mut Vec<Successor>,
    ) {
        let mut done = *state;
        let reply = self.execute(&mut done, call);
        let executed = done;
        let after = answered(self, &mut done, reply).map(|()| done);
        out.push(Successor { label: Label { actor, fate: Fate::Done }, after });
        if !self.may_fault(state) {
            return;
        }
        let mut lost = executed;
        unanswered(self, &mut lost);
        self.note_fault(&mut lost);
        out.push(Successor { label: Label { actor, fate: Fate::AnswerLost }, after: Ok(lost) });
        // A call that changes nothing now may still do so when it is late.
        if state.late.is_none() {
            let mut late = *state;
            unanswered(self, &mut late);
            self.note_fault(&mut late);
            late.late = Some(call);
            out.push(Successor { label: Label { actor, fate: Fate::OnItsWay }, after: Ok(late) });
        }
    }
}
