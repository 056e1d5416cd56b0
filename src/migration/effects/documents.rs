//! Object documents and records: each change by compare-and-set.

use super::trouble::{Trouble, bug, refused};
use super::{Performed, Performer};
use crate::documents::{DocumentError, StoredObject};
use crate::domain::CloseEvent;
use crate::domain::object_document::{IllegalChange, MigrationClaim};
use crate::domain::reason::Reason;
use crate::lock::Hint;
use crate::migration::Phase;
use crate::migration::journal::StoredRecord;
use crate::migration::machine::Machine;
use crate::migration::record::{Failure, MigrationRecord};
use crate::migration::steps::{DocumentView, Outcome, RecordView};

impl Performer {
    pub(super) async fn read_document(&mut self, machine: &Machine) -> Performed {
        self.look_at_document(machine).await.map(Outcome::Document)
    }

    pub(super) async fn look_at_document(
        &mut self,
        machine: &Machine,
    ) -> Result<DocumentView, Trouble> {
        let found = self.world.objects.get(&self.record().object).await?;
        let view = match &found {
            None => DocumentView::Unknown,
            Some(stored) => self.view_of(machine, stored),
        };
        self.document = found;
        Ok(view)
    }

    pub(super) fn view_of(&self, machine: &Machine, stored: &StoredObject) -> DocumentView {
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

    pub(super) async fn read_record(&mut self) -> Performed {
        self.refresh().await?;
        Ok(Outcome::Record(self.record_view()))
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
            if self.is_overtaken() {
                return Err(DocumentError::Conflict);
            }
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

    pub(super) async fn claim_document(&mut self) -> Performed {
        let Some(read) = &self.document else { return Ok(Outcome::DocumentChanged) };
        let record = &self.stored.record;
        let claim = MigrationClaim {
            migration: record.migration,
            kind: record.kind,
            source: record.source.address.clone(),
            target_store: record.target_store.clone(),
            target_stream_id: record.target_stream_id.clone(),
            target_base: record.base(),
        };
        let mut document = read.document.clone();
        let target = match document.claim(&claim) {
            Ok(running) => running.target,
            Err(IllegalChange::SourceNotActive { .. }) => return Ok(Outcome::DocumentChanged),
            Err(illegal @ IllegalChange::OtherMigrationRunning { .. }) => {
                return Err(refused(Reason::MigrationAlreadyRunning, illegal.to_string()));
            }
            Err(illegal @ IllegalChange::TargetTaken { .. }) => {
                return Err(refused(Reason::TargetNotEmpty, illegal.to_string()));
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
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn reroute(&mut self, close: &CloseEvent) -> Performed {
        let Some(read) = &self.document else { return Ok(Outcome::DocumentChanged) };
        let mut document = read.document.clone();
        match document.reroute(&self.stored.record.source.address, close) {
            Ok(true) => {}
            Ok(false) => return Ok(Outcome::Rerouted),
            Err(illegal) => return Err(refused(Reason::CorruptData, illegal.to_string())),
        }
        match self.world.objects.replace(&document, &read.etag).await {
            Ok(_) => {
                self.world.hints.tell(Hint::rerouted(&document));
                Ok(Outcome::Rerouted)
            }
            Err(DocumentError::Conflict) => Ok(Outcome::DocumentChanged),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn release_document(&mut self) -> Performed {
        // An object without a document has nothing that could be claimed.
        let Some(read) = &self.document else { return Ok(Outcome::Released) };
        let mut document = read.document.clone();
        document.release(self.stored.record.migration);
        match self.world.objects.replace(&document, &read.etag).await {
            Ok(_) => Ok(Outcome::Released),
            Err(DocumentError::Conflict) => Ok(Outcome::DocumentChanged),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn record_end(
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

    pub(super) fn answer_record(&self, changed: Result<(), DocumentError>) -> Performed {
        changed?;
        Ok(Outcome::Record(self.record_view()))
    }

    pub(super) async fn record_target(&mut self, machine: &Machine) -> Performed {
        let target = machine.target().cloned();
        let changed = self.change_record(|record| {
            record.target = target.clone().or_else(|| record.target.take());
        });
        let changed = changed.await;
        self.answer_record(changed)
    }

    pub(super) async fn record_released(&mut self) -> Performed {
        let changed = self.change_record(|record| record.released = true).await;
        self.answer_record(changed)
    }

    pub(super) async fn record_success(&mut self, machine: &Machine) -> Performed {
        let now = self.world.runtime.clock.now();
        let target = machine.target().cloned();
        let mut record = self.record().clone();
        record.phase = Phase::Succeeded;
        record.provisional = false;
        record.failure = None;
        record.target = target;
        record.certificate.clone_from(&self.certificate);
        if let Some(head) = self.closed_at {
            record.progress.source_head = head;
            record.progress.target_head = record.progress.target_head.max(head);
        }
        record.ended_at = Some(now);
        record.updated_at = now;
        self.finish(record).await
    }

    pub(super) async fn record_final(&mut self, phase: Phase) -> Performed {
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

    pub(super) async fn finish(&mut self, record: MigrationRecord) -> Performed {
        self.world.journal.finish(&record).await?;
        self.stored.record = record;
        self.stored.finished = true;
        self.finished_here = true;
        Ok(Outcome::Recorded)
    }
}
