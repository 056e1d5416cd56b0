//! A small question to whatever an effect calls, asked beside it while it has no answer: one that
//! is slow answers this, one that cannot be reached does not.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join, join_all};

use super::Performer;
use super::trouble::Trouble;
use crate::domain::{MigrationId, StoreName, StreamAddress, Version};
use crate::migration::Journal;
use crate::migration::machine::Machine;
use crate::migration::steps::Effect;
use crate::runtime::Clock;
use crate::store::EventStore;

/// When each store, and that of the documents, last answered any migration of this process. A
/// store that answers one of them is reached, though others wait in a queue.
#[derive(Default)]
pub struct Answers(Mutex<HashMap<Option<StoreName>, Duration>>);

/// What one effect calls.
pub struct Probe {
    clock: Arc<dyn Clock>,
    answers: Arc<Answers>,
    streams: Vec<Stream>,
    record: Option<(Journal, MigrationId)>,
}

struct Stream {
    store: Arc<dyn EventStore>,
    address: StreamAddress,
    /// The outcome of the effect tells whether it answered.
    is_told: bool,
}

/// The parts of the world of which an effect may need an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The stream that holds this version of the history, and the source.
    History(Version),
    /// The same, ahead of its turn.
    Ahead(Version),
    Source,
    Target,
    Documents,
}

impl Probe {
    /// Whether the effect calls no store at all.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.record.is_none()
    }

    /// Asks everything at once; whether all of it answered, whatever it said.
    ///
    /// Cancellation: it changes nothing.
    pub async fn is_answered(&self) -> bool {
        let tails = self.streams.iter().map(async |stream| {
            let answer = stream.store.tail(&stream.address.stream_id).await;
            let is_answer = answer.err().is_none_or(|error| is_answer(error.into()));
            if is_answer {
                self.note(Some(&stream.address.store));
            }
            is_answer
        });
        let record = async {
            let Some((journal, migration)) = &self.record else { return true };
            let answer = journal.get(*migration).await;
            let is_answer = answer.err().is_none_or(|error| is_answer(error.into()));
            if is_answer {
                self.note(None);
            }
            is_answer
        };
        let (tails, record) = join(join_all(tails), record).await;
        record && tails.into_iter().all(|answered| answered)
    }

    /// The effect was answered by all whom it asks.
    pub fn note_answered(&self) {
        for stream in self.streams.iter().filter(|stream| stream.is_told) {
            self.note(Some(&stream.address.store));
        }
        if self.record.is_some() {
            self.note(None);
        }
    }

    /// Until when all whom the effect asks have answered somebody here, on the clock that never
    /// goes back.
    pub fn last_answered(&self) -> Duration {
        let answers = self.answers.0.lock().expect("no holder panics");
        let last = |who: &Option<StoreName>| answers.get(who).copied().unwrap_or_default();
        let streams = self.streams.iter().map(|stream| last(&Some(stream.address.store.clone())));
        let documents = self.record.iter().map(|_| last(&None));
        streams.chain(documents).min().unwrap_or_default()
    }

    fn note(&self, who: Option<&StoreName>) {
        let now = self.clock.monotonic();
        self.answers.0.lock().expect("no holder panics").insert(who.cloned(), now);
    }
}

/// Says who is asked, for people.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stores: Vec<_> = self.streams.iter().map(|stream| &stream.address.store).collect();
        stores.sort();
        stores.dedup();
        let stores = stores.into_iter().map(|store| format!("store {store}"));
        let documents = self.record.iter().map(|_| "the store of the documents".to_owned());
        let asked: Vec<String> = stores.chain(documents).collect();
        f.write_str(&asked.join(" or "))
    }
}

fn is_answer(trouble: Trouble) -> bool {
    match trouble {
        Trouble::Refused(_) | Trouble::Later => true,
        Trouble::Unanswered(_) => false,
    }
}

impl Performer {
    /// Asks what this effect asks.
    pub fn probe(&self, machine: &Machine, effect: &Effect) -> Probe {
        let mut probe = Probe {
            clock: Arc::clone(&self.world.runtime.clock),
            answers: Arc::clone(&self.world.answers),
            streams: Vec::new(),
            record: None,
        };
        for asked in asked_by(effect) {
            let streams = match asked {
                Asked::Documents => {
                    let migration = self.record().migration;
                    probe.record = Some((self.world.journal.clone(), migration));
                    continue;
                }
                Asked::Source => vec![self.record().source.address.clone()],
                Asked::Target => machine.target().cloned().into_iter().collect(),
                Asked::History(version) | Asked::Ahead(version) => {
                    let holder = self.source_of(version).ok().map(|stream| stream.address);
                    let source = self.record().source.address.clone();
                    let older = holder.filter(|holder| *holder != source);
                    older.into_iter().chain([source]).collect()
                }
            };
            let is_told = !matches!(asked, Asked::Ahead(_));
            for address in streams {
                // One that is not configured here is told by the effect itself.
                if let Ok(store) = self.store(&address) {
                    probe.streams.push(Stream { store, address, is_told });
                }
            }
        }
        probe
    }
}

fn asked_by(effect: &Effect) -> Vec<Asked> {
    match effect {
        Effect::ReadDocument
        | Effect::ReadRecord
        | Effect::ClaimDocument
        | Effect::Reroute { .. }
        | Effect::RecordSuccess
        | Effect::RecordEnd { .. }
        | Effect::RecordTarget
        | Effect::ReleaseDocument
        | Effect::RecordReleased
        | Effect::RecordFinal { .. } => vec![Asked::Documents],
        Effect::CreateTarget
        | Effect::ReadTargetTail
        | Effect::ReadBack { .. }
        | Effect::SealTarget { .. }
        | Effect::RemoveTarget => vec![Asked::Target],
        Effect::Compare { from, .. } => vec![Asked::History(from.next), Asked::Target],
        Effect::ReadSource { at } => vec![Asked::History(at.next)],
        // The next page is read meanwhile.
        Effect::AppendTarget { at, count } => {
            vec![Asked::Ahead(at.next.plus(*count)), Asked::Target]
        }
        Effect::CloseSource { .. } | Effect::ReadSourceTail => vec![Asked::Source],
        Effect::Verify { .. } => vec![Asked::Source, Asked::Target, Asked::Documents],
        Effect::Wait | Effect::Rest | Effect::PauseSource | Effect::ResumeSource => Vec::new(),
    }
}
