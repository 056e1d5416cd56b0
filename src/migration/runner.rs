//! The only loop: what is due, whether it may be done, do it, tell the machine.

use std::sync::Arc;
use std::time::Duration;

use super::effects::{Performer, World};
use super::invariants;
use super::journal::StoredRecord;
use super::live::Live;
use super::machine::{Facts, Machine, Plan};
use super::progress::{Meter, MigrationView};
use super::record::{Failure, MigrationRecord};
use super::steps::{Effect, Outcome, Step};
use super::{MigrationSettings, Phase};
use crate::documents::DocumentError;
use crate::domain::reason::Reason;
use crate::lock::{Lease, Lock, LockError, Owner};
use crate::runtime::{Backoff, Runtime};
use crate::telemetry::fields;
use crate::telemetry::moves::{MoveStats, MoveWatch};

/// How a run ended in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing is left to do.
    Ended,
    /// Something is left that cannot be done now; the supervisor looks again.
    Parked,
    /// Another process holds the lock, or this one is stopping.
    SteppedAside,
}

/// One migration, run by this process.
pub struct Runner {
    runtime: Runtime,
    settings: MigrationSettings,
    lock: Arc<dyn Lock>,
    owner: Owner,
    moves: Arc<MoveWatch>,
    live: Arc<Live>,
    performer: Performer,
    machine: Machine,
    backoff: Backoff,
}

/// What a runner is built of, beside its migration.
#[derive(Clone)]
pub struct RunnerParts {
    pub world: World,
    pub settings: MigrationSettings,
    pub lock: Arc<dyn Lock>,
    pub owner: Owner,
    pub moves: Arc<MoveWatch>,
}

/// What a run keeps count of.
struct Run {
    lease: Lease,
    stats: Arc<MoveStats>,
    meter: Meter,
    shown: Duration,
    recorded: Duration,
    shown_phase: Phase,
}

const SHOW_INTERVAL: Duration = Duration::from_millis(100);

impl Runner {
    pub fn new(parts: RunnerParts, stored: StoredRecord, live: Arc<Live>) -> Self {
        let plan = plan_of(&stored.record);
        let performer = Performer::new(parts.world.clone(), stored);
        let machine = Machine::resume(plan, &performer.record_view());
        Self {
            runtime: parts.world.runtime,
            settings: parts.settings,
            lock: parts.lock,
            owner: parts.owner,
            moves: parts.moves,
            live,
            performer,
            machine,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_secs(2)),
        }
    }

    /// Runs until there is an end, or until somebody else shall go on.
    pub async fn run(mut self) -> RunEnd {
        let object = self.performer.record().object.clone();
        let lease = match self.lock.acquire(&object, &self.owner, self.settings.lease_ttl).await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::debug!({ fields::ERROR } = %error, "another holds the lock");
                return RunEnd::SteppedAside;
            }
        };
        let stats = self.moves.begin(&object);
        let now = self.runtime.clock.monotonic();
        let mut run = Run {
            lease,
            stats,
            meter: Meter::new(self.performer.record().progress, now),
            shown: Duration::ZERO,
            recorded: now,
            shown_phase: self.performer.record().phase,
        };
        let end = self.take_over_and_drive(&mut run).await;
        self.performer.resume_source().await;
        self.performer.clear_if_finished().await;
        self.show(&mut run);
        self.moves.end(&object);
        if end == RunEnd::Ended {
            self.moves.note_ended(self.performer.record().phase.as_str());
        }
        // A lease that is not given back expires by itself.
        let _ = self.lock.release(&run.lease).await;
        end
    }

    async fn take_over_and_drive(&mut self, run: &mut Run) -> RunEnd {
        match self.take_over(&run.lease).await {
            Ok(()) => self.drive(run).await,
            Err(error) => {
                tracing::debug!({ fields::ERROR } = %error, "the record cannot be taken over");
                RunEnd::SteppedAside
            }
        }
    }

    /// Raises the fencing token in the record, so that it never goes backwards whatever the lock
    /// service forgets.
    async fn take_over(&mut self, lease: &Lease) -> Result<(), DocumentError> {
        let owner = &self.owner.0;
        if self.performer.record().owner.as_ref() == Some(owner) {
            return Ok(());
        }
        let (token, expires_at) = (lease.token.0, lease.expires_at);
        let changed = self.performer.change_record(|record| {
            record.token = token.max(record.token + 1);
            record.owner = Some(owner.clone());
            record.lease_expires_at = Some(expires_at);
        });
        changed.await
    }

    async fn drive(&mut self, run: &mut Run) -> RunEnd {
        loop {
            self.show_when_due(run);
            let Some(effect) = self.machine.effect().cloned() else { break };
            if matches!(effect, Effect::RecordSuccess) {
                // What is recorded now is what will be shown for ever.
                self.show(run);
            }
            if let Err(broken) = invariants::check(&self.machine, self.performer.record(), &effect)
            {
                tracing::error!({ fields::ERROR } = %broken, "halting this migration");
                self.note_trouble(Failure {
                    reason: Reason::Internal,
                    message: broken.to_string(),
                })
                .await;
                return RunEnd::Parked;
            }
            let Some(outcome) = self.perform(run, &effect).await else {
                self.record_progress(run).await;
                return RunEnd::SteppedAside;
            };
            self.after_outcome(run, &effect, &outcome).await;
            let facts = self.facts();
            if let Err(unexpected) = self.machine.on(outcome, &facts) {
                tracing::error!({ fields::ERROR } = %unexpected, "halting this migration");
                return RunEnd::Parked;
            }
        }
        let ended = matches!(self.machine.step(), Step::Ended { .. });
        if ended { RunEnd::Ended } else { RunEnd::Parked }
    }

    /// Performs an effect while the lease is kept up; none when this process shall let go.
    async fn perform(&mut self, run: &mut Run, effect: &Effect) -> Option<Outcome> {
        let ttl = self.settings.lease_ttl;
        let waits = matches!(effect, Effect::Wait | Effect::Rest);
        let work = self.performer.perform(&self.machine, effect);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.runtime.shutdown.begun() => return None,
                outcome = &mut work => return Some(outcome),
                () = self.live.nudged(), if waits => {
                    let rests = matches!(effect, Effect::Rest);
                    return Some(if rests { Outcome::Rested } else { Outcome::Waited });
                }
                () = self.runtime.clock.sleep(ttl / 3) => {
                    match self.lock.renew(&run.lease, ttl).await {
                        Ok(lease) => run.lease = lease,
                        // Invariant 9: without the lock service a running migration goes on.
                        Err(LockError::Unavailable { .. }) => {}
                        Err(LockError::Lost | LockError::Held { .. }) => return None,
                    }
                }
            }
        }
    }

    async fn after_outcome(&mut self, run: &mut Run, effect: &Effect, outcome: &Outcome) {
        run.meter.note_round(effect, outcome);
        match (effect, outcome) {
            (Effect::AppendTarget { count, .. }, Outcome::Appended) => {
                let bytes = self.performer.page_bytes();
                run.meter.note_copied(*count, bytes);
                self.moves.note_copied(*count, bytes);
            }
            (_, Outcome::Refused(failure)) => {
                let phase = self.machine.phase().as_str();
                let (reason, message) = (failure.reason.as_str(), failure.message.as_str());
                tracing::warn!(
                    { fields::MIGRATION_PHASE } = phase,
                    { fields::ERROR_REASON } = reason,
                    { fields::ERROR } = message,
                    "a migration was refused a step"
                );
                if phase == Phase::Verifying.as_str() {
                    self.note_trouble(failure.clone()).await;
                }
            }
            _ => {}
        }
        if *outcome == Outcome::Lost && *effect != Effect::Rest {
            let wait = self.backoff.next_wait(&*self.runtime.entropy);
            tokio::select! {
                biased;
                () = self.runtime.shutdown.begun() => {}
                () = self.runtime.clock.sleep(wait) => {}
            }
        } else {
            self.backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(2));
        }
        let now = self.runtime.clock.monotonic();
        if self.live.take_nudge() {
            // Orders came; they are taken at the next safe point.
            let _ = self.performer.refresh().await;
        } else if now.saturating_sub(run.recorded) >= self.settings.record_interval {
            self.record_progress(run).await;
        }
    }

    /// Writes down what went wrong where it cannot end the migration any more.
    async fn note_trouble(&mut self, failure: Failure) {
        let noted = self.performer.change_record(|record| record.failure = Some(failure.clone()));
        if let Err(error) = noted.await {
            tracing::warn!({ fields::ERROR } = %error, "a failure could not be recorded");
        }
    }

    async fn record_progress(&mut self, run: &mut Run) {
        let now = self.runtime.clock.monotonic();
        run.recorded = now;
        if self.performer.stored.finished {
            return;
        }
        let progress = run.meter.progress(&self.machine, &run.stats, now).to_record();
        let phase = self.machine.phase();
        let target = self.machine.target().cloned();
        let expires_at = run.lease.expires_at;
        let changed = self.performer.change_record(|record| {
            record.progress = progress;
            record.lease_expires_at = Some(expires_at);
            if !record.phase.has_ended() && !phase.has_ended() {
                record.phase = phase;
                record.target.clone_from(&target);
            }
        });
        // A record that is behind costs nothing: the truth is looked up on resume.
        if let Err(error) = changed.await {
            tracing::debug!({ fields::ERROR } = %error, "progress was not recorded");
        }
    }

    fn facts(&self) -> Facts {
        let record = self.performer.record();
        let now = self.runtime.clock.now();
        let paused = Duration::from_millis(record.paused_ms)
            + record.paused_since.map_or(Duration::ZERO, |since| now.since(since));
        let running = now.since(record.created_at).saturating_sub(paused);
        Facts {
            orders: record.orders,
            timed_out: running > record.options.close_timeout,
            source_held: self.performer.holds_source(),
        }
    }

    fn show_when_due(&mut self, run: &mut Run) {
        let phase = self.machine.phase();
        let now = self.runtime.clock.monotonic();
        if phase != run.shown_phase || now.saturating_sub(run.shown) >= SHOW_INTERVAL {
            if phase != run.shown_phase {
                tracing::info!({ fields::MIGRATION_PHASE } = phase.as_str(), "phase");
            }
            self.show(run);
        }
    }

    fn show(&mut self, run: &mut Run) {
        let now = self.runtime.clock.monotonic();
        run.shown = now;
        run.shown_phase = self.machine.phase();
        let mut record = self.performer.record().clone();
        let progress = run.meter.progress(&self.machine, &run.stats, now);
        if !record.phase.has_ended() && !run.shown_phase.has_ended() {
            record.phase = run.shown_phase;
        }
        if record.target.is_none() {
            record.target = self.machine.target().cloned();
        }
        record.lease_expires_at = Some(run.lease.expires_at);
        record.progress = progress.to_record();
        self.performer.stored.record.progress = record.progress;
        self.live.show(MigrationView { record, progress });
    }
}

fn plan_of(record: &MigrationRecord) -> Plan {
    Plan {
        migration: record.migration,
        kind: record.kind,
        source: record.source.clone(),
        target_base: record.base(),
        on_convergence_failure: record.options.on_convergence_failure,
        pause_gap_max: record.options.page_events_max as u64,
    }
}
