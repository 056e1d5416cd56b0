//! For whom the work at hand is done: until when it waits, and whether it still does.
//!
//! It goes along with the work and not through signatures: whoever waits, deep inside a store,
//! asks here whether anybody would still hear the answer. Work without a caller is the process's
//! own, a migration's for example, and waits for nobody.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Clock, Deadline};

tokio::task_local! {
    static CALLER: Caller;
}

/// One who waits for an answer.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    deadline: Option<Deadline>,
    left: CancellationToken,
    /// What counts as in flight for as long as work for this caller goes on.
    #[expect(dead_code, reason = "dropped, not read")]
    keeps: Option<Box<dyn Any + Send + Sync>>,
}

impl Caller {
    /// `keeps` is dropped with the last of the work that is done for the caller, also when that
    /// is after it left.
    pub fn new(deadline: Option<Deadline>, keeps: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self(Arc::new(Inner { deadline, left: CancellationToken::new(), keeps }))
    }

    /// Whose work this task does.
    pub fn current() -> Option<Self> {
        CALLER.try_with(Self::clone).ok()
    }

    /// Does work for this caller.
    pub fn serve<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CALLER.scope(self, work)
    }

    /// Does one piece of work for this caller that does not wait.
    pub fn serve_now<T>(&self, work: impl FnOnce() -> T) -> T {
        CALLER.sync_scope(self.clone(), work)
    }

    /// Nobody waits any more.
    pub(super) fn leave(&self) {
        self.0.left.cancel();
    }

    /// How long the caller of this work waits yet; none: for ever.
    pub fn patience(clock: &dyn Clock) -> Option<Duration> {
        let waits = |caller: &Self| match (caller.0.left.is_cancelled(), caller.0.deadline) {
            (true, _) => Some(Duration::ZERO),
            (false, deadline) => deadline.map(|deadline| deadline.remaining(clock)),
        };
        CALLER.try_with(waits).ok().flatten()
    }

    /// Whether the caller of this work left, or waited as long as it wanted to.
    pub fn has_given_up(clock: &dyn Clock) -> bool {
        Self::patience(clock).is_some_and(|patience| patience.is_zero())
    }

    /// Resolves when the caller of this work leaves.
    pub async fn leaves() {
        match Self::current() {
            Some(caller) => caller.0.left.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::virtual_clock::VirtualClock;

    #[tokio::test(start_paused = true)]
    async fn work_knows_how_long_its_caller_waits() {
        let clock = VirtualClock::new();
        assert_eq!(Caller::patience(&clock), None, "work of the process waits for nobody");
        let deadline = Deadline::after(&clock, Duration::from_secs(2));
        let caller = Caller::new(Some(deadline), None);
        let work = async {
            assert_eq!(Caller::patience(&clock), Some(Duration::from_secs(2)));
            clock.sleep(Duration::from_secs(2)).await;
            assert!(Caller::has_given_up(&clock));
        };
        caller.serve(work).await;
        assert!(Caller::current().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn work_hears_that_its_caller_left() {
        let clock = VirtualClock::new();
        let caller = Caller::new(None, None);
        let work = async {
            assert!(!Caller::has_given_up(&clock));
            Caller::current().unwrap().leave();
            Caller::leaves().await;
            assert!(Caller::has_given_up(&clock));
        };
        caller.serve(work).await;
    }
}
