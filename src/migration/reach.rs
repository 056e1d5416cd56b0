//! Whether what a migration calls can be reached from here: tells a store that is slow from one
//! that this process is cut off from, so that a lease is not kept for nothing.

use std::sync::Arc;
use std::time::Duration;

use super::effects::Probe;
use crate::runtime::Clock;

/// The part of a lease after which calls that only failed mean that this process is cut off: the
/// rest of the lease is for another to begin and to make up for it. A silence may last a lease.
const FAILING_QUARTERS: u32 = 3;
/// The part of that time between two questions to a store that does not answer a call.
const ASK_AFTER_PART: u32 = 4;
/// Doublings of how long a silence is borne, at most: a call that will never be answered must end.
const DOUBLINGS_MAX: u32 = 3;

/// What one run knows of the stores that it calls.
///
/// Two things are told apart. A call that *failed* was given up by the store's own wrappers:
/// refused, broken, or timed out. Calls that only fail for most of a lease are enough. A call that
/// has *no answer yet* may be slow, so the same stores are asked a small question meanwhile, and
/// each answer starts the time anew, also one that another migration of this process was given.
pub struct Reach {
    clock: Arc<dyn Clock>,
    /// How long calls may fail.
    failing_max: Duration,
    /// How long nobody may answer anything.
    silent_max: Duration,
    /// Since when nobody answered the call that is under way.
    silent_since: Duration,
    /// Since when all calls failed.
    failing_since: Option<Duration>,
}

impl Reach {
    /// `cut_off_before` is how often in a row this process came to the end of its patience with
    /// this migration. Each time it bears a silence twice as long: one that always ends is no
    /// silence but a slow store.
    pub fn new(clock: Arc<dyn Clock>, lease_ttl: Duration, cut_off_before: u32) -> Self {
        let failing_max = lease_ttl * FAILING_QUARTERS / 4;
        let silent_max = lease_ttl * (1 << cut_off_before.min(DOUBLINGS_MAX));
        let silent_since = clock.monotonic();
        Self { clock, failing_max, silent_max, silent_since, failing_since: None }
    }

    /// A call begins.
    pub fn begin(&mut self) {
        self.silent_since = self.failing_since.unwrap_or_else(|| self.clock.monotonic());
    }

    /// The call was answered, or waited for nobody.
    pub fn note_answered(&mut self) {
        self.failing_since = None;
    }

    /// The call failed without an answer.
    pub fn note_failed(&mut self) {
        self.failing_since.get_or_insert(self.silent_since);
    }

    /// How long calls failed, once that is too long.
    pub fn failed_for(&self) -> Option<Duration> {
        let failed_for = self.failed_so_far()?;
        (failed_for >= self.failing_max).then_some(failed_for)
    }

    /// How much longer calls may fail; none while they do not.
    pub fn may_fail_for(&self) -> Option<Duration> {
        Some(self.failing_max.saturating_sub(self.failed_so_far()?))
    }

    fn failed_so_far(&self) -> Option<Duration> {
        Some(self.clock.monotonic().saturating_sub(self.failing_since?))
    }

    /// Resolves, beside a call, once nobody has answered for too long; with how long.
    ///
    /// Cancellation: when dropped, the next call goes on where this one was.
    pub async fn silence(&mut self, probe: &Probe) -> Duration {
        if probe.is_empty() {
            return std::future::pending().await;
        }
        let clock = Arc::clone(&self.clock);
        loop {
            if let Some(silent_for) = self.too_silent() {
                return silent_for;
            }
            let before_next = self.failing_max / ASK_AFTER_PART;
            clock.sleep(before_next.min(self.silence_left())).await;
            tokio::select! {
                biased;
                _ = probe.is_answered() => {}
                () = clock.sleep(self.silence_left()) => {}
            }
            // Also by what others here were answered.
            self.silent_since = self.silent_since.max(probe.last_answered());
        }
    }

    fn too_silent(&self) -> Option<Duration> {
        let silent_for = self.clock.monotonic().saturating_sub(self.silent_since);
        (silent_for >= self.silent_max).then_some(silent_for)
    }

    fn silence_left(&self) -> Duration {
        (self.silent_since + self.silent_max).saturating_sub(self.clock.monotonic())
    }
}
