//! A process that runs the real machine: each effect becomes one call, and what comes of it one
//! outcome, in the way of `migration::effects`.

use super::calls::{Appending, Call, Reply};
use super::cast::{Closing, Contents, Slot};
use super::configurations::Misreading;
use super::documents::{Change, DocumentId, Refusal};
use super::machines::{Answer, Due, MachineId, Pair};
use super::properties::{Property, Violation};
use super::state::{Finish, Maker, Migrator, Record, State};
use super::world::{Actor, Fate, Label, Successor, World};
use streamgate::domain::reason::Reason;

/// Events that are read and appended at once.
const PAGE: u8 = 2;

impl World {
    pub(crate) fn migrator_steps(
        &mut self,
        state: &State,
        process: usize,
        out: &mut Vec<Successor>,
    ) {
        let actor = Actor::Migrator(process as u8);
        let migrator = &state.migrators[process];
        if !migrator.machine.runs() {
            if let Some(after) = self.start_migrator(state, process) {
                out.push(Successor {
                    label: Label { actor, fate: Fate::Starts },
                    after: Ok(after),
                });
            }
            return;
        }
        let mut aside = |fate: Fate, after: State| {
            out.push(Successor { label: Label { actor, fate }, after: Ok(after) });
        };
        if self.may_fault(state) {
            let mut after = *state;
            after.migrators[process] = Migrator::default();
            self.note_fault(&mut after);
            aside(Fate::Crash, after);
        }
        let migration = self.configuration.migrators[process];
        let asked = &self.configuration.migrations[usize::from(migration)];
        let seen = state.record(migration).seen;
        if self.configuration.looks && asked.cancel && migrator.seen != seen {
            let mut after = *state;
            after.migrators[process].seen = seen;
            aside(Fate::Looks, after);
        }
        if asked.times_out && !migrator.timed_out {
            let mut after = *state;
            after.migrators[process].timed_out = true;
            aside(Fate::TimesOut, after);
        }
        self.due_step(state, process, out);
    }

    /// The supervisor of some proxy starts it, from what the record says.
    pub(crate) fn start_migrator(&mut self, state: &State, process: usize) -> Option<State> {
        let migration = self.configuration.migrators[process];
        let record = state.record(migration);
        if !record.written || record.finished.is_some() {
            return None;
        }
        let base = self.base_of(state, record.source);
        let source = (record.source, state.stream(record.source).maker.migration(), base);
        let machine =
            self.machines.resume(&self.cast, migration, source, record.seen, record.target);
        let mut after = *state;
        after.migrators[process] = Migrator { machine, seen: record.seen, ..Migrator::default() };
        Some(after)
    }

    pub(crate) fn due_step(&mut self, state: &State, process: usize, out: &mut Vec<Successor>) {
        let actor = Actor::Migrator(process as u8);
        let fate = Fate::Done;
        if let Err(violation) = self.check_invariants(state, process) {
            out.push(Successor { label: Label { actor, fate }, after: Err(violation) });
            return;
        }
        if let Some(after) = self.misread_settling(state, process) {
            out.push(Successor { label: Label { actor, fate }, after: Ok(after) });
            return;
        }
        match self.plan_call(state, process) {
            Planned::Answer(answer, held) => {
                let mut after = *state;
                after.migrators[process] = held;
                let after = self.advance(&mut after, process, answer).map(|()| after);
                out.push(Successor { label: Label { actor, fate }, after });
            }
            Planned::Call(call) => {
                let answered = |world: &mut Self, after: &mut State, reply: Reply| {
                    let answer = world.understand(after, process, reply);
                    world.advance(after, process, answer)
                };
                let unanswered = |world: &mut Self, after: &mut State| {
                    world.lose(after, process);
                };
                self.fates(state, actor, call, answered, unanswered, out);
            }
        }
        // Nothing was done and no answer came: worth a step only if that makes a difference.
        let mut after = *state;
        if self.may_fault(state) && self.lose(&mut after, process) {
            self.note_fault(&mut after);
            out.push(Successor { label: Label { actor, fate: Fate::NotDone }, after: Ok(after) });
        }
    }

    /// Tells the machine that no answer came; whether it does something else then.
    fn lose(&mut self, state: &mut State, process: usize) -> bool {
        let before = state.migrators[process].machine;
        let told = self.advance(state, process, Answer::Lost);
        told.expect("every step takes the loss of an answer");
        state.migrators[process].machine != before
    }

    fn check_invariants(&mut self, state: &State, process: usize) -> Result<(), Violation> {
        let Migrator { machine, seen, .. } = state.migrators[process];
        match self.machines.check(&self.cast, machine, seen) {
            None => Ok(()),
            Some(told) => Err(Violation::new(Property::InvariantsLetItGoOn, told)),
        }
    }

    fn advance(
        &mut self,
        state: &mut State,
        process: usize,
        answer: Answer,
    ) -> Result<(), Violation> {
        let Migrator { machine, seen, timed_out, .. } = state.migrators[process];
        let next = self.machines.on(&self.cast, machine, answer, seen, timed_out);
        let next = next.map_err(|told| Violation::new(Property::MachineExpectsIt, told))?;
        state.migrators[process].machine = next;
        // What has ended or waits to be looked at again is started from its record.
        if self.machines.due(next) == Due::Nothing {
            state.migrators[process] = Migrator::default();
        }
        Ok(())
    }

    fn source(&self, state: &State, process: usize) -> Slot {
        state.record(self.configuration.migrators[process]).source
    }

    fn target(&self, machine: MachineId) -> Slot {
        self.machines.target(machine).expect("the machine asks only once the target is known")
    }

    fn record_of<'a>(&self, state: &'a State, process: usize) -> &'a Record {
        state.record(self.configuration.migrators[process])
    }
}

/// What an effect asks of the world: nothing that could get lost, or a call.
enum Planned {
    Answer(Answer, Migrator),
    Call(Call),
}

/// Effects to calls.
impl World {
    fn plan_call(&mut self, state: &State, process: usize) -> Planned {
        let migration = self.configuration.migrators[process];
        let migrator = state.migrators[process];
        let record = *state.record(migration);
        let source = record.source;
        let made = Some(migration);
        match self.machines.due(migrator.machine) {
            Due::Nothing => unreachable!("a machine with nothing to do was put away"),
            due @ (Due::ReadDocument
            | Due::ReadRecord
            | Due::TargetTail
            | Due::Compare { .. }
            | Due::ReadSource { .. }
            | Due::ReadBack { .. }
            | Due::Wait
            | Due::Verify { .. }
            | Due::SourceTail) => self.observe(state, process, due),
            Due::Claim => self.plan_claim(state, process),
            Due::CreateTarget => {
                let slot = self.target(migrator.machine);
                Planned::Call(Call::CreateStream { slot, maker: made })
            }
            Due::AppendTarget { next } => Planned::Call(Call::Append(Appending {
                slot: self.target(migrator.machine),
                maker: made,
                base: 0,
                expected: Some(next),
                events: migrator.page,
                is_copy: true,
            })),
            Due::Close { next, contents } => {
                let to = Some(self.target(migrator.machine));
                let closing = Closing { by: migration, to, contents, next };
                let maker = state.stream(source).maker.migration();
                Planned::Call(Call::CloseStream { slot: source, maker, closing })
            }
            Due::Reroute { close } => {
                let change = Change::Reroute { closed: source, close };
                self.plan_put(migrator, change, Answer::Rerouted)
            }
            Due::Release => {
                self.plan_put(migrator, Change::Release { migration }, Answer::Released)
            }
            Due::RecordSuccess => {
                Planned::Call(Call::Finish { migration, finish: Finish::Succeeded })
            }
            Due::RecordEnd { end } => {
                if self.is(Misreading::EndIsFinal) {
                    return Planned::Call(Call::Finish { migration, finish: Finish::Ended(end) });
                }
                let mut new = record;
                if new.seen.ended.is_none() {
                    new.seen.ended = Some(end);
                    new.target = self.machines.target(migrator.machine).or(new.target);
                }
                Planned::Call(Call::PutRecord { migration, read: record, new })
            }
            due @ (Due::RecordTarget | Due::RecordReleased) => {
                if due == Due::RecordTarget && self.is(Misreading::ClaimForgotten) {
                    let Record { seen, target, finished, .. } = record;
                    let held = Migrator { seen, ..migrator };
                    return Planned::Answer(Answer::Record { seen, target, finished }, held);
                }
                let mut new = record;
                if due == Due::RecordReleased {
                    new.seen.released = true;
                } else {
                    new.target = self.machines.target(migrator.machine).or(new.target);
                }
                Planned::Call(Call::PutRecord { migration, read: record, new })
            }
            Due::Seal { next } => {
                if self.is(Misreading::CheckThenRemove) {
                    return Planned::Answer(Answer::Sealed, migrator);
                }
                let closing =
                    Closing { by: migration, to: None, contents: Contents::NOTHING, next };
                let slot = self.target(migrator.machine);
                Planned::Call(Call::CloseStream { slot, maker: made, closing })
            }
            Due::RemoveTarget => {
                if !migrator.seen.remove_target {
                    return Planned::Answer(Answer::Removed, migrator);
                }
                Planned::Call(Call::Remove { slot: self.target(migrator.machine) })
            }
            Due::RecordFinal { end } => {
                Planned::Call(Call::Finish { migration, finish: Finish::Ended(end) })
            }
        }
    }

    fn plan_claim(&mut self, state: &State, process: usize) -> Planned {
        let migration = self.configuration.migrators[process];
        let migrator = state.migrators[process];
        if self.is(Misreading::ResumeAtCatchUp) {
            // Whoever resumes there takes the target for granted that the document would give.
            let target = 1 + migration;
            return Planned::Answer(Answer::Claimed { target }, migrator);
        }
        let read = migrator.document;
        let source = state.record(migration).source;
        let refused = |reason| Planned::Answer(Answer::Refused(reason), migrator);
        match self.change(read, Change::Claim { migration, source }) {
            Ok(new) if new == read => {
                let target = self.claimed(read);
                Planned::Answer(Answer::Claimed { target }, migrator)
            }
            Ok(new) => Planned::Call(Call::PutDocument { read, new }),
            Err(Refusal::SourceNotActive) => Planned::Answer(Answer::DocumentChanged, migrator),
            Err(Refusal::OtherRunning) => refused(Reason::MigrationAlreadyRunning),
            Err(Refusal::TargetTaken) => refused(Reason::TargetNotEmpty),
            Err(Refusal::NotListed | Refusal::NoContinuation) => refused(Reason::Internal),
        }
    }

    fn claimed(&self, document: DocumentId) -> Slot {
        let running = self.look(document).and_then(|look| look.running);
        running.expect("the claim was made in it").target
    }

    fn plan_put(&mut self, migrator: Migrator, change: Change, if_same: Answer) -> Planned {
        let read = migrator.document;
        match self.change(read, change) {
            Ok(new) if new == read => Planned::Answer(if_same, migrator),
            Ok(new) => Planned::Call(Call::PutDocument { read, new }),
            Err(_) => Planned::Answer(Answer::Refused(Reason::CorruptData), migrator),
        }
    }
}

/// Looking.
impl World {
    fn observe(&mut self, state: &State, process: usize, due: Due) -> Planned {
        let mut held = state.migrators[process];
        let source_slot = self.source(state, process);
        let source = *state.stream(source_slot);
        let source_next = source.next_from(self.base_of(state, source_slot));
        let target = self.machines.target(held.machine).map(|slot| *state.stream(slot));
        let target = target.unwrap_or_default();
        let trust = self.is(Misreading::HeadsCompared);
        let answer = match due {
            Due::ReadDocument => {
                held.document = state.document;
                if self.is(Misreading::RecordBeforeDocument) {
                    held.seen = self.record_of(state, process).seen;
                }
                self.view(state, process)
            }
            Due::ReadRecord => {
                let record = self.record_of(state, process);
                if self.is(Misreading::RecordBeforeDocument) {
                    held.document = state.document;
                } else {
                    held.seen = record.seen;
                }
                Answer::Record { seen: held.seen, target: record.target, finished: record.finished }
            }
            Due::TargetTail if target.maker == Maker::Missing => {
                Answer::Refused(Reason::CorruptData)
            }
            // Whoever sets the base early takes it for granted that it is there.
            Due::TargetTail if self.is(Misreading::BaseSetEarly) => {
                Answer::TargetTail { next: target.contents.len(), closed: target.closed }
            }
            Due::TargetTail => Answer::TargetTail { next: target.next(), closed: target.closed },
            Due::Compare { from, to } => {
                compare(self.history_to(state, source_slot), &target, from, to, trust)
            }
            Due::ReadSource { next, source: before } => {
                held.page = self.page_of_source(state, source_slot, next);
                let base = self.base_of(state, source_slot);
                if held.page.len() == 0 && next < base {
                    return Planned::Answer(Answer::Refused(Reason::CorruptData), held);
                }
                Answer::SourcePage {
                    count: held.page.len(),
                    after: before.followed_by(held.page),
                    next: source_next,
                    closed: source.closed,
                }
            }
            Due::ReadBack { next, count, target: before } => {
                let there = target.range(next, next + count);
                let there = if trust { held.page } else { there };
                if target.removed || there.len() < count {
                    Answer::Refused(Reason::CorruptData)
                } else {
                    Answer::ReadBack { after: before.followed_by(there) }
                }
            }
            Due::Verify { at } => self.verify(state, process, at, &mut held),
            Due::SourceTail => Answer::SourceTail { next: source_next, closed: source.closed },
            // Everything else is a call.
            _ => Answer::Waited,
        };
        let reads_removed = matches!(due, Due::Compare { .. } | Due::ReadSource { .. });
        if reads_removed && source.removed {
            return Planned::Answer(Answer::Refused(Reason::CorruptData), held);
        }
        Planned::Answer(answer, held)
    }

    /// A page ends with the stream that holds it.
    fn page_of_source(&self, state: &State, source: Slot, next: u8) -> Contents {
        let look = self.look(state.document);
        let place = look.and_then(|look| Some((look, look.place_of(source)?)));
        let holder = place.map_or(source, |(look, place)| look.holder(place, next));
        let stream = state.stream(holder);
        if stream.removed { Contents::NOTHING } else { stream.range(next, next + PAGE) }
    }

    fn view(&self, state: &State, process: usize) -> Answer {
        let migration = self.configuration.migrators[process];
        let source = self.source(state, process);
        let Some(look) = self.look(state.document) else { return Answer::UnknownDocument };
        if look.active() == source {
            let mine = look.running.filter(|running| running.migration == migration);
            return Answer::Active { claimed: mine.map(|running| running.target) };
        }
        match look.terminated(source) {
            Some((by, to)) => Answer::Terminated { by, to },
            None => Answer::UnknownDocument,
        }
    }

    fn verify(&self, state: &State, process: usize, at: Pair, held: &mut Migrator) -> Answer {
        let migration = self.configuration.migrators[process];
        let source_slot = self.source(state, process);
        let source = state.stream(source_slot);
        let failed = Answer::Refused(Reason::VerificationFailed);
        let Some(close) = source.closed else { return failed };
        held.document = state.document;
        let view = self.view(state, process);
        let Answer::Terminated { by, to } = view else { return failed };
        let active = self.look(state.document).map(|look| look.active());
        if by != migration || (self.is(Misreading::DoneNeedsActive) && active != Some(to)) {
            return failed;
        }
        let target = self.machines.target(held.machine).map(|slot| *state.stream(slot));
        let target = target.unwrap_or_default();
        if self.cast.continues(migration) {
            let goes_on = target.base.is_none_or(|base| base == close.next);
            let is_ours = target.maker == Maker::Migration(migration);
            return if goes_on && is_ours { Answer::Verified } else { failed };
        }
        let compared = if at.next == close.next {
            Answer::Compared(Some(at))
        } else {
            let nothing = Pair { next: 0, source: Contents::NOTHING, target: Contents::NOTHING };
            if source.removed {
                return Answer::Refused(Reason::CorruptData);
            }
            compare(self.history_to(state, source_slot), &target, nothing, close.next, false)
        };
        match compared {
            Answer::Compared(Some(pair))
                if pair.source == pair.target && pair.source == close.contents =>
            {
                Answer::Verified
            }
            _ => failed,
        }
    }
}

fn compare(
    source: Contents,
    target: &super::state::Stream,
    from: Pair,
    to: u8,
    trust: bool,
) -> Answer {
    if target.removed {
        return Answer::Refused(Reason::CorruptData);
    }
    if source.len() < to || target.next() < to {
        return Answer::Compared(None);
    }
    let source = from.source.followed_by(source.range(from.next, to));
    let target = from.target.followed_by(target.range(from.next, to));
    let target = if trust { source } else { target };
    Answer::Compared(Some(Pair { next: to, source, target }))
}

/// Replies to outcomes.
impl World {
    fn understand(&mut self, state: &mut State, process: usize, reply: Reply) -> Answer {
        let migration = self.configuration.migrators[process];
        let record = *state.record(migration);
        let migrator = &mut state.migrators[process];
        let due = self.machines.due(migrator.machine);
        let conflict = reply == Reply::Conflict;
        match due {
            Due::Claim | Due::Reroute { .. } | Due::Release if conflict => Answer::DocumentChanged,
            Due::Claim => Answer::Claimed { target: self.claimed(state.document) },
            Due::Reroute { .. } => Answer::Rerouted,
            Due::Release => Answer::Released,
            Due::CreateTarget => match reply {
                Reply::Exists => Answer::Refused(Reason::TargetNotEmpty),
                _ => Answer::Created,
            },
            Due::AppendTarget { next } => match reply {
                Reply::Appended { first } if first == next => Answer::Appended,
                Reply::Appended { .. } if self.is(Misreading::CopyUnconditional) => {
                    Answer::Appended
                }
                Reply::Missing => Answer::Refused(Reason::CorruptData),
                Reply::WrongMaker => Answer::Refused(Reason::TargetNotEmpty),
                _ => Answer::TargetMoved,
            },
            Due::Close { .. } => close_answer(reply),
            Due::Seal { .. } => match close_answer(reply) {
                Answer::Closed(Closing { to: None, .. }) => Answer::Sealed,
                Answer::Closed(closing) => Answer::HeadMoved { next: closing.next },
                answer => answer,
            },
            Due::RecordEnd { .. } | Due::RecordTarget | Due::RecordReleased => {
                migrator.seen = record.seen;
                let Record { seen, target, finished, .. } = record;
                Answer::Record { seen, target, finished }
            }
            Due::RemoveTarget if reply == Reply::NotClosed => Answer::Refused(Reason::Internal),
            Due::RemoveTarget => Answer::Removed,
            _ => Answer::Recorded,
        }
    }

    /// A cancelled copy is thrown away without a look at what could still point to it.
    fn misread_settling(&mut self, state: &State, process: usize) -> Option<State> {
        let machine = state.migrators[process].machine;
        let seals = self.is(Misreading::SealContinueTarget);
        if !(seals || self.is(Misreading::RemoveAtOnce)) || !self.machines.settles(machine) {
            return None;
        }
        let migration = self.configuration.migrators[process];
        let source = state.record(migration).source;
        let by_this = state.stream(source).closed.is_some_and(|close| close.by == migration);
        let mut after = *state;
        match self.machines.target(machine) {
            // As if it were a copy: its head is before that of the source.
            Some(_) if seals && by_this => return None,
            Some(slot) if seals => {
                let (to, contents, next) = (None, Contents::NOTHING, 0);
                let closing = Closing { by: migration, to, contents, next };
                let maker = Some(migration);
                self.execute(&mut after, Call::CreateStream { slot, maker });
                self.execute(&mut after, Call::CloseStream { slot, maker, closing });
            }
            Some(slot) => {
                self.execute(&mut after, Call::Remove { slot });
            }
            None => {}
        }
        let end = state.record(migration).seen.ended?;
        self.execute(&mut after, Call::Finish { migration, finish: Finish::Ended(end) });
        after.migrators[process] = Migrator::default();
        Some(after)
    }
}

fn close_answer(reply: Reply) -> Answer {
    match reply {
        Reply::Closed(closing) => Answer::Closed(closing),
        Reply::WrongVersion { next } => Answer::HeadMoved { next },
        Reply::WrongMaker | Reply::Exists => Answer::Refused(Reason::TargetNotEmpty),
        _ => Answer::Refused(Reason::CorruptData),
    }
}
