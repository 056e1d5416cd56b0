//! What a migration does next. Pure: a state and an outcome in, the next state and its one effect
//! out. No clock, no store, no log; the repository's model explores this very code.
//!
//! Each effect is one external call. It may run twice and is written so that twice is once: when
//! its answer is lost, the machine asks for the same effect again ([`Outcome::Lost`]).
//!
//! ```text
//!   read document -> read record -> claim -> create target -> read target's tail
//!        -> compare what is there -> [ read source -> append -> read back ]* -> close
//!        -> read document -> reroute -> verify -> end
//! ```
//!
//! Without copy the source's tail is read where otherwise its events are, and the close follows.

use std::cmp::Ordering;

use super::pace::Figures;
use super::record::{Failure, Orders};
use super::steps::{Copied, DocumentView, Effect, Outcome, RecordView, Step};
use super::{OnConvergenceFailure, Phase};
use crate::domain::close_event::MigrationKind;
use crate::domain::reason::Reason;
use crate::domain::{Checksum, CloseEvent, Head, MigrationId, StreamAddress, StreamRef, Version};

/// Rounds without a smaller gap after which the strategy decides.
pub const ROUNDS_WITHOUT_PROGRESS_MAX: u32 = 5;

/// What does not change while a migration runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    pub migration: MigrationId,
    pub kind: MigrationKind,
    pub source: StreamRef,
    /// The first version that is copied; none for a continuation without copy.
    pub target_base: Option<Version>,
    pub on_convergence_failure: OnConvergenceFailure,
    /// The most events that are left to copy when appends are held back for it.
    pub pause_gap_max: u64,
}

/// What the runner knows at the moment of a step, beside the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub orders: Orders,
    /// The close timeout has passed.
    pub timed_out: bool,
    /// The pause of the source that this migration asked for has not expired.
    pub source_held: bool,
    /// How fast both sides were lately.
    pub pace: Figures,
}

/// A migration on its way, as one process knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    plan: Plan,
    step: Step,
    /// What is due, until its outcome is told.
    effect: Effect,
    /// Where the copy goes, once the document has handed it out.
    target: Option<StreamAddress>,
    copied: Copied,
    source_head: Head,
    /// The source's head when this round began: the round ends when the copy has it.
    round_end: Option<Version>,
    /// Appends of the object are held back by this migration.
    source_paused: bool,
    gap_min: Option<u64>,
    rounds_without_progress: u32,
}

/// An outcome that the step does not expect: a fault in whoever performs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step:?} does not expect {outcome:?}")]
pub struct Unexpected {
    pub step: Box<Step>,
    pub outcome: Box<Outcome>,
}

impl Unexpected {
    fn new(step: Step, outcome: Outcome) -> Self {
        Self { step: Box::new(step), outcome: Box::new(outcome) }
    }
}

impl Machine {
    /// A migration as its record remembers it. Whatever the record says, the truth is looked up,
    /// and a record without an end is resumed at the very beginning: the document must know.
    pub fn resume(plan: Plan, record: &RecordView) -> Self {
        let (step, effect) = match record.ended {
            None => (Step::Loading, Effect::ReadDocument),
            Some(phase) if record.is_final => (Step::Ended { phase }, Effect::ReadRecord),
            Some(phase) if record.released => (Step::Settling { phase }, Effect::ReadSourceTail),
            Some(phase) => (Step::Releasing { phase }, Effect::ReadDocument),
        };
        Self {
            step,
            effect,
            target: record.target.clone(),
            copied: Copied::nothing(plan.target_base.unwrap_or(Version::FIRST)),
            plan,
            source_head: Head::NONE,
            round_end: None,
            source_paused: false,
            gap_min: None,
            rounds_without_progress: 0,
        }
    }

    /// The one external call that is due; none when the migration has ended, or nothing can be
    /// done now.
    pub fn effect(&self) -> Option<&Effect> {
        let rests = matches!(self.step, Step::Ended { .. } | Step::Parked { .. });
        (!rests).then_some(&self.effect)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn step(&self) -> &Step {
        &self.step
    }

    pub fn target(&self) -> Option<&StreamAddress> {
        self.target.as_ref()
    }

    pub fn copied(&self) -> Copied {
        self.copied
    }

    /// The newest head of the source that was seen.
    pub fn source_head(&self) -> Head {
        self.source_head
    }

    /// The phase to show.
    pub fn phase(&self) -> Phase {
        match &self.step {
            Step::Loading | Step::Asking | Step::Claiming | Step::Creating => Phase::Preparing,
            Step::Looking
            | Step::Comparing
            | Step::Reading
            | Step::Appending { .. }
            | Step::ReadingBack { .. }
            | Step::Resting
            | Step::Waiting
            | Step::PausingSource
            | Step::ResumingBefore { .. }
            | Step::GivingUp { .. }
            | Step::RecordingEnd { .. } => Phase::CatchingUp,
            Step::Closing => Phase::Closing,
            Step::Locating { .. } | Step::Rerouting { .. } | Step::ResumingAfter => {
                Phase::Rerouting
            }
            Step::Verifying | Step::RecordingSuccess => Phase::Verifying,
            Step::RecordingTarget { phase }
            | Step::Releasing { phase }
            | Step::Settling { phase }
            | Step::Sealing { phase, .. }
            | Step::RecordingFinal { phase }
            | Step::Ended { phase }
            | Step::Parked { phase } => *phase,
        }
    }

    /// Takes the outcome of the effect and decides what comes next.
    pub fn on(&mut self, outcome: Outcome, facts: &Facts) -> Result<(), Unexpected> {
        match (self.step.clone(), outcome) {
            (_, Outcome::Lost) => self.on_lost(facts),
            (_, Outcome::Refused(failure)) => self.on_refused(failure),

            (Step::Loading, Outcome::Document(document)) => self.on_loaded(document),
            (Step::Asking, Outcome::Record(record)) => self.on_asked(&record),
            (Step::Claiming, Outcome::Claimed { target }) => {
                self.target = Some(target);
                self.go(Step::Creating, Effect::CreateTarget);
            }
            (Step::Claiming, Outcome::DocumentChanged) => {
                self.go(Step::Loading, Effect::ReadDocument);
            }
            (Step::Creating, Outcome::Created) => self.look(),

            (Step::Looking, Outcome::TargetTail { head, closed }) => {
                self.on_target_tail(head, closed.is_some(), facts);
            }
            (Step::Comparing, Outcome::Compared(copied)) => self.on_compared(copied, facts),
            (Step::Reading, Outcome::SourcePage { count, after, head, closed }) => {
                self.source_head = head;
                match closed {
                    Some(close) => self.on_closed(close),
                    None if count == 0 => self.try_to_close(facts),
                    None => self.append(count, after),
                }
            }
            (Step::Reading, Outcome::SourceTail { head, closed }) => {
                self.on_source_tail(head, closed, facts);
            }
            (Step::Appending { count, source }, Outcome::Appended) => {
                let effect = Effect::ReadBack { at: self.copied, count };
                self.go(Step::ReadingBack { count, source }, effect);
            }
            (Step::Appending { .. }, Outcome::TargetMoved) => self.look(),
            (Step::ReadingBack { count, source }, Outcome::ReadBack { after }) => {
                self.on_read_back(count, source, after, facts);
            }
            (Step::Resting, Outcome::Rested) => self.look(),
            (Step::Waiting, Outcome::Waited) => self.safe_point(facts),
            (Step::PausingSource, Outcome::SourcePaused { granted }) => {
                self.source_paused = granted;
                self.safe_point(facts);
            }

            (Step::Closing, Outcome::Closed(close)) => self.on_closed(close),
            (Step::Closing, Outcome::HeadMoved { head }) => self.on_head_moved(head, facts),
            (Step::Locating { close }, Outcome::Document(document)) => {
                self.on_located(close, &document);
            }
            (Step::Rerouting { .. }, Outcome::Rerouted) => self.after_reroute(),
            (Step::Rerouting { close }, Outcome::DocumentChanged) => self.locate(close),
            (Step::ResumingAfter, Outcome::SourceResumed) => self.verify(),
            (Step::ResumingBefore { then }, Outcome::SourceResumed) => self.go(then.0, then.1),
            (Step::Verifying, Outcome::Verified) => {
                self.go(Step::RecordingSuccess, Effect::RecordSuccess);
            }
            (Step::RecordingSuccess, Outcome::Recorded) => {
                self.step = Step::Ended { phase: Phase::Succeeded };
            }

            (Step::GivingUp { phase, failure }, Outcome::SourceTail { closed, .. }) => {
                match self.closed_by_this(closed) {
                    Some(close) => self.locate(close),
                    None => {
                        let effect = Effect::RecordEnd { phase, failure };
                        self.go(Step::RecordingEnd { phase }, effect);
                    }
                }
            }
            (Step::RecordingEnd { .. }, Outcome::Record(record)) => {
                return self.on_end_recorded(record);
            }
            (Step::Releasing { phase }, Outcome::Document(document)) => {
                self.on_claim_seen(phase, &document);
            }
            (
                Step::RecordingTarget { phase } | Step::Releasing { phase },
                Outcome::Record(record),
            ) => self.on_target_recorded(phase, &record),
            (Step::Releasing { phase }, Outcome::DocumentChanged) => {
                self.go(Step::Releasing { phase }, Effect::ReadDocument);
            }
            (Step::Releasing { phase }, Outcome::Released) => {
                self.go(Step::Releasing { phase }, Effect::RecordReleased);
            }

            (Step::Settling { phase }, Outcome::SourceTail { closed, .. }) => {
                let closed_by_another = closed.is_some();
                match self.closed_by_this(closed) {
                    Some(close) => self.locate(close),
                    None => self.settle(phase, closed_by_another),
                }
            }
            (Step::Sealing { phase, copy }, outcome) => {
                return self.on_sealing(phase, copy, outcome);
            }
            (Step::RecordingFinal { phase }, Outcome::Recorded) => {
                self.step = Step::Ended { phase };
            }
            (step, outcome) => return Err(Unexpected::new(step, outcome)),
        }
        Ok(())
    }

    /// The same effect again, unless there is an order to stop and the source is not known to be
    /// closed: a close that is on its way is found by the last look, or later (I12).
    fn on_lost(&mut self, facts: &Facts) {
        let may_stop = matches!(
            self.step,
            Step::Looking
                | Step::Comparing
                | Step::Reading
                | Step::Appending { .. }
                | Step::ReadingBack { .. }
                | Step::Closing
        );
        if may_stop {
            self.must_stop(facts);
        }
    }

    fn go(&mut self, step: Step, effect: Effect) {
        self.step = step;
        self.effect = effect;
    }

    fn closed_by_this(&self, closed: Option<Box<CloseEvent>>) -> Option<Box<CloseEvent>> {
        closed.filter(|close| close.migration == self.plan.migration)
    }

    fn learn_target(&mut self, document: &DocumentView) {
        match document {
            DocumentView::Active { claimed: Some(target) } => self.target = Some(target.clone()),
            DocumentView::Active { claimed: None }
            | DocumentView::Terminated { .. }
            | DocumentView::Unknown => {}
        }
    }

    /// Another process of this migration may know of a claim that this one never saw.
    fn learn_recorded_target(&mut self, record: &RecordView) {
        if let Some(target) = &record.target {
            self.target = Some(target.clone());
        }
    }
}

/// Prepare: the document must know, and the target must be ours.
impl Machine {
    fn on_loaded(&mut self, document: DocumentView) {
        self.learn_target(&document);
        match document {
            DocumentView::Active { .. } => self.go(Step::Asking, Effect::ReadRecord),
            DocumentView::Terminated { closed_by, continuation } => {
                if closed_by == self.plan.migration {
                    self.target = Some(continuation);
                    return self.verify();
                }
                self.give_up(moved_by(closed_by));
            }
            DocumentView::Unknown => {
                let message = "the object document does not know the source";
                self.give_up(failure(Reason::CorruptData, message));
            }
        }
    }

    /// Order: the document is read before the record, and the claim is conditional on that
    /// reading. An end that is recorded in between changes the document afterwards, so the claim
    /// of a migrator that slept through its own cancellation is refused.
    fn on_asked(&mut self, record: &RecordView) {
        self.learn_recorded_target(record);
        match record.ended {
            Some(phase) if record.is_final => self.step = Step::Ended { phase },
            Some(phase) => self.go(Step::Releasing { phase }, Effect::ReadDocument),
            None if record.orders.cancelled => self.end_as(Phase::Cancelled, None),
            None => self.go(Step::Claiming, Effect::ClaimDocument),
        }
    }
}

/// Catch up: page by page, each at its exact position and read back.
impl Machine {
    fn look(&mut self) {
        self.go(Step::Looking, Effect::ReadTargetTail);
    }

    fn on_target_tail(&mut self, head: Head, is_closed: bool, facts: &Facts) {
        let Some(base) = self.plan.target_base else {
            return self.on_continuation_tail(head, is_closed, facts);
        };
        // A copy that was sealed, or that has been in use and moved on, tells that this migration
        // is over; the source tells how.
        if is_closed {
            return self.give_up(failure(Reason::TargetDiverged, "the target was closed"));
        }
        let there = head.next().max(base);
        match there.cmp(&self.copied.next) {
            Ordering::Equal => self.safe_point(facts),
            Ordering::Greater => {
                let effect = Effect::Compare { from: self.copied, to: there };
                self.go(Step::Comparing, effect);
            }
            // What was read back is gone: the store lost it.
            Ordering::Less => self.give_up(diverged()),
        }
    }

    /// A continuation that has events or an end is in use, so this migration's close was done, as
    /// the source will tell; or else they are not ours (I10).
    fn on_continuation_tail(&mut self, head: Head, is_closed: bool, facts: &Facts) {
        if is_closed || head != Head::NONE {
            let message = "the target is not empty, and nothing was copied to it";
            return self.give_up(failure(Reason::TargetDiverged, message));
        }
        self.safe_point(facts);
    }

    /// Without copy nothing is between looking at the source and closing it.
    fn on_source_tail(&mut self, head: Head, closed: Option<Box<CloseEvent>>, facts: &Facts) {
        self.source_head = head;
        match closed {
            Some(close) => self.on_closed(close),
            None => {
                self.copied.next = head.next();
                self.try_to_close(facts);
            }
        }
    }

    fn on_compared(&mut self, copied: Option<Copied>, facts: &Facts) {
        match copied {
            Some(copied) if copied.agrees() => {
                self.copied = copied;
                self.safe_point(facts);
            }
            Some(_) | None => self.give_up(diverged()),
        }
    }

    fn append(&mut self, count: u64, source: Checksum) {
        let effect = Effect::AppendTarget { at: self.copied, count };
        self.go(Step::Appending { count, source }, effect);
    }

    fn on_read_back(&mut self, count: u64, source: Checksum, target: Checksum, facts: &Facts) {
        self.copied = Copied { next: self.copied.next.plus(count), source, target };
        if !self.copied.agrees() {
            return self.give_up(diverged());
        }
        // The page that reached the head is followed by the close itself: nothing tells better
        // whether more has come.
        let head = self.source_head;
        if self.copied.next >= head.next() {
            return self.try_to_close(facts);
        }
        let round_end = *self.round_end.get_or_insert(head.next());
        if self.copied.next >= round_end && self.is_stuck_after_round(head) {
            return self.on_stuck(Step::Reading, Effect::ReadSource { at: self.copied }, facts);
        }
        self.safe_point(facts);
    }

    /// Between two calls, before the close: the only place where orders are taken.
    fn safe_point(&mut self, facts: &Facts) {
        if self.must_stop(facts) {
            return;
        }
        let effect = match self.plan.kind {
            MigrationKind::Copy => Effect::ReadSource { at: self.copied },
            MigrationKind::Continue => Effect::ReadSourceTail,
        };
        self.go(Step::Reading, effect);
    }

    fn must_stop(&mut self, facts: &Facts) -> bool {
        if facts.orders.cancelled {
            self.end_as(Phase::Cancelled, None);
        } else if facts.orders.paused {
            self.without_pause(Step::Resting, Effect::Rest);
        } else if facts.timed_out {
            let message = self.not_closed("the source was not closed within close_timeout", facts);
            self.end_as(Phase::Failed, Some(failure(Reason::CloseTimeout, &message)));
        } else {
            return false;
        }
        true
    }
}

/// Close: the decision (I3).
impl Machine {
    /// Invariant 4: both sides were read up to here and agree in content, not only in number.
    fn try_to_close(&mut self, facts: &Facts) {
        if self.must_stop(facts) {
            return;
        }
        let head = Head::before(self.copied.next);
        let checksum = self.plan.target_base.map(|_| self.copied.source);
        self.go(Step::Closing, Effect::CloseSource { head, checksum });
    }

    fn on_closed(&mut self, close: Box<CloseEvent>) {
        if close.migration == self.plan.migration {
            return self.locate(close);
        }
        self.give_up(moved_by(close.migration));
    }

    fn on_head_moved(&mut self, head: Head, facts: &Facts) {
        self.source_head = head;
        let is_stuck = self.is_stuck_after_round(head);
        // While appends are held nothing new comes from here; what came before is copied at once.
        self.source_paused = self.source_paused && facts.source_held;
        if self.source_paused {
            return self.safe_point(facts);
        }
        if is_stuck {
            return self.on_stuck(Step::Waiting, Effect::Wait, facts);
        }
        self.go(Step::Waiting, Effect::Wait);
    }

    /// The events that are known to be left.
    fn gap(&self) -> u64 {
        self.source_head.next().0.saturating_sub(self.copied.next.0)
    }

    /// The most events that are left when a pause begins: a page, and no more than can be copied
    /// while it lasts.
    fn pause_gap_max(&self, facts: &Facts) -> u64 {
        let foreseen = facts.pace.pause_gap_max.unwrap_or(u64::MAX);
        foreseen.min(self.plan.pause_gap_max)
    }

    /// Why the source is still open, with figures.
    fn not_closed(&self, message: &str, facts: &Facts) -> String {
        let (gap, pace) = (self.gap(), facts.pace);
        let fits = match self.plan.on_convergence_failure {
            OnConvergenceFailure::PauseSource => {
                format!("; a pause has room for {} events", self.pause_gap_max(facts))
            }
            OnConvergenceFailure::Fail | OnConvergenceFailure::KeepTrying => String::new(),
        };
        format!("{message}: {gap} events were left at the last look{pace}{fits}")
    }

    /// Ends a round of catch-up that found the source at `head`; true when the gap did not shrink
    /// for too many rounds.
    fn is_stuck_after_round(&mut self, head: Head) -> bool {
        self.round_end = Some(head.next());
        if self.plan.on_convergence_failure == OnConvergenceFailure::KeepTrying {
            return false;
        }
        let gap = head.next().0.saturating_sub(self.copied.next.0);
        if self.gap_min.is_none_or(|least| gap < least) {
            self.gap_min = Some(gap);
            self.rounds_without_progress = 0;
        } else {
            self.rounds_without_progress += 1;
        }
        self.rounds_without_progress >= ROUNDS_WITHOUT_PROGRESS_MAX
    }

    /// The strategy decides; `otherwise` is what comes next when it decides to go on as before.
    fn on_stuck(&mut self, otherwise: Step, effect: Effect, facts: &Facts) {
        self.rounds_without_progress = 0;
        match self.plan.on_convergence_failure {
            OnConvergenceFailure::Fail => {
                let message = "the gap at the close did not shrink in five rounds";
                let message = self.not_closed(message, facts);
                self.give_up(failure(Reason::NotConverging, &message));
            }
            // A pause that cannot be kept would stall writers for nothing.
            OnConvergenceFailure::PauseSource if self.gap() <= self.pause_gap_max(facts) => {
                self.go(Step::PausingSource, Effect::PauseSource);
            }
            OnConvergenceFailure::PauseSource | OnConvergenceFailure::KeepTrying => {
                self.go(otherwise, effect);
            }
        }
    }
}

/// Update routing, and observe the effect.
impl Machine {
    fn locate(&mut self, close: Box<CloseEvent>) {
        self.go(Step::Locating { close }, Effect::ReadDocument);
    }

    fn on_located(&mut self, close: Box<CloseEvent>, document: &DocumentView) {
        if let Some(continuation) = close.continuation() {
            self.target = Some(continuation.address.clone());
        }
        self.source_head = close.head;
        match document {
            DocumentView::Active { .. } => {
                self.go(Step::Rerouting { close: close.clone() }, Effect::Reroute { close });
            }
            // Somebody repaired it, and the target may have moved on since.
            DocumentView::Terminated { .. } => self.after_reroute(),
            DocumentView::Unknown => self.step = Step::Parked { phase: Phase::Rerouting },
        }
    }

    fn after_reroute(&mut self) {
        if self.source_paused {
            self.source_paused = false;
            return self.go(Step::ResumingAfter, Effect::ResumeSource);
        }
        self.verify();
    }

    fn verify(&mut self) {
        self.go(Step::Verifying, Effect::Verify { at: self.copied });
    }
}

/// Give up: the last look at the source comes first, since a close by this migration wins.
impl Machine {
    fn give_up(&mut self, failure: Failure) {
        self.end_as(Phase::Failed, Some(failure));
    }

    fn end_as(&mut self, phase: Phase, failure: Option<Failure>) {
        self.without_pause(Step::GivingUp { phase, failure }, Effect::ReadSourceTail);
    }

    /// Goes on only after appends that this migration held back were let go.
    fn without_pause(&mut self, step: Step, effect: Effect) {
        if !self.source_paused {
            return self.go(step, effect);
        }
        self.source_paused = false;
        let then = Box::new((step, effect));
        self.go(Step::ResumingBefore { then }, Effect::ResumeSource);
    }
}

/// Release: no claim that was prepared before the end can succeed after it, and a claim that was
/// made is not forgotten.
impl Machine {
    /// The first end that was recorded stands, whoever gives up after it.
    fn on_end_recorded(&mut self, record: RecordView) -> Result<(), Unexpected> {
        self.learn_recorded_target(&record);
        match record.ended {
            Some(phase) if record.is_final => self.step = Step::Ended { phase },
            Some(phase) => self.go(Step::Releasing { phase }, Effect::ReadDocument),
            None => return Err(Unexpected::new(self.step.clone(), Outcome::Record(record))),
        }
        Ok(())
    }

    /// Order: the record learns where the claim leads before the document forgets it. A sleeper
    /// may still copy to there and close, so whoever settles must know of it.
    fn on_claim_seen(&mut self, phase: Phase, document: &DocumentView) {
        self.learn_target(document);
        match document {
            DocumentView::Active { claimed: Some(_) } => {
                self.go(Step::RecordingTarget { phase }, Effect::RecordTarget);
            }
            DocumentView::Active { claimed: None }
            | DocumentView::Terminated { .. }
            | DocumentView::Unknown => {
                self.go(Step::Releasing { phase }, Effect::ReleaseDocument);
            }
        }
    }

    fn on_target_recorded(&mut self, phase: Phase, record: &RecordView) {
        self.learn_recorded_target(record);
        if record.is_final {
            self.step = Step::Ended { phase: record.ended.unwrap_or(phase) };
        } else if record.released {
            self.go(Step::Settling { phase }, Effect::ReadSourceTail);
        } else {
            self.go(Step::Releasing { phase }, Effect::ReleaseDocument);
        }
    }
}

/// Settle: a provisional end becomes final once nothing can overtake it (I11, I12).
impl Machine {
    fn settle(&mut self, phase: Phase, closed_by_another: bool) {
        match self.plan.target_base {
            // No claim was ever made, and the release sees to it that none can be made.
            _ if self.target.is_none() => {
                self.go(Step::RecordingFinal { phase }, Effect::RecordFinal { phase });
            }
            // The header may be missing still; whoever sleeps before creating it finds it sealed.
            Some(_) => self.go(Step::Sealing { phase, copy: None }, Effect::CreateTarget),
            // Invariant 11: a sleeper copies nothing, so no head of the empty target stops it, and
            // whatever it closes points there. Only a source that another closed ends it.
            None if closed_by_another => {
                self.go(Step::RecordingFinal { phase }, Effect::RecordFinal { phase });
            }
            None => self.step = Step::Parked { phase },
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "any other outcome is the same fault")]
    fn on_sealing(
        &mut self,
        phase: Phase,
        copy: Option<Version>,
        outcome: Outcome,
    ) -> Result<(), Unexpected> {
        match outcome {
            Outcome::Created => self.go(Step::Sealing { phase, copy }, Effect::ReadTargetTail),
            Outcome::TargetTail { closed: Some(close), .. } => match close.continuation {
                // It has been in use, so this migration's close was done; the source shows it.
                Some(_) => self.go(Step::Settling { phase }, Effect::ReadSourceTail),
                None => self.go(Step::Sealing { phase, copy }, Effect::RemoveTarget),
            },
            Outcome::TargetTail { head, closed: None } => {
                let base = self.plan.target_base.unwrap_or(Version::FIRST);
                let copy = Some(head.next().max(base));
                self.go(Step::Sealing { phase, copy }, Effect::ReadSourceTail);
            }
            Outcome::SourceTail { head, closed } => {
                match (self.closed_by_this(closed.clone()), copy) {
                    (Some(close), _) => self.locate(close),
                    (None, Some(copy)) => self.judge_copy(phase, copy, head, closed.is_some()),
                    (None, None) => self.step = Step::Parked { phase },
                }
            }
            Outcome::Sealed => self.go(Step::Sealing { phase, copy }, Effect::RemoveTarget),
            // Someone still copies.
            Outcome::HeadMoved { .. } => self.step = Step::Parked { phase },
            Outcome::Removed => {
                self.go(Step::RecordingFinal { phase }, Effect::RecordFinal { phase });
            }
            outcome => return Err(Unexpected::new(self.step.clone(), outcome)),
        }
        Ok(())
    }

    /// Invariant 11: the copy was looked at first, the source after it. A source that is beyond
    /// the copy's head, or closed by another, cannot be closed in favour of this copy as it
    /// stands, and the seal sees to it that it stays as it stands.
    fn judge_copy(&mut self, phase: Phase, copy: Version, source: Head, closed_by_another: bool) {
        if closed_by_another || source.next() > copy {
            let head = Head::before(copy);
            return self.go(Step::Sealing { phase, copy: Some(copy) }, Effect::SealTarget { head });
        }
        self.step = Step::Parked { phase };
    }
}

/// What a store or document refuses for good.
impl Machine {
    fn on_refused(&mut self, failure: Failure) {
        match &self.step {
            // Before the close the migration ends, and its source stays as it is.
            Step::Loading
            | Step::Asking
            | Step::Claiming
            | Step::Creating
            | Step::Looking
            | Step::Comparing
            | Step::Reading
            | Step::Appending { .. }
            | Step::ReadingBack { .. }
            | Step::Resting
            | Step::Waiting
            | Step::PausingSource
            | Step::ResumingBefore { .. }
            | Step::Closing => {
                // A target that somebody else made is none of ours (I10).
                if failure.reason == Reason::TargetNotEmpty {
                    self.target = None;
                }
                self.give_up(failure);
            }
            // Foreign content is never sealed and never removed (I10).
            Step::Sealing { phase, .. } => {
                let phase = *phase;
                self.go(Step::RecordingFinal { phase }, Effect::RecordFinal { phase });
            }
            // There is no way back from here: leave it as it stands, to be looked at again.
            Step::Locating { .. }
            | Step::Rerouting { .. }
            | Step::ResumingAfter
            | Step::Verifying
            | Step::RecordingSuccess
            | Step::GivingUp { .. }
            | Step::RecordingEnd { .. }
            | Step::RecordingTarget { .. }
            | Step::Releasing { .. }
            | Step::Settling { .. }
            | Step::RecordingFinal { .. }
            | Step::Ended { .. }
            | Step::Parked { .. } => self.step = Step::Parked { phase: self.phase() },
        }
    }
}

fn failure(reason: Reason, message: &str) -> Failure {
    Failure { reason, message: message.to_owned() }
}

fn moved_by(migration: MigrationId) -> Failure {
    failure(Reason::StreamClosed, &format!("migration {migration} closed the source"))
}

fn diverged() -> Failure {
    failure(Reason::TargetDiverged, "the target holds something else than a prefix of the source")
}
