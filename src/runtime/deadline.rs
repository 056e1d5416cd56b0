//! The moment until which a caller waits, on a clock that never goes back.

use std::future::Future;
use std::time::Duration;

use super::Clock;

/// A reading of [`Clock::monotonic`] after which nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Duration);

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlinePassed;

impl Deadline {
    pub fn after(clock: &dyn Clock, duration: Duration) -> Self {
        Self(clock.monotonic().saturating_add(duration))
    }

    pub fn remaining(self, clock: &dyn Clock) -> Duration {
        self.0.saturating_sub(clock.monotonic())
    }

    pub fn has_passed(self, clock: &dyn Clock) -> bool {
        self.remaining(clock).is_zero()
    }

    /// Runs `work` until the deadline; then drops it.
    pub async fn bound<F: Future>(
        self,
        clock: &dyn Clock,
        work: F,
    ) -> Result<F::Output, DeadlinePassed> {
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = clock.sleep(self.remaining(clock)) => Err(DeadlinePassed),
        }
    }
}
