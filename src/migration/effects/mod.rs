//! What the effects of the machine do to the world, each as one call whose repetition does no
//! harm. What an effect leaves for the next (the document as it was read, the page that is being
//! copied) is held here and nowhere else.
//!
//! Reading order: this file (which effect is which call, and waiting), [`documents`], [`history`]
//! (reading), [`ahead`], [`streams`], [`proof`], [`probe`], [`trouble`].

mod ahead;
mod documents;
mod history;
mod probe;
mod proof;
mod streams;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use self::ahead::Ahead;
use self::history::SourcePage;
pub use self::probe::{Answers, Probe};
use self::trouble::{Trouble, bug, refused};
use super::journal::{Journal, StoredRecord};
use super::machine::Machine;
use super::record::{Certificate, MigrationRecord};
use super::steps::{Effect, Outcome};
use super::throttle::Throttle;
use crate::documents::{ObjectDocuments, StoredObject};
use crate::domain::reason::Reason;
use crate::domain::{Head, StreamAddress, StreamRef, Version};
use crate::lock::{Hints, Pauses};
use crate::runtime::Runtime;
use crate::store::{EventStore, Stores};

/// The parts of the world that a migration touches.
#[derive(Clone)]
pub struct World {
    pub runtime: Runtime,
    pub stores: Stores,
    pub objects: ObjectDocuments,
    pub journal: Journal,
    pub pauses: Arc<dyn Pauses>,
    pub hints: Arc<dyn Hints>,
    /// Who answered lately; shared by all migrations of the process.
    pub answers: Arc<Answers>,
}

/// Performs the effects of one migration.
pub struct Performer {
    world: World,
    pub stored: StoredRecord,
    /// The fencing token of this run, once it has taken the migration over.
    token: Option<u64>,
    document: Option<StoredObject>,
    page: SourcePage,
    /// The page that follows it.
    ahead: Option<Ahead>,
    throttle: Throttle,
    /// What the last effect waited for the sake of others.
    waited: Duration,
    /// Why the last effect has no answer, if nobody gave one.
    unanswered: Option<String>,
    /// Until when appends are held back, on the monotonic clock.
    held_until: Option<Duration>,
    certificate: Option<Certificate>,
    /// The head at which the source was seen closed by this migration.
    closed_at: Option<Head>,
    /// The final record was written from here.
    finished_here: bool,
}

type Performed = Result<Outcome, Trouble>;

impl Performer {
    pub fn new(world: World, stored: StoredRecord) -> Self {
        let throttle = Throttle::new(&stored.record.options);
        Self {
            world,
            stored,
            token: None,
            document: None,
            page: SourcePage::none(),
            ahead: None,
            throttle,
            waited: Duration::ZERO,
            unanswered: None,
            held_until: None,
            certificate: None,
            closed_at: None,
            finished_here: false,
        }
    }

    pub fn record(&self) -> &MigrationRecord {
        &self.stored.record
    }

    /// From now on the record is changed only while its token is the one that it has now.
    pub fn hold_token(&mut self) {
        self.token = Some(self.stored.record.token);
    }

    /// Whether another run has raised the token in the record since.
    pub fn is_overtaken(&self) -> bool {
        self.token.is_some_and(|token| token < self.stored.record.token)
    }

    /// Whether appends are still held back by this migration.
    pub fn holds_source(&self) -> bool {
        self.held_until.is_some_and(|until| self.world.runtime.clock.monotonic() < until)
    }

    /// How long the last effect waited because it was told to be slow.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Why the last effect has no answer; none if somebody answered, be it with "later".
    pub fn take_unanswered(&mut self) -> Option<String> {
        self.unanswered.take()
    }

    /// Bytes of the page that was appended last.
    pub fn page_bytes(&self) -> u64 {
        self.page.events.iter().map(|event| event.size() as u64).sum()
    }

    pub async fn perform(&mut self, machine: &Machine, effect: &Effect) -> Outcome {
        let performed = match effect {
            Effect::ReadDocument => self.read_document(machine).await,
            Effect::ReadRecord => self.read_record().await,
            Effect::ClaimDocument => self.claim_document().await,
            Effect::CreateTarget => self.create_target(machine).await,
            Effect::ReadTargetTail => self.read_target_tail(machine).await,
            Effect::Compare { from, to } => self.compare(machine, *from, *to).await,
            Effect::ReadSource { at } => self.read_source(machine, *at).await,
            Effect::AppendTarget { at, .. } => self.append_target(machine, *at).await,
            Effect::ReadBack { at, count } => self.read_back(machine, *at, *count).await,
            Effect::Wait => {
                self.world.runtime.clock.sleep(self.record().options.catch_up_delay).await;
                Ok(Outcome::Waited)
            }
            Effect::Rest => self.rest().await,
            Effect::PauseSource => Ok(self.pause_source().await),
            Effect::ResumeSource => Ok(self.resume_source().await),
            Effect::CloseSource { head, checksum } => {
                self.close_source(machine, *head, *checksum).await
            }
            Effect::Reroute { close } => self.reroute(close).await,
            Effect::Verify { at } => self.verify(machine, *at).await,
            Effect::ReadSourceTail => self.read_source_tail().await,
            Effect::RecordSuccess => self.record_success(machine).await,
            Effect::RecordEnd { phase, failure } => {
                self.record_end(machine, *phase, failure.clone()).await
            }
            Effect::RecordTarget => self.record_target(machine).await,
            Effect::ReleaseDocument => self.release_document().await,
            Effect::RecordReleased => self.record_released().await,
            Effect::SealTarget { head } => self.seal_target(machine, *head).await,
            Effect::RemoveTarget => self.remove_target(machine).await,
            Effect::RecordFinal { phase } => self.record_final(*phase).await,
        };
        match performed {
            Ok(outcome) => outcome,
            Err(Trouble::Refused(failure)) => Outcome::Refused(failure),
            Err(Trouble::Later) => Outcome::Lost,
            Err(Trouble::Unanswered(why)) => {
                self.unanswered = Some(why);
                Outcome::Lost
            }
        }
    }

    fn store(&self, address: &StreamAddress) -> Result<Arc<dyn EventStore>, Trouble> {
        let found = self.world.stores.get(&address.store);
        found.cloned().map_err(|unknown| refused(Reason::StoreNotFound, unknown.to_string()))
    }

    fn source(&self) -> Result<(Arc<dyn EventStore>, StreamRef), Trouble> {
        let source = self.record().source.clone();
        Ok((self.store(&source.address)?, source))
    }

    fn target(&self, machine: &Machine) -> Result<(Arc<dyn EventStore>, StreamAddress), Trouble> {
        let target = machine.target().cloned();
        let target = target.ok_or_else(|| bug("the target is not handed out yet"))?;
        Ok((self.store(&target)?, target))
    }

    /// The first version of a copy.
    fn base(machine: &Machine) -> Version {
        machine.plan().target_base.unwrap_or(Version::FIRST)
    }
}

/// Waiting, and holding appends.
impl Performer {
    /// Leaves the stores to others for a while.
    async fn wait(&mut self, wait: Duration) {
        self.world.runtime.clock.sleep(wait).await;
        self.waited += wait;
    }

    async fn rest(&mut self) -> Performed {
        let interval = Duration::from_millis(500);
        self.world.runtime.clock.sleep(interval).await;
        self.refresh().await?;
        let orders = self.record().orders;
        Ok(if orders.paused && !orders.cancelled { Outcome::Lost } else { Outcome::Rested })
    }

    async fn pause_source(&mut self) -> Outcome {
        let length = self.record().options.pause_source_max;
        // What is left goes as one page, and not behind the one that was read ahead of it.
        self.ahead = None;
        // Order: noted first, so that a pause is ended also by whoever stops waiting for it.
        self.held_until = Some(self.world.runtime.clock.monotonic() + length);
        let granted = self.world.pauses.pause(&self.record().object, length).await.is_ok();
        if !granted {
            self.held_until = None;
        }
        Outcome::SourcePaused { granted }
    }

    /// Lets held appends go; a lost call is made up for by the pause's own expiry.
    pub async fn resume_source(&mut self) -> Outcome {
        if self.held_until.take().is_some() {
            // Failing to say so only costs the rest of the pause.
            let _ = self.world.pauses.resume(&self.record().object).await;
        }
        Outcome::SourceResumed
    }
}
