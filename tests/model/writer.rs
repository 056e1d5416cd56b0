//! A client that appends, and the proxy that it speaks to, in the way of `proxy::append`: over any
//! stale route, through closes and lost answers, repeated with the same id until it is settled.

use super::calls::{Appending, Call, Reply};
use super::cast::{Contents, Migration, Slot};
use super::configurations::{Misreading, Mode};
use super::documents::{Change, DocumentId, Refusal};
use super::properties::{Property, Violation};
use super::state::{State, Writer, WriterStep};
use super::world::{Actor, Fate, Label, Successor, World};

/// How many continuations one append follows.
const HOPS_MAX: u8 = 3;

impl World {
    /// The event that a writer appends next; events are numbered from 2, two to a writer.
    pub(crate) fn event_of(&self, state: &State, writer: usize) -> Option<u8> {
        let settled = state.writers[writer].settled;
        let appends = self.configuration.writers[writer].appends;
        (settled < appends).then_some(2 + 2 * writer as u8 + settled)
    }

    pub(crate) fn writer_steps(&mut self, state: &State, index: usize, out: &mut Vec<Successor>) {
        let Some(event) = self.event_of(state, index) else { return };
        let actor = Actor::Writer(index as u8);
        let writer = state.writers[index];
        let may_crash = !matches!(writer.step, WriterStep::Ready | WriterStep::Asked);
        if may_crash && self.may_fault(state) {
            let mut after = *state;
            let Writer { settled, expected, .. } = writer;
            let step = WriterStep::Asked;
            after.writers[index] =
                Writer { settled, step, expected, repeats: true, ..Writer::default() };
            self.note_fault(&mut after);
            out.push(Successor { label: Label { actor, fate: Fate::Crash }, after: Ok(after) });
        }
        let done = |after: Result<State, Violation>| Successor {
            label: Label { actor, fate: Fate::Done },
            after,
        };
        match writer.step {
            WriterStep::Ready | WriterStep::Asked => self.ask(state, index, out),
            WriterStep::CreatingHeader => {
                let call = Call::CreateStream { slot: 0, maker: None };
                let answered = |_: &mut Self, after: &mut State, _| {
                    after.writers[index].step = WriterStep::CreatingDocument;
                    Ok(())
                };
                // An unknown outcome is told to the client, which repeats its append.
                let unanswered = |world: &mut Self, after: &mut State| world.repeat(after, index);
                self.fates(state, actor, call, answered, unanswered, out);
            }
            WriterStep::CreatingDocument => {
                let new = self.documents.first(&self.cast);
                let call = Call::PutDocument { read: DocumentId::NONE, new };
                let answered = |world: &mut Self, after: &mut State, reply| {
                    after.writers[index].step = match reply {
                        Reply::Done => WriterStep::Appending,
                        _ => WriterStep::Loading,
                    };
                    after.writers[index].route = world.newest(after);
                    Ok(())
                };
                let unanswered = |_: &mut Self, after: &mut State| {
                    after.writers[index].step = WriterStep::Loading;
                };
                self.fates(state, actor, call, answered, unanswered, out);
            }
            WriterStep::Appending => self.append_over(state, index, event, Fate::Done, out),
            WriterStep::Following { closed } => {
                out.push(done(self.follow(state, closed).map(|followed| {
                    let mut after = *state;
                    let writer = &mut after.writers[index];
                    match followed {
                        Followed::Past { route } => {
                            writer.route = route;
                            writer.step = WriterStep::Appending;
                        }
                        Followed::Write => {
                            writer.document = state.document;
                            writer.step = WriterStep::Repairing { closed };
                        }
                    }
                    after
                })));
            }
            WriterStep::Repairing { closed } => {
                let call = self.repair(state, writer.document, closed);
                let answered = |world: &mut Self, after: &mut State, reply| {
                    after.writers[index].document = DocumentId::NONE;
                    if reply == Reply::Done {
                        after.writers[index].route = world.newest(after);
                        after.writers[index].step = WriterStep::Appending;
                    } else {
                        after.writers[index].step = WriterStep::Following { closed };
                    }
                    Ok(())
                };
                let unanswered = |_: &mut Self, after: &mut State| {
                    after.writers[index].document = DocumentId::NONE;
                    after.writers[index].step = WriterStep::Following { closed };
                };
                self.fates(state, actor, call, answered, unanswered, out);
            }
            WriterStep::Loading => {
                let mut after = *state;
                if self.look(state.document).is_none() {
                    // Its creation is on its way, so nobody knows; the client repeats.
                    self.repeat(&mut after, index);
                } else {
                    after.writers[index].route = self.newest(state);
                    after.writers[index].step = WriterStep::Appending;
                }
                out.push(done(Ok(after)));
            }
            WriterStep::Reloading => {
                let newest = self.newest(state);
                let mut after = *state;
                after.writers[index].route = newest;
                after.writers[index].step = WriterStep::Appending;
                out.push(done(if newest == writer.route {
                    let told = "a writer met a stream that is missing or another's";
                    Err(Violation::new(Property::RetriesAreSafe, told))
                } else {
                    Ok(after)
                }));
            }
            WriterStep::Searching => out.push(done(self.search(state, index, event))),
        }
    }

    pub(crate) fn newest(&self, state: &State) -> u8 {
        self.look(state.document).map_or(0, |look| look.closed)
    }

    fn stream_over(&self, state: &State, route: u8) -> (Slot, Option<Migration>, u8) {
        self.look(state.document).map_or((0, None, 0), |look| {
            let (slot, maker) = look.stream(route);
            (slot, maker, look.base(route))
        })
    }

    /// What the streams before the one of a route say of an event, in the way of
    /// `proxy::idempotency`. They are closed, so looking there and appending then is one step.
    fn look_before(&self, state: &State, route: u8, event: u8) -> LookedBefore {
        let Some(look) = self.look(state.document) else { return LookedBefore::Nothing };
        if self.is(Misreading::NoPredecessorIdCheck) {
            return LookedBefore::Nothing;
        }
        let mut inherited = look.inherited(route).map(|slot| state.stream(slot));
        let mut found = None;
        if inherited.any(|stream| {
            found = found.or(stream.place_of(event));
            stream.removed
        }) {
            return LookedBefore::Removed;
        }
        found.map_or(LookedBefore::Nothing, LookedBefore::Known)
    }

    /// The call ended without certainty, and the client asks again with the same id.
    fn repeat(&mut self, state: &mut State, index: usize) {
        let Writer { settled, expected, .. } = state.writers[index];
        let step = WriterStep::Asked;
        state.writers[index] =
            Writer { settled, step, expected, repeats: true, ..Writer::default() };
    }

    fn ask(&mut self, state: &State, index: usize, out: &mut Vec<Successor>) {
        let writer = state.writers[index];
        let actor = Actor::Writer(index as u8);
        let mode = self.configuration.writers[index].mode;
        if writer.step == WriterStep::Ready && mode != Mode::Any {
            let mut after = *state;
            let expected = if mode == Mode::Exact { self.history(state).len() } else { 0 };
            after.writers[index].expected = Some(expected);
            after.writers[index].step = WriterStep::Asked;
            out.push(Successor { label: Label { actor, fate: Fate::Done }, after: Ok(after) });
            return;
        }
        if self.look(state.document).is_none() {
            let mut after = *state;
            after.writers[index].step = WriterStep::CreatingHeader;
            out.push(Successor { label: Label { actor, fate: Fate::Done }, after: Ok(after) });
            return;
        }
        let newest = self.newest(state);
        for route in 0..=newest {
            if route > 0 && route < newest && !self.configuration.any_route {
                continue;
            }
            let mut over = *state;
            over.writers[index].route = route;
            let event = self.event_of(state, index).expect("it has one to append");
            if self.is(Misreading::IdCheckNotAtomic) {
                over.writers[index].step = WriterStep::Searching;
                let label = Label { actor, fate: Fate::Over(route) };
                out.push(Successor { label, after: Ok(over) });
                continue;
            }
            over.writers[index].step = WriterStep::Appending;
            self.append_over(&over, index, event, Fate::Over(route), out);
        }
    }

    fn append_over(
        &mut self,
        state: &State,
        index: usize,
        event: u8,
        fate: Fate,
        out: &mut Vec<Successor>,
    ) {
        let writer = state.writers[index];
        let (slot, maker, base) = self.stream_over(state, writer.route);
        let looked = self.look_before(state, writer.route, event);
        if looked != LookedBefore::Nothing {
            let mut after = *state;
            let writer = &mut after.writers[index];
            match looked {
                LookedBefore::Known(version) => {
                    after.told.acknowledged[usize::from(event)] = version + 1;
                    settle(writer);
                }
                LookedBefore::Removed | LookedBefore::Nothing => {
                    writer.step = WriterStep::Reloading;
                }
            }
            let label = Label { actor: Actor::Writer(index as u8), fate };
            out.push(Successor { label, after: Ok(after) });
            return;
        }
        let mut events = Contents::NOTHING;
        events.push(event);
        let expected = writer.expected;
        let call = Call::Append(Appending { slot, maker, base, expected, events, is_copy: false });
        let from = out.len();
        let answered = |world: &mut Self, after: &mut State, reply: Reply| {
            world.after_append(after, index, (slot, event), reply)
        };
        let unanswered = |world: &mut Self, after: &mut State| {
            after.writers[index].in_doubt = true;
            let searches = [Misreading::AbsenceIsFailure, Misreading::IdCheckNotAtomic];
            if searches.iter().any(|misreading| world.is(*misreading)) {
                after.writers[index].step = WriterStep::Searching;
            }
        };
        self.fates(state, Actor::Writer(index as u8), call, answered, unanswered, out);
        if fate != Fate::Done {
            let first = &mut out[from].label;
            first.fate = fate;
        }
    }

    fn after_append(
        &mut self,
        state: &mut State,
        index: usize,
        (slot, event): (Slot, u8),
        reply: Reply,
    ) -> Result<(), Violation> {
        let writer = &mut state.writers[index];
        match reply {
            Reply::Appended { first } => {
                let expected = writer.expected.unwrap_or(first);
                if first != expected {
                    let told = format!("e{event} expected version {expected}, and took {first}");
                    return Err(Violation::new(Property::JudgedOnTheObject, told));
                }
                state.told.acknowledged[usize::from(event)] = first + 1;
                settle(writer);
            }
            // Ids were looked at before the close was, so nothing is in doubt here any more.
            Reply::Closed(_) if writer.followed >= HOPS_MAX => self.repeat(state, index),
            Reply::Closed(_) => {
                writer.in_doubt = false;
                writer.followed += 1;
                writer.step = WriterStep::Following { closed: slot };
            }
            Reply::WrongVersion { next } => {
                let lost = writer.expected.is_some_and(|expected| next > expected);
                if lost || !(writer.in_doubt || writer.repeats) {
                    state.told.refused |= 1 << event;
                    settle(writer);
                } else {
                    self.repeat(state, index);
                }
            }
            Reply::Missing | Reply::WrongMaker => writer.step = WriterStep::Reloading,
            Reply::Duplicate => {
                let told = format!("the repeated append of e{event} was refused as a duplicate");
                return Err(Violation::new(Property::RetriesAreSafe, told));
            }
            Reply::Done | Reply::Conflict | Reply::Exists | Reply::NotClosed => {
                unreachable!("no append is answered so: {reply:?}")
            }
        }
        Ok(())
    }

    fn search(&mut self, state: &State, index: usize, event: u8) -> Result<State, Violation> {
        let mut after = *state;
        let writer = &mut after.writers[index];
        let (slot, _, _) = self.stream_over(state, writer.route);
        match state.stream(slot).place_of(event) {
            Some(version) => {
                after.told.acknowledged[usize::from(event)] = version + 1;
                settle(writer);
            }
            None if self.is(Misreading::AbsenceIsFailure) => {
                after.told.refused |= 1 << event;
                settle(writer);
            }
            None => writer.step = WriterStep::Appending,
        }
        Ok(after)
    }
}

/// What the streams before the one that is appended to say of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LookedBefore {
    Nothing,
    Known(u8),
    /// One of them was removed, so the route is old.
    Removed,
}

fn settle(writer: &mut Writer) {
    *writer = Writer { settled: writer.settled + 1, ..Writer::default() };
}

/// What whoever met a close finds in the document.
pub(crate) enum Followed {
    /// It is past the close already.
    Past { route: u8 },
    /// It still names the closed stream.
    Write,
}

impl World {
    pub(crate) fn follow(&mut self, state: &State, closed: Slot) -> Result<Followed, Violation> {
        match self.follow_change(state, state.document, closed) {
            Ok(new) if new == state.document => Ok(Followed::Past { route: self.newest(state) }),
            Ok(_) => Ok(Followed::Write),
            Err(refusal) => {
                let told = format!("stream {closed} is closed; its document says {refusal:?}");
                Err(Violation::new(Property::DocumentMovesForward, told))
            }
        }
    }

    pub(crate) fn repair(&mut self, state: &State, read: DocumentId, closed: Slot) -> Call {
        let new =
            self.follow_change(state, read, closed).expect("it was followed when it was read");
        Call::PutDocument { read, new }
    }

    fn follow_change(
        &mut self,
        state: &State,
        read: DocumentId,
        closed: Slot,
    ) -> Result<DocumentId, Refusal> {
        match state.stream(closed).closed {
            Some(close) => self.change(read, Change::Reroute { closed, close }),
            None => Err(Refusal::NoContinuation),
        }
    }
}
