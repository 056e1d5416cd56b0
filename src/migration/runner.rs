//! The only loop: what is due, whether it may be done, do it, tell the machine.

mod letting_go;

use std::sync::Arc;
use std::time::Duration;

use super::effects::{Performer, Probe, World};
use super::invariants;
use super::journal::StoredRecord;
use super::lease::LeaseKeeper;
use super::live::Live;
use super::machine::{Facts, Machine, Plan};
use super::pace::Pace;
use super::progress::{Meter, MigrationView};
use super::reach::Reach;
use super::record::{Failure, MigrationRecord};
use super::steps::{Effect, Outcome, Step};
use super::{MigrationSettings, Phase};
use crate::documents::DocumentError;
use crate::domain::reason::Reason;
use crate::lock::{Lease, Lock, LockError, Owner};
use crate::runtime::{Backoff, Clock, Deadline, Runtime};
use crate::telemetry::fields;
use crate::telemetry::moves::{MoveStats, MoveWatch};
use letting_go::{CutOff, Stop};

/// How a run ended in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing is left to do.
    Ended,
    /// Something is left that cannot be done now; the supervisor looks again.
    Parked,
    /// Another process holds the lock, this one is stopping, or its lease was lost.
    SteppedAside,
    /// The lock service cannot be reached.
    LockUnavailable,
    /// A store that the migration needs cannot be reached from here.
    CutOff {
        /// It went on here for a while before.
        went_on: bool,
    },
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
    pace: Pace,
    backoff: Backoff,
    cut_off_before: u32,
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
    keeper: LeaseKeeper,
    reach: Reach,
    began: Duration,
    stats: Arc<MoveStats>,
    meter: Meter,
    shown: Duration,
    recorded: Duration,
    shown_phase: Phase,
}

const SHOW_INTERVAL: Duration = Duration::from_millis(100);

/// The part of a lease that a look at the record, or a note in it, may take: neither is needed to
/// go on, and the record may lie in a store that does not answer.
const RECORDED_WITHIN_PART: u32 = 8;

impl Runner {
    /// `cut_off_before` is how often in a row this process left the migration because it was cut
    /// off from a store.
    pub fn new(
        parts: RunnerParts,
        stored: StoredRecord,
        live: Arc<Live>,
        cut_off_before: u32,
    ) -> Self {
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
            pace: Pace::default(),
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_secs(2)),
            cut_off_before,
        }
    }

    /// Runs until there is an end, or until somebody else shall go on.
    pub async fn run(mut self) -> RunEnd {
        let object = self.performer.record().object.clone();
        let (lock, clock) = (Arc::clone(&self.lock), Arc::clone(&self.runtime.clock));
        let ttl = self.settings.lease_ttl;
        let reach = Reach::new(Arc::clone(&clock), ttl, self.cut_off_before);
        let keeper =
            match LeaseKeeper::acquire(lock, &self.runtime, &object, &self.owner, ttl).await {
                Ok(keeper) => keeper,
                Err(error @ LockError::Unavailable { .. }) => {
                    tracing::debug!({ fields::ERROR } = %error, "the migration waits for the lock");
                    return RunEnd::LockUnavailable;
                }
                Err(error @ (LockError::Held { .. } | LockError::Lost)) => {
                    tracing::debug!({ fields::ERROR } = %error, "another holds the lock");
                    return RunEnd::SteppedAside;
                }
            };
        let stats = self.moves.begin(&object);
        let now = self.runtime.clock.monotonic();
        let mut run = Run {
            keeper,
            reach,
            began: now,
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
        run.keeper.release().await;
        end
    }

    async fn take_over_and_drive(&mut self, run: &mut Run) -> RunEnd {
        match self.take_over(run.keeper.lease()).await {
            Ok(()) => {
                let end = self.drive(run).await;
                match end {
                    Ok(end) => end,
                    Err(stop) => self.let_go(run, stop).await,
                }
            }
            Err(error) => {
                tracing::debug!({ fields::ERROR } = %error, "the record cannot be taken over");
                RunEnd::SteppedAside
            }
        }
    }

    /// Raises the fencing token in the record, so that it never goes backwards whatever the lock
    /// service forgets.
    async fn take_over(&mut self, lease: Lease) -> Result<(), DocumentError> {
        let owner = &self.owner.0;
        let (token, expires_at) = (lease.token.0, lease.expires_at);
        if self.performer.record().owner.as_ref() != Some(owner) {
            let changed = self.performer.change_record(|record| {
                record.token = token.max(record.token + 1);
                record.owner = Some(owner.clone());
                record.lease_expires_at = Some(expires_at);
            });
            changed.await?;
        }
        self.performer.hold_token();
        let (token, phase) = (self.performer.record().token, self.performer.record().phase);
        tracing::info!(
            { fields::LOCK_TOKEN } = token,
            { fields::MIGRATION_PHASE } = phase.as_str(),
            "the migration runs here"
        );
        Ok(())
    }

    /// Whether the lease was lost by now, as the clock, the lock service or the record says.
    fn look_at_lease(&self, run: &mut Run) -> Result<(), Stop> {
        if self.performer.is_overtaken() {
            run.keeper.overtaken();
        }
        match run.keeper.look() {
            None => Ok(()),
            Some(loss) => Err(Stop::Lost(loss)),
        }
    }

    async fn drive(&mut self, run: &mut Run) -> Result<RunEnd, Stop> {
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
                return Ok(RunEnd::Parked);
            }
            // Order: the lease is looked at before each step, so that a process that slept through
            // it begins no other.
            self.look_at_lease(run)?;
            let began = self.runtime.clock.monotonic();
            let (outcome, probe) = self.perform(run, &effect).await?;
            let unanswered = self.performer.take_unanswered();
            match &unanswered {
                Some(_) => run.reach.note_failed(),
                None => {
                    run.reach.note_answered();
                    probe.note_answered();
                }
            }
            let now = self.runtime.clock.monotonic();
            let took = now.saturating_sub(began).saturating_sub(self.performer.take_waited());
            self.pace.note(&effect, &outcome, took, now);
            self.look_at_lease(run)?;
            self.after_outcome(run, &effect, &outcome).await;
            if let Some(lasted) = run.reach.failed_for() {
                let asked = probe.to_string();
                return Err(Stop::CutOff(CutOff { asked, lasted, why: unanswered }));
            }
            let facts = self.facts();
            if let Err(unexpected) = self.machine.on(outcome, &facts) {
                tracing::error!({ fields::ERROR } = %unexpected, "halting this migration");
                return Ok(RunEnd::Parked);
            }
        }
        let ended = matches!(self.machine.step(), Step::Ended { .. });
        Ok(if ended { RunEnd::Ended } else { RunEnd::Parked })
    }

    /// Performs an effect while the lease is kept up. A call that is on its way when the lease is
    /// lost is let end, for giving up its answer would not stop it; but not one that nobody
    /// answers, for that may take for ever. Whatever comes of it later, the protocol makes it
    /// harmless (I5).
    async fn perform(&mut self, run: &mut Run, effect: &Effect) -> Result<(Outcome, Probe), Stop> {
        let waits = matches!(effect, Effect::Wait | Effect::Rest);
        run.reach.begin();
        let probe = self.performer.probe(&self.machine, effect);
        let work = self.performer.perform(&self.machine, effect);
        tokio::pin!(work);
        let mut is_lost = false;
        loop {
            tokio::select! {
                biased;
                () = self.runtime.shutdown.begun() => return Err(Stop::Leaving),
                outcome = &mut work => return Ok((outcome, probe)),
                () = self.live.nudged(), if waits => {
                    let rests = matches!(effect, Effect::Rest);
                    let outcome = if rests { Outcome::Rested } else { Outcome::Waited };
                    return Ok((outcome, probe));
                }
                loss = run.keeper.lost(), if !is_lost => {
                    if waits {
                        return Err(Stop::Lost(loss));
                    }
                    is_lost = true;
                }
                lasted = run.reach.silence(&probe) => {
                    let asked = probe.to_string();
                    return Err(Stop::CutOff(CutOff { asked, lasted, why: None }));
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
            (_, Outcome::SourcePaused { granted }) => self.moves.note_pause(*granted),
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
            let wait = run.reach.may_fail_for().map_or(wait, |left| left.min(wait));
            tokio::select! {
                biased;
                () = self.runtime.shutdown.begun() => {}
                _ = run.keeper.lost() => {}
                () = self.runtime.clock.sleep(wait) => {}
            }
        } else {
            self.backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(2));
        }
        let now = self.runtime.clock.monotonic();
        if self.live.take_nudge() {
            // Orders came; they are taken at the next safe point.
            let (clock, soon) = self.soon();
            let _ = soon.bound(&*clock, self.performer.refresh()).await;
        } else if now.saturating_sub(run.recorded) >= self.settings.record_interval {
            self.record_progress(run, None).await;
        }
    }

    /// Writes down what went wrong where it cannot end the migration any more.
    async fn note_trouble(&mut self, failure: Failure) {
        let noted = self.performer.change_record(|record| record.failure = Some(failure.clone()));
        if let Err(error) = noted.await {
            tracing::warn!({ fields::ERROR } = %error, "a failure could not be recorded");
        }
    }

    /// Writes down where it is, and what it waits for while nobody runs it.
    async fn record_progress(&mut self, run: &mut Run, waits_for: Option<&Failure>) {
        let now = self.runtime.clock.monotonic();
        run.recorded = now;
        if self.performer.stored.finished {
            return;
        }
        let progress = run.meter.progress(&self.machine, &run.stats, now).to_record();
        let phase = self.machine.phase();
        let target = self.machine.target().cloned();
        let expires_at = run.keeper.lease().expires_at;
        let goes_on = run.reach.may_fail_for().is_none();
        let (clock, soon) = self.soon();
        let changed = self.performer.change_record(|record| {
            record.progress = progress;
            record.lease_expires_at = Some(expires_at);
            if !record.phase.has_ended() && !phase.has_ended() {
                record.phase = phase;
                record.target.clone_from(&target);
                record.note_waiting(waits_for, goes_on);
            }
        });
        // A record that is behind costs nothing: the truth is looked up on resume.
        match soon.bound(&*clock, changed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!({ fields::ERROR } = %error, "progress was not recorded");
            }
            Err(passed) => {
                tracing::debug!({ fields::ERROR } = %passed, "progress was not recorded");
            }
        }
    }

    fn soon(&self) -> (Arc<dyn Clock>, Deadline) {
        let clock = Arc::clone(&self.runtime.clock);
        let soon = Deadline::after(&*clock, self.settings.lease_ttl / RECORDED_WITHIN_PART);
        (clock, soon)
    }

    fn facts(&self) -> Facts {
        let record = self.performer.record();
        let options = &record.options;
        let now = self.runtime.clock.now();
        let paused = Duration::from_millis(record.paused_ms)
            + record.paused_since.map_or(Duration::ZERO, |since| now.since(since));
        let running = now.since(record.created_at).saturating_sub(paused);
        Facts {
            orders: record.orders,
            timed_out: running > options.close_timeout,
            source_held: self.performer.holds_source(),
            pace: self.pace.figures(options.page_events_max, options.pause_source_max),
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
        record.lease_expires_at = Some(run.keeper.lease().expires_at);
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
