//! Those who ask for migrations, cancel them, delete what is terminated, and a stranger who writes
//! to streams that are not his.

use super::calls::{Appending, Call, Reply};
use super::cast::Contents;
use super::configurations::Misreading;
use super::state::{Finish, Maker, State};
use super::world::{Actor, Fate, Label, Successor, World};

/// The stranger's event.
pub(crate) const FOREIGN: u8 = 7;

impl World {
    pub(crate) fn operator_steps(&mut self, state: &State, out: &mut Vec<Successor>) {
        for (index, asked) in self.configuration.migrations.iter().enumerate() {
            let migration = index as u8;
            let record = state.record(migration);
            if !record.written {
                self.ask_for(state, migration, out);
            } else if asked.cancel && !record.seen.cancelled && record.finished.is_none() {
                let mut after = *state;
                after.record_mut(migration).seen.cancelled = true;
                let label = Label { actor: Actor::Canceller(migration), fate: Fate::Done };
                out.push(Successor { label, after: Ok(after) });
            }
        }
        if self.configuration.deleter {
            self.delete(state, out);
        }
        if self.configuration.foreigner && !state.foreigner_wrote {
            self.write_as_foreigner(state, out);
        }
    }

    /// The source is what the document named when the operator's proxy read it, however long ago.
    fn ask_for(&mut self, state: &State, migration: u8, out: &mut Vec<Successor>) {
        let Some(look) = self.look(state.document).copied() else { return };
        for route in 0..=look.closed {
            let (source, _) = look.stream(route);
            let mut after = *state;
            after.record_mut(migration).written = true;
            after.record_mut(migration).source = source;
            let label = Label { actor: Actor::Asker(migration, source), fate: Fate::Done };
            out.push(Successor { label, after: Ok(after) });
        }
    }

    /// A terminated stream of which newer ones hold every version, once the migrations that closed
    /// it and that made those have been verified.
    fn delete(&mut self, state: &State, out: &mut Vec<Successor>) {
        let Some(look) = self.look(state.document).copied() else { return };
        for route in 0..look.closed {
            let (slot, _) = look.stream(route);
            let Some((by, _)) = look.terminated(slot) else { continue };
            let succeeded = |by| state.record(by).finished == Some(Finish::Succeeded);
            let holder = (route + 1..=look.closed).find(|it| look.base(*it) <= look.base(route));
            let holder = holder.and_then(|it| look.stream(it).1);
            let held = holder.is_some_and(succeeded) || self.is(Misreading::DeleteContinued);
            let verified = succeeded(by) && held;
            let stream = state.stream(slot);
            let there = !stream.removed && stream.closed.is_some();
            if verified && there {
                let actor = Actor::Deleter(slot);
                self.fates(state, actor, Call::Remove { slot }, |_, _, _| Ok(()), |_, _| {}, out);
            }
        }
    }

    fn write_as_foreigner(&mut self, state: &State, out: &mut Vec<Successor>) {
        let mut events = Contents::NOTHING;
        events.push(FOREIGN);
        for slot in 1..state.streams.len() as u8 {
            let stream = state.stream(slot);
            if stream.maker == Maker::Missing || stream.closed.is_some() {
                continue;
            }
            let (maker, expected, base) = (None, None, self.base_of(state, slot));
            let append = Appending { slot, maker, base, expected, events, is_copy: false };
            let mut after = *state;
            let reply = self.execute(&mut after, Call::Append(append));
            after.foreigner_wrote = true;
            debug_assert!(reply != Reply::Done);
            let label = Label { actor: Actor::Foreigner, fate: Fate::Over(slot) };
            out.push(Successor { label, after: Ok(after) });
        }
    }
}
