//! What the effects of the machine do to the world, each as one call whose repetition does no
//! harm. What an effect leaves for the next (the document as it was read, the page that is being
//! copied) is held here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use super::journal::{Journal, StoredRecord};
use super::machine::Machine;
use super::record::{Certificate, Failure, MigrationRecord};
use super::steps::{Copied, DocumentView, Effect, Outcome, RecordView};
use super::throttle::Throttle;
use super::{MigrationError, Phase};
use crate::documents::{DocumentError, ObjectDocuments, StoredObject};
use crate::domain::object_document::{IllegalChange, MigrationClaim};
use crate::domain::reason::Reason;
use crate::domain::{
    Checksum, CloseEvent, Continuation, Event, ExpectedVersion, Head, StreamAddress, StreamHeader,
    StreamRef, Version,
};
use crate::lock::Pauses;
use crate::runtime::Runtime;
use crate::store::{Append, Close, EventStore, Page, ReadRange, StoreError, Stores};

/// The parts of the world that a migration touches.
#[derive(Clone)]
pub struct World {
    pub runtime: Runtime,
    pub stores: Stores,
    pub objects: ObjectDocuments,
    pub journal: Journal,
    pub pauses: Arc<dyn Pauses>,
}

/// Performs the effects of one migration.
pub struct Performer {
    world: World,
    pub stored: StoredRecord,
    document: Option<StoredObject>,
    page: Vec<Event>,
    throttle: Throttle,
    /// Until when appends are held back, on the monotonic clock.
    held_until: Option<Duration>,
    certificate: Option<Certificate>,
    /// The final record was written from here.
    finished_here: bool,
}

type Performed = Result<Outcome, Failure>;

impl Performer {
    pub fn new(world: World, stored: StoredRecord) -> Self {
        let throttle = Throttle::new(&stored.record.options);
        Self {
            world,
            stored,
            document: None,
            page: Vec::new(),
            throttle,
            held_until: None,
            certificate: None,
            finished_here: false,
        }
    }

    pub fn record(&self) -> &MigrationRecord {
        &self.stored.record
    }

    /// Whether appends are still held back by this migration.
    pub fn holds_source(&self) -> bool {
        self.held_until.is_some_and(|until| self.world.runtime.clock.monotonic() < until)
    }

    /// Bytes of the page that was appended last.
    pub fn page_bytes(&self) -> u64 {
        self.page.iter().map(|event| event.size() as u64).sum()
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
        performed.unwrap_or_else(Outcome::Refused)
    }

    fn store(&self, address: &StreamAddress) -> Result<Arc<dyn EventStore>, Failure> {
        let found = self.world.stores.get(&address.store);
        found.cloned().map_err(|unknown| failed(Reason::StoreNotFound, unknown.to_string()))
    }

    fn source(&self) -> Result<(Arc<dyn EventStore>, StreamRef), Failure> {
        let source = self.record().source.clone();
        Ok((self.store(&source.address)?, source))
    }

    fn target(&self, machine: &Machine) -> Result<(Arc<dyn EventStore>, StreamAddress), Failure> {
        let target = machine.target().cloned();
        let target = target.ok_or_else(|| bug("the target is not handed out yet"))?;
        Ok((self.store(&target)?, target))
    }

    fn base(machine: &Machine) -> Version {
        machine.plan().target_base
    }
}

/// Documents and records.
impl Performer {
    async fn read_document(&mut self, machine: &Machine) -> Performed {
        let found = match self.world.objects.get(&self.record().object).await {
            Ok(found) => found,
            Err(error) => return document_trouble(error),
        };
        let view = match &found {
            None => DocumentView::Unknown,
            Some(stored) => self.view_of(machine, stored),
        };
        self.document = found;
        Ok(Outcome::Document(view))
    }

    fn view_of(&self, machine: &Machine, stored: &StoredObject) -> DocumentView {
        let document = &stored.document;
        let source = &self.record().source.address;
        if document.active.address == *source {
            let running = document.running_migration.as_ref();
            let mine = running.filter(|running| running.migration == machine.plan().migration);
            return DocumentView::Active { claimed: mine.map(|running| running.target.clone()) };
        }
        let chain: Vec<_> = document.chain().collect();
        let place = chain.iter().position(|stream| stream.address == *source);
        match (place, document.terminated(source)) {
            (Some(place), Some(terminated)) => DocumentView::Terminated {
                closed_by: terminated.closed_by,
                continuation: chain[place + 1].address.clone(),
            },
            _ => DocumentView::Unknown,
        }
    }

    async fn read_record(&mut self) -> Performed {
        match self.refresh().await {
            Ok(()) => Ok(Outcome::Record(self.record_view())),
            Err(error) => document_trouble(error),
        }
    }

    pub fn record_view(&self) -> RecordView {
        let record = self.record();
        RecordView {
            ended: record.phase.has_ended().then_some(record.phase),
            is_final: self.stored.finished || record.is_final(),
            released: record.released,
            target: record.target.clone(),
            orders: record.orders,
        }
    }

    /// Reads the record again, for orders that came in the meantime.
    pub async fn refresh(&mut self) -> Result<(), DocumentError> {
        if let Some(found) = self.world.journal.get(self.record().migration).await? {
            self.stored = found;
        }
        Ok(())
    }

    /// Changes the record by compare-and-set, keeping what others wrote to it in between.
    pub async fn change_record(
        &mut self,
        change: impl Fn(&mut MigrationRecord),
    ) -> Result<(), DocumentError> {
        loop {
            let mut record = self.stored.record.clone();
            change(&mut record);
            record.updated_at = self.world.runtime.clock.now();
            if self.stored.finished {
                return Ok(());
            }
            match self.world.journal.update(&record, &self.stored.etag).await {
                Ok(etag) => {
                    self.stored = StoredRecord { record, etag, finished: false };
                    return Ok(());
                }
                Err(DocumentError::Conflict) => {
                    let before = self.stored.etag.clone();
                    self.refresh().await?;
                    if self.stored.etag == before && !self.stored.finished {
                        return Err(DocumentError::Conflict);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn claim_document(&mut self) -> Performed {
        let Some(read) = &self.document else { return Ok(Outcome::DocumentChanged) };
        let record = &self.stored.record;
        let claim = MigrationClaim {
            migration: record.migration,
            kind: record.kind,
            source: record.source.address.clone(),
            target_store: record.target_store.clone(),
            target_stream_id: record.target_stream_id.clone(),
            target_base: record.target_base,
        };
        let mut document = read.document.clone();
        let target = match document.claim(&claim) {
            Ok(running) => running.target,
            Err(IllegalChange::SourceNotActive { .. }) => return Ok(Outcome::DocumentChanged),
            Err(illegal @ IllegalChange::OtherMigrationRunning { .. }) => {
                return Err(failed(Reason::MigrationAlreadyRunning, illegal.to_string()));
            }
            Err(illegal @ IllegalChange::TargetTaken { .. }) => {
                return Err(failed(Reason::TargetNotEmpty, illegal.to_string()));
            }
            Err(
                illegal @ (IllegalChange::NotTerminated { .. } | IllegalChange::NoContinuation),
            ) => return Err(bug(&illegal.to_string())),
        };
        if document.revision == read.document.revision {
            return Ok(Outcome::Claimed { target });
        }
        match self.world.objects.replace(&document, &read.etag).await {
            Ok(_) => Ok(Outcome::Claimed { target }),
            Err(DocumentError::Conflict) => Ok(Outcome::DocumentChanged),
            Err(error) => document_trouble(error),
        }
    }

    async fn reroute(&mut self, close: &CloseEvent) -> Performed {
        let Some(read) = &self.document else { return Ok(Outcome::DocumentChanged) };
        let mut document = read.document.clone();
        match document.reroute(&self.stored.record.source.address, close) {
            Ok(true) => {}
            Ok(false) => return Ok(Outcome::Rerouted),
            Err(illegal) => return Err(failed(Reason::CorruptData, illegal.to_string())),
        }
        match self.world.objects.replace(&document, &read.etag).await {
            Ok(_) => Ok(Outcome::Rerouted),
            Err(DocumentError::Conflict) => Ok(Outcome::DocumentChanged),
            Err(error) => document_trouble(error),
        }
    }

    async fn release_document(&mut self) -> Performed {
        // An object without a document has nothing that could be claimed.
        let Some(read) = &self.document else { return Ok(Outcome::Released) };
        let mut document = read.document.clone();
        document.release(self.stored.record.migration);
        match self.world.objects.replace(&document, &read.etag).await {
            Ok(_) => Ok(Outcome::Released),
            Err(DocumentError::Conflict) => Ok(Outcome::DocumentChanged),
            Err(error) => document_trouble(error),
        }
    }

    async fn record_end(
        &mut self,
        machine: &Machine,
        phase: Phase,
        failure: Option<Failure>,
    ) -> Performed {
        let now = self.world.runtime.clock.now();
        let target = machine.target().cloned();
        let changed = self.change_record(|record| {
            // Somebody else ended it already: that end stands.
            if record.phase.has_ended() {
                return;
            }
            record.phase = phase;
            record.failure.clone_from(&failure);
            record.provisional = true;
            record.released = false;
            record.ended_at = Some(now);
            record.target = target.clone().or_else(|| record.target.take());
        });
        let changed = changed.await;
        self.answer_record(changed)
    }

    fn answer_record(&self, changed: Result<(), DocumentError>) -> Performed {
        match changed {
            Ok(()) => Ok(Outcome::Record(self.record_view())),
            Err(error) => document_trouble(error),
        }
    }

    async fn record_target(&mut self, machine: &Machine) -> Performed {
        let target = machine.target().cloned();
        let changed = self.change_record(|record| {
            record.target = target.clone().or_else(|| record.target.take());
        });
        let changed = changed.await;
        self.answer_record(changed)
    }

    async fn record_released(&mut self) -> Performed {
        let changed = self.change_record(|record| record.released = true).await;
        self.answer_record(changed)
    }

    async fn record_success(&mut self, machine: &Machine) -> Performed {
        let now = self.world.runtime.clock.now();
        let target = machine.target().cloned();
        let mut record = self.record().clone();
        record.phase = Phase::Succeeded;
        record.provisional = false;
        record.failure = None;
        record.target = target;
        record.certificate.clone_from(&self.certificate);
        record.ended_at = Some(now);
        record.updated_at = now;
        self.finish(record).await
    }

    async fn record_final(&mut self, phase: Phase) -> Performed {
        let now = self.world.runtime.clock.now();
        let mut record = self.record().clone();
        record.phase = phase;
        record.provisional = false;
        record.updated_at = now;
        self.finish(record).await
    }

    /// Removes what lies among the unfinished of a migration that another process finished.
    pub async fn clear_if_finished(&self) {
        if self.stored.finished && !self.finished_here {
            // What stays is found again by the next scan.
            let _ = self.world.journal.clear(self.record().migration).await;
        }
    }

    async fn finish(&mut self, record: MigrationRecord) -> Performed {
        match self.world.journal.finish(&record).await {
            Ok(()) => {
                self.stored.record = record;
                self.stored.finished = true;
                self.finished_here = true;
                Ok(Outcome::Recorded)
            }
            Err(error) => document_trouble(error),
        }
    }
}

/// Streams.
impl Performer {
    async fn create_target(&mut self, machine: &Machine) -> Performed {
        let (store, target) = self.target(machine)?;
        let header = StreamHeader {
            object: self.record().object.clone(),
            predecessor: Some(self.record().source.address.clone()),
            made_by: Some(machine.plan().migration),
            base: self.record().target_base,
        };
        match store.create(&target.stream_id, &header).await {
            Ok(()) => Ok(Outcome::Created),
            Err(StoreError::AlreadyExists) => {
                let message = format!("{target} exists already and is not this migration's");
                Err(failed(Reason::TargetNotEmpty, message))
            }
            Err(error) => store_trouble(error),
        }
    }

    async fn read_target_tail(&mut self, machine: &Machine) -> Performed {
        let (store, target) = self.target(machine)?;
        match store.tail(&target.stream_id).await {
            Ok(tail) => {
                let head =
                    tail.base.map_or_else(|| Head::before(Self::base(machine)), |_| tail.head);
                Ok(Outcome::TargetTail { head, closed: tail.closed.map(Box::new) })
            }
            Err(error) => store_trouble(error),
        }
    }

    async fn read_source_tail(&mut self) -> Performed {
        let (store, source) = self.source()?;
        match store.tail(&source.address.stream_id).await {
            Ok(tail) => {
                let closed = tail.closed.map(Box::new);
                Ok(Outcome::SourceTail { head: tail.head, closed })
            }
            Err(error) => store_trouble(error),
        }
    }

    async fn read_source(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (store, source) = self.source()?;
        let range = self.page_range(machine, at.next)?;
        let mut page = match store.read(&source.address.stream_id, range).await {
            Ok(page) => page,
            Err(error) => return store_trouble(error),
        };
        cut_to_fit(&mut page.events, range.bytes_max);
        let closed = page.closed.take().map(Box::new);
        let head = page.head;
        let after = at.source.chain_all(page.first, &page.events);
        self.page = page.events;
        Ok(Outcome::SourcePage { count: self.page.len() as u64, after, head, closed })
    }

    /// A page is one append to the target, so it keeps to the target's limits.
    fn page_range(&self, machine: &Machine, from: Version) -> Result<ReadRange, Failure> {
        let (target, _) = self.target(machine)?;
        let limits = target.capabilities().limits;
        let options = &self.record().options;
        let events_max = options.page_events_max.min(limits.batch_events_max);
        Ok(ReadRange {
            from,
            events_max: self.throttle.page_events_max(events_max).max(1),
            bytes_max: options.page_bytes_max.min(limits.batch_bytes_max).max(1),
        })
    }

    async fn append_target(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (store, target) = self.target(machine)?;
        let clock = Arc::clone(&self.world.runtime.clock);
        let events = self.page.len() as u64;
        let wait = self.throttle.spend(&*clock, events, self.page_bytes());
        if !wait.is_zero() && !self.holds_source() {
            clock.sleep(wait).await;
        }
        // Invariant 5: at the exact position, so that a second migrator wastes work and no more.
        let append = Append {
            made_by: Some(machine.plan().migration),
            base: Self::base(machine),
            expected: ExpectedVersion::exactly(Head::before(at.next)),
            events: self.page.clone(),
        };
        let began = clock.monotonic();
        let answer = store.append(&target.stream_id, append).await;
        let rest = self.throttle.after_page(clock.monotonic().saturating_sub(began));
        if !rest.is_zero() && !self.holds_source() {
            clock.sleep(rest).await;
        }
        match answer {
            Ok(appended) if appended.first == at.next => Ok(Outcome::Appended),
            Ok(_)
            | Err(
                StoreError::WrongExpectedVersion(_)
                | StoreError::DuplicateEventId { .. }
                | StoreError::Closed { .. },
            ) => Ok(Outcome::TargetMoved),
            Err(error) => store_trouble(error),
        }
    }

    async fn read_back(&mut self, machine: &Machine, at: Copied, count: u64) -> Performed {
        let (store, target) = self.target(machine)?;
        let to = at.next.plus(count);
        match self.chain(&*store, &target, at.next, to, at.target).await {
            Ok(Some(after)) => Ok(Outcome::ReadBack { after }),
            Ok(None) => Err(failed(Reason::CorruptData, format!("{target} lost what it took"))),
            Err(error) => store_trouble(error),
        }
    }

    async fn compare(&mut self, machine: &Machine, from: Copied, to: Version) -> Performed {
        let (target_store, target) = self.target(machine)?;
        let (source_store, source) = self.source()?;
        let source = self.chain(&*source_store, &source.address, from.next, to, from.source).await;
        let source = match source {
            Ok(source) => source,
            Err(error) => return store_trouble(error),
        };
        let target = self.chain(&*target_store, &target, from.next, to, from.target).await;
        match (source, target) {
            (Some(source), Ok(Some(target))) => {
                Ok(Outcome::Compared(Some(Copied { next: to, source, target })))
            }
            (_, Err(error)) => store_trouble(error),
            (None, Ok(_)) | (Some(_), Ok(None)) => Ok(Outcome::Compared(None)),
        }
    }

    /// The checksum after the events from `from` up to `to`; none if the stream ends before.
    async fn chain(
        &self,
        store: &dyn EventStore,
        stream: &StreamAddress,
        from: Version,
        to: Version,
        start: Checksum,
    ) -> Result<Option<Checksum>, StoreError> {
        let options = &self.record().options;
        let (mut next, mut checksum) = (from, start);
        while next < to {
            let left = usize::try_from(to.0 - next.0).unwrap_or(usize::MAX);
            let events_max = options.page_events_max.min(left);
            let range = ReadRange { from: next, events_max, bytes_max: options.page_bytes_max };
            let Page { first, events, .. } = store.read(&stream.stream_id, range).await?;
            if events.is_empty() {
                return Ok(None);
            }
            checksum = checksum.chain_all(first, &events);
            next = first.plus(events.len() as u64);
        }
        Ok(Some(checksum))
    }

    async fn close_source(
        &mut self,
        machine: &Machine,
        head: Head,
        checksum: Checksum,
    ) -> Performed {
        let (_, target) = self.target(machine)?;
        let (store, source) = self.source()?;
        let continuation = Continuation(StreamRef {
            address: target,
            base: Self::base(machine),
            made_by: Some(machine.plan().migration),
        });
        let event = CloseEvent {
            migration: machine.plan().migration,
            kind: machine.plan().kind,
            continuation: Some(continuation),
            head,
            checksum: Some(checksum),
            closed_at: self.world.runtime.clock.now(),
        };
        let close = Close { made_by: source.made_by, event };
        close_outcome(store.close(&source.address.stream_id, close).await)
    }

    async fn seal_target(&mut self, machine: &Machine, head: Head) -> Performed {
        let (store, target) = self.target(machine)?;
        let event = CloseEvent {
            migration: machine.plan().migration,
            kind: machine.plan().kind,
            continuation: None,
            head,
            checksum: None,
            closed_at: self.world.runtime.clock.now(),
        };
        let close = Close { made_by: Some(machine.plan().migration), event };
        let outcome = close_outcome(store.close(&target.stream_id, close).await)?;
        let Outcome::Closed(close) = outcome else { return Ok(outcome) };
        if close.continuation.is_some() {
            // It is in use: look again, the source will tell.
            return Ok(Outcome::HeadMoved { head: close.head });
        }
        Ok(Outcome::Sealed)
    }

    async fn remove_target(&mut self, machine: &Machine) -> Performed {
        if !self.record().orders.remove_target {
            return Ok(Outcome::Removed);
        }
        let (store, target) = self.target(machine)?;
        match store.remove(&target.stream_id).await {
            Ok(_) => Ok(Outcome::Removed),
            Err(error) => store_trouble(error),
        }
    }
}

/// Waiting, and holding appends.
impl Performer {
    async fn rest(&mut self) -> Performed {
        let interval = Duration::from_millis(500);
        self.world.runtime.clock.sleep(interval).await;
        match self.refresh().await {
            Ok(()) if self.record().orders.paused && !self.record().orders.cancelled => {
                Ok(Outcome::Lost)
            }
            Ok(()) => Ok(Outcome::Rested),
            Err(error) => document_trouble(error),
        }
    }

    async fn pause_source(&mut self) -> Outcome {
        let length = self.record().options.pause_source_max;
        let until = self.world.runtime.clock.monotonic() + length;
        let granted = self.world.pauses.pause(&self.record().object, length).await.is_ok();
        self.held_until = granted.then_some(until);
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

/// The proof.
impl Performer {
    /// Observes the effect from the outside: the closed source, the document, the target's tail,
    /// and both checksums, read again where this process has not read them.
    async fn verify(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (source_store, source) = self.source()?;
        let tail = match source_store.tail(&source.address.stream_id).await {
            Ok(tail) => tail,
            Err(error) => return store_trouble(error),
        };
        let Some(close) = tail.closed else {
            return Err(failed(Reason::VerificationFailed, "the source is open".into()));
        };
        let Outcome::Document(document) = self.read_document(machine).await? else {
            return Ok(Outcome::Lost);
        };
        let routed = matches!(&document, DocumentView::Terminated { closed_by, .. }
            if *closed_by == machine.plan().migration);
        if !routed {
            return Err(failed(Reason::VerificationFailed, "the document is not rerouted".into()));
        }
        let end = close.head.next().max(Self::base(machine));
        let read = if at.next == end {
            Outcome::Compared(Some(at))
        } else {
            let from = Copied::nothing(Self::base(machine));
            self.compare(machine, from, end).await?
        };
        if read == Outcome::Lost {
            return Ok(Outcome::Lost);
        }
        let Outcome::Compared(Some(copied)) = read else {
            return Err(failed(Reason::VerificationFailed, "the target ends early".into()));
        };
        if !copied.agrees() {
            let message = "source and target differ".to_owned();
            return Err(failed(Reason::VerificationFailed, message));
        }
        if close.checksum.is_some_and(|closed| closed != copied.source) {
            let message = "the source differs from what was closed".to_owned();
            return Err(failed(Reason::VerificationFailed, message));
        }
        self.certify(machine, copied, close.head).await
    }

    async fn certify(&mut self, machine: &Machine, copied: Copied, head: Head) -> Performed {
        let (store, target) = self.target(machine)?;
        match store.tail(&target.stream_id).await {
            Ok(tail) if tail.base.is_some() && tail.head < head => {
                let message = format!("{target} ends at {}, before {head}", tail.head);
                return Err(failed(Reason::VerificationFailed, message));
            }
            Ok(_) => {}
            Err(error) => return store_trouble(error),
        }
        self.certificate = Some(Certificate {
            events: copied.next.0 - Self::base(machine).0,
            head,
            source_checksum: copied.source,
            target_checksum: copied.target,
            verified_at: self.world.runtime.clock.now(),
        });
        Ok(Outcome::Verified)
    }
}

fn cut_to_fit(events: &mut Vec<Event>, bytes_max: usize) {
    let mut bytes = 0;
    let fitting = events.iter().take_while(|event| {
        bytes += event.size();
        bytes <= bytes_max
    });
    let count = fitting.count().max(1);
    events.truncate(count);
}

fn close_outcome(answer: Result<CloseEvent, StoreError>) -> Performed {
    match answer {
        Ok(close) => Ok(Outcome::Closed(Box::new(close))),
        Err(StoreError::Closed { close }) => Ok(Outcome::Closed(close)),
        Err(StoreError::WrongExpectedVersion(wrong)) => {
            Ok(Outcome::HeadMoved { head: wrong.actual })
        }
        Err(error) => store_trouble(error),
    }
}

/// What passes is asked for again; what stays ends the migration.
fn store_trouble(error: StoreError) -> Performed {
    let reason = match &error {
        StoreError::Unavailable { .. }
        | StoreError::OutcomeUnknown { .. }
        | StoreError::TimedOut
        | StoreError::Overloaded { .. }
        | StoreError::Contended { .. } => {
            tracing::debug!({ crate::telemetry::fields::ERROR } = %error, "asking a store again");
            return Ok(Outcome::Lost);
        }
        StoreError::LimitExceeded(_) | StoreError::Unsupported { .. } => Reason::UnsupportedByStore,
        StoreError::WrongMaker { .. } | StoreError::AlreadyExists => Reason::TargetNotEmpty,
        StoreError::NotFound | StoreError::Gone { .. } | StoreError::Corrupt { .. } => {
            Reason::CorruptData
        }
        StoreError::WrongExpectedVersion(_)
        | StoreError::Closed { .. }
        | StoreError::NotClosed
        | StoreError::DuplicateEventId { .. }
        | StoreError::Bug { .. } => Reason::Internal,
    };
    Err(failed(reason, error.to_string()))
}

fn document_trouble(error: DocumentError) -> Performed {
    if let MigrationError::Corrupt { detail } = MigrationError::from(error) {
        return Err(failed(Reason::CorruptData, detail));
    }
    tracing::debug!("asking the documents again");
    Ok(Outcome::Lost)
}

fn failed(reason: Reason, message: String) -> Failure {
    Failure { reason, message }
}

fn bug(message: &str) -> Failure {
    failed(Reason::Internal, message.to_owned())
}
