//! A client that reads the whole history, and its proxy, in the way of `proxy::read`: over any
//! stale route, through closes and removed streams.

use super::calls::Reply;
use super::cast::Slot;
use super::documents::DocumentId;
use super::properties::{Property, Violation};
use super::state::{Reader, ReaderStep, State};
use super::world::{Actor, Fate, Label, Successor, World};
use super::writer::Followed;

/// Events that one call reads.
const PAGE: u8 = 2;

impl World {
    pub(crate) fn reader_steps(&mut self, state: &State, out: &mut Vec<Successor>) {
        let actor = Actor::Reader;
        let reader = state.reader;
        let mut done = |fate: Fate, after: Result<State, Violation>| {
            out.push(Successor { label: Label { actor, fate }, after });
        };
        match reader.step {
            ReaderStep::Done => {}
            ReaderStep::Ready => {
                if self.look(state.document).is_none() {
                    return;
                }
                let newest = self.newest(state);
                for route in 0..=newest {
                    let mut after = *state;
                    let at_least = state.told.acknowledged.iter().copied().max().unwrap_or(0);
                    let step = ReaderStep::Reading;
                    after.reader = Reader { step, route, at_least, ..Reader::default() };
                    done(Fate::Over(route), Ok(after));
                }
            }
            ReaderStep::Reading => done(Fate::Done, self.read_page(state)),
            ReaderStep::Following { closed } => {
                done(
                    Fate::Done,
                    self.follow(state, closed).map(|followed| {
                        let mut after = *state;
                        match followed {
                            Followed::Past { route } => {
                                after.reader.route = route;
                                after.reader.step = ReaderStep::Reading;
                            }
                            Followed::Write => {
                                after.reader.document = state.document;
                                after.reader.step = ReaderStep::Repairing { closed };
                            }
                        }
                        after
                    }),
                );
            }
            ReaderStep::Repairing { closed } => {
                let call = self.repair(state, reader.document, closed);
                let answered = |world: &mut Self, after: &mut State, reply| {
                    after.reader.document = DocumentId::NONE;
                    after.reader.step = ReaderStep::Following { closed };
                    if reply == Reply::Done {
                        after.reader.route = world.newest(after);
                        after.reader.step = ReaderStep::Reading;
                    }
                    Ok(())
                };
                let unanswered = |_: &mut Self, after: &mut State| {
                    after.reader.document = DocumentId::NONE;
                    after.reader.step = ReaderStep::Following { closed };
                };
                self.fates(state, actor, call, answered, unanswered, out);
            }
            ReaderStep::Reloading => {
                let mut after = *state;
                after.reader.route = self.newest(state);
                after.reader.step = ReaderStep::Reading;
                let next = reader.seen.len();
                let removed = self.slot_over(state, reader.route, next);
                done(
                    Fate::Done,
                    if self.slot_over(state, after.reader.route, next) == removed {
                        let told =
                            format!("stream {removed} is removed and still holds the history");
                        Err(Violation::new(Property::ReadersMissNothing, told))
                    } else {
                        Ok(after)
                    },
                );
            }
        }
    }

    /// Each version is read from the newest stream that the route knows and that reaches it.
    fn slot_over(&self, state: &State, route: u8, version: u8) -> Slot {
        self.look(state.document).map_or(0, |look| look.holder(route, version))
    }

    fn read_page(&mut self, state: &State) -> Result<State, Violation> {
        let mut after = *state;
        let next = state.reader.seen.len();
        let slot = self.slot_over(state, state.reader.route, next);
        let stream = state.stream(slot);
        let reader = &mut after.reader;
        if stream.removed {
            reader.step = ReaderStep::Reloading;
            return Ok(after);
        }
        let page = stream.range(next, next + PAGE);
        reader.seen = reader.seen.followed_by(page);
        let ends = next + PAGE >= stream.next();
        match stream.closed {
            None if ends => reader.step = ReaderStep::Done,
            Some(_) if page.len() == 0 => reader.step = ReaderStep::Following { closed: slot },
            None | Some(_) => {}
        }
        self.check_reader(&after).map(|()| after)
    }
}
