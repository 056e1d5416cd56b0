//! How a run lets go of a migration that is not at its end.

use std::time::Duration;

use super::{Run, RunEnd, Runner};
use crate::domain::reason::Reason;
use crate::migration::lease::Loss;
use crate::migration::record::Failure;
use crate::telemetry::fields;

/// Why a run lets go between two steps.
pub(super) enum Stop {
    /// This process is stopping.
    Leaving,
    /// Nobody may rely on this process any more.
    Lost(Loss),
    /// This process is cut off from a store, which another may reach.
    CutOff(CutOff),
}

/// Who did not answer, for how long, and what calls said instead.
pub(super) struct CutOff {
    pub(super) asked: String,
    pub(super) lasted: Duration,
    pub(super) why: Option<String>,
}

impl CutOff {
    /// The word for it beside those of [`Loss`].
    const LABEL: &str = "cut_off";

    fn to_failure(&self) -> Failure {
        let Self { asked, lasted, why } = self;
        let seconds = lasted.as_secs_f64();
        let mut message =
            format!("waits until a proxy reaches {asked}, which did not answer for {seconds:.1}s");
        if let Some(why) = why {
            message += &format!(": {why}");
        }
        Failure { reason: Reason::StoreUnavailable, message }
    }
}

impl Runner {
    /// Lets go between two steps. Whoever has lost the lease writes nothing more: what the record
    /// says is the next owner's.
    pub(super) async fn let_go(&mut self, run: &mut Run, stop: Stop) -> RunEnd {
        match stop {
            Stop::Leaving => self.record_progress(run, None).await,
            Stop::CutOff(cut_off) => return self.leave_to_others(run, &cut_off).await,
            Stop::Lost(loss) => {
                self.moves.note_stepped_aside(loss.label());
                tracing::warn!(
                    { fields::LOCK_TOKEN } = self.performer.record().token,
                    { fields::MIGRATION_PHASE } = self.machine.phase().as_str(),
                    loss = loss.label(),
                    "the lease was lost; another process goes on with the migration"
                );
            }
        }
        RunEnd::SteppedAside
    }

    /// Says in the record what the migration waits for, so that people see it while nobody runs
    /// it. The lease is given back either way.
    async fn leave_to_others(&mut self, run: &mut Run, cut_off: &CutOff) -> RunEnd {
        let failure = cut_off.to_failure();
        self.moves.note_stepped_aside(CutOff::LABEL);
        tracing::warn!(
            { fields::LOCK_TOKEN } = self.performer.record().token,
            { fields::MIGRATION_PHASE } = self.machine.phase().as_str(),
            { fields::ERROR } = failure.message.as_str(),
            "cut off from a store; another process may go on with the migration"
        );
        self.record_progress(run, Some(&failure)).await;
        let ran_for = self.runtime.clock.monotonic().saturating_sub(run.began);
        RunEnd::CutOff { went_on: ran_for >= cut_off.lasted + self.settings.lease_ttl }
    }
}
