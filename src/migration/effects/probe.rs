//! A small question to whatever an effect calls, asked beside it while it has no answer: one that
//! is slow answers this, one that cannot be reached does not.

use std::fmt;
use std::sync::Arc;

use futures::future::{join, join_all};

use super::Performer;
use super::trouble::Trouble;
use crate::domain::{MigrationId, StreamAddress, Version};
use crate::migration::Journal;
use crate::migration::machine::Machine;
use crate::migration::steps::Effect;
use crate::store::EventStore;

/// What one effect calls.
#[derive(Default)]
pub struct Probe {
    streams: Vec<(Arc<dyn EventStore>, StreamAddress)>,
    record: Option<(Journal, MigrationId)>,
}

/// The parts of the world of which an effect may need an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The stream that holds this version of the history, and the source.
    History(Version),
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
        let tails = self.streams.iter().map(async |(store, stream)| {
            let answer = store.tail(&stream.stream_id).await;
            answer.err().is_none_or(|error| is_answer(error.into()))
        });
        let record = async {
            let Some((journal, migration)) = &self.record else { return true };
            let answer = journal.get(*migration).await;
            answer.err().is_none_or(|error| is_answer(error.into()))
        };
        let (tails, record) = join(join_all(tails), record).await;
        record && tails.into_iter().all(|answered| answered)
    }
}

/// Says who is asked, for people.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stores: Vec<_> = self.streams.iter().map(|(_, stream)| &stream.store).collect();
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
        let mut probe = Probe::default();
        for asked in asked_by(effect) {
            let streams = match asked {
                Asked::Documents => {
                    let migration = self.record().migration;
                    probe.record = Some((self.world.journal.clone(), migration));
                    continue;
                }
                Asked::Source => vec![self.record().source.address.clone()],
                Asked::Target => machine.target().cloned().into_iter().collect(),
                Asked::History(version) => {
                    let holder = self.source_of(version).ok().map(|stream| stream.address);
                    let source = self.record().source.address.clone();
                    let older = holder.filter(|holder| *holder != source);
                    older.into_iter().chain([source]).collect()
                }
            };
            for stream in streams {
                // One that is not configured here is told by the effect itself.
                if let Ok(store) = self.store(&stream) {
                    probe.streams.push((store, stream));
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
            vec![Asked::History(at.next.plus(*count)), Asked::Target]
        }
        Effect::CloseSource { .. } | Effect::ReadSourceTail => vec![Asked::Source],
        Effect::Verify { .. } => vec![Asked::Source, Asked::Target, Asked::Documents],
        Effect::Wait | Effect::Rest | Effect::PauseSource | Effect::ResumeSource => Vec::new(),
    }
}
