//! The lease of a running migration: renewed well before it expires, beside whatever the migration
//! does, and known to be lost by the clock alone, so that a process that slept through it notices
//! before its next step.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use crate::domain::ObjectKey;
use crate::lock::{Lease, Lock, LockError, Owner};
use crate::runtime::{Clock, Runtime};

/// Why a lease is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The lock service says so: it was given to another, or forgotten.
    Taken,
    /// It could not be renewed in time: the service did not answer, or this process slept.
    Expired,
    /// Another process has taken the migration over, says its record.
    Overtaken,
}

impl Loss {
    pub const ALL: [Self; 3] = [Self::Taken, Self::Expired, Self::Overtaken];

    /// The label of metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Expired => "expired",
            Self::Overtaken => "overtaken",
        }
    }
}

/// The parts of a lease after which it is renewed, and after which a failed renewal is repeated.
const RENEW_AFTER_PART: u32 = 4;
const REPEAT_AFTER_PART: u32 = 16;

/// Keeps one lease up as long as it lives.
///
/// The renewals are a task of their own: no step, no wait and no note in the record delays one.
pub struct LeaseKeeper {
    lock: Arc<dyn Lock>,
    clock: Arc<dyn Clock>,
    kept: watch::Receiver<Kept>,
    loss: Option<Loss>,
}

/// What is known of the lease.
#[derive(Clone)]
struct Kept {
    lease: Lease,
    /// Until when nobody else can have it, on the clock that never goes back: a whole lease from
    /// before the last question that was answered.
    held_until: Duration,
    loss: Option<Loss>,
}

impl LeaseKeeper {
    pub async fn acquire(
        lock: Arc<dyn Lock>,
        runtime: &Runtime,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Self, LockError> {
        let clock = Arc::clone(&runtime.clock);
        let asked = clock.monotonic();
        let lease = lock.acquire(object, owner, ttl).await?;
        let told = watch::Sender::new(Kept { lease, held_until: asked + ttl, loss: None });
        let kept = told.subscribe();
        let renewing = Renewing {
            lock: Arc::clone(&lock),
            clock: Arc::clone(&clock),
            ttl,
            renew_at: asked + ttl / RENEW_AFTER_PART,
        };
        runtime.shutdown.spawn(renewing.run(told).in_current_span());
        Ok(Self { lock, clock, kept, loss: None })
    }

    pub fn lease(&self) -> Lease {
        self.kept.borrow().lease.clone()
    }

    /// Whether it was lost by now.
    pub fn look(&mut self) -> Option<Loss> {
        if self.loss.is_none() {
            let kept = self.kept.borrow();
            let has_expired = self.clock.monotonic() >= kept.held_until;
            self.loss = kept.loss.or(has_expired.then_some(Loss::Expired));
        }
        self.loss
    }

    /// Resolves once the lease is lost.
    ///
    /// Cancellation: it changes nothing.
    pub async fn lost(&mut self) -> Loss {
        let clock = Arc::clone(&self.clock);
        loop {
            if let Some(loss) = self.look() {
                return loss;
            }
            let held_until = self.kept.borrow_and_update().held_until;
            let expired = clock.sleep(held_until.saturating_sub(clock.monotonic()));
            tokio::select! {
                biased;
                Ok(()) = self.kept.changed() => {}
                () = expired => {}
            }
        }
    }

    /// The migration was taken over by another process.
    pub fn overtaken(&mut self) {
        self.loss = Some(Loss::Overtaken);
    }

    /// Gives the lock back, unless it is lost.
    pub async fn release(mut self) {
        if self.look().is_some() {
            return;
        }
        let Self { lock, kept, .. } = self;
        let lease = kept.borrow().lease.clone();
        // Order: it is not renewed any more. A renewal that is on its way finds it given back.
        drop(kept);
        // A lease that is not given back expires by itself.
        let _ = lock.release(&lease).await;
    }
}

/// The task that renews one lease.
struct Renewing {
    lock: Arc<dyn Lock>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    renew_at: Duration,
}

impl Renewing {
    /// Until the lease is lost, or its keeper is gone. It does not ask for shutdown: a migration
    /// that stops keeps its lease until it has written down where it is, and then drops the keeper.
    async fn run(mut self, told: watch::Sender<Kept>) {
        let clock = Arc::clone(&self.clock);
        loop {
            let Kept { lease, held_until, loss } = told.borrow().clone();
            if loss.is_some() {
                return;
            }
            let due = self.renew_at.min(held_until).saturating_sub(clock.monotonic());
            tokio::select! {
                biased;
                () = told.closed() => return,
                () = clock.sleep(due) => {}
            }
            let asked = clock.monotonic();
            let answer = tokio::select! {
                biased;
                () = told.closed() => return,
                answer = self.lock.renew(&lease, self.ttl) => Some(answer),
                () = clock.sleep(held_until.saturating_sub(asked)) => None,
            };
            told.send_modify(|kept| self.note(kept, asked, answer));
        }
    }

    fn note(&mut self, kept: &mut Kept, asked: Duration, answer: Option<Result<Lease, LockError>>) {
        let now = self.clock.monotonic();
        match answer {
            // Before any answer that came meanwhile: it may have been on its way for long.
            _ if now >= kept.held_until => kept.loss = Some(Loss::Expired),
            Some(Ok(lease)) => {
                kept.lease = lease;
                kept.held_until = asked + self.ttl;
                self.renew_at = asked + self.ttl / RENEW_AFTER_PART;
            }
            // Invariant 9: without the lock service a migration goes on while its lease lasts.
            Some(Err(LockError::Unavailable { .. })) | None => {
                self.renew_at = now + self.ttl / REPEAT_AFTER_PART;
            }
            Some(Err(LockError::Lost | LockError::Held { .. })) => kept.loss = Some(Loss::Taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::domain::Timestamp;
    use crate::lock::FencingToken;
    use crate::testing::clock::ManualClock;

    const TTL: Duration = Duration::from_secs(12);

    /// A lock service that answers as it is told, and counts renewals.
    #[derive(Default)]
    struct Service {
        is_away: AtomicBool,
        has_forgotten: AtomicBool,
        is_silent: AtomicBool,
        renewals: AtomicUsize,
    }

    #[async_trait]
    impl Lock for Service {
        async fn acquire(
            &self,
            object: &ObjectKey,
            owner: &Owner,
            _: Duration,
        ) -> Result<Lease, LockError> {
            let (object, owner) = (object.clone(), owner.clone());
            let expires_at = Timestamp::EPOCH;
            Ok(Lease { object, owner, token: FencingToken(1), expires_at })
        }

        async fn renew(&self, lease: &Lease, _: Duration) -> Result<Lease, LockError> {
            self.renewals.fetch_add(1, Ordering::SeqCst);
            if self.is_silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.is_away.load(Ordering::SeqCst) {
                return Err(LockError::Unavailable { retry_after: None });
            }
            if self.has_forgotten.load(Ordering::SeqCst) {
                return Err(LockError::Lost);
            }
            Ok(lease.clone())
        }

        async fn release(&self, _: &Lease) -> Result<(), LockError> {
            Ok(())
        }

        async fn holder(&self, _: &ObjectKey) -> Result<Option<Lease>, LockError> {
            Ok(None)
        }
    }

    /// Lets time pass, and whatever is due happen.
    async fn pass(clock: &ManualClock, length: Duration) {
        // The renewing task sleeps or asks before, and again after.
        settle().await;
        clock.advance(length);
        settle().await;
    }

    async fn settle() {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }

    async fn kept() -> (Arc<Service>, Arc<ManualClock>, LeaseKeeper) {
        let service = Arc::<Service>::default();
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let runtime = Runtime { clock: clock.clone(), ..Runtime::system() };
        let object = ObjectKey::new("order", "1").unwrap();
        let owner = Owner("a".into());
        let keeper = LeaseKeeper::acquire(service.clone(), &runtime, &object, &owner, TTL).await;
        (service, clock, keeper.unwrap())
    }

    #[tokio::test]
    async fn a_lease_is_renewed_while_its_holder_waits_for_something_else() {
        let (service, clock, mut keeper) = kept().await;
        for _ in 0..30 {
            pass(&clock, TTL / 4).await;
        }
        assert_eq!(keeper.look(), None);
        assert!(service.renewals.load(Ordering::SeqCst) >= 30);
    }

    #[tokio::test]
    async fn nothing_is_renewed_for_a_keeper_that_is_gone() {
        let (service, clock, keeper) = kept().await;
        keeper.release().await;
        for _ in 0..8 {
            pass(&clock, TTL / 4).await;
        }
        assert_eq!(service.renewals.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_asked_again_until_the_lease_has_expired() {
        let (service, clock, mut keeper) = kept().await;
        service.is_away.store(true, Ordering::SeqCst);
        pass(&clock, TTL - Duration::from_nanos(1)).await;
        assert_eq!(keeper.look(), None);
        pass(&clock, Duration::from_nanos(1)).await;
        assert_eq!(keeper.look(), Some(Loss::Expired));
        // Whatever it says later, somebody else may have it.
        service.is_away.store(false, Ordering::SeqCst);
        assert_eq!(keeper.look(), Some(Loss::Expired));
    }

    #[tokio::test]
    async fn a_service_that_comes_back_in_time_costs_nothing() {
        let (service, clock, mut keeper) = kept().await;
        service.is_away.store(true, Ordering::SeqCst);
        pass(&clock, TTL / 2).await;
        assert_eq!(keeper.look(), None);
        service.is_away.store(false, Ordering::SeqCst);
        pass(&clock, TTL / 4).await;
        assert_eq!(keeper.look(), None);
        pass(&clock, TTL - Duration::from_nanos(1)).await;
        assert_eq!(keeper.look(), None, "it was renewed");
    }

    #[tokio::test]
    async fn a_process_that_slept_through_its_lease_knows_it_by_the_clock() {
        let (service, clock, mut keeper) = kept().await;
        service.is_silent.store(true, Ordering::SeqCst);
        pass(&clock, TTL / 2).await;
        assert_eq!(keeper.look(), None);
        pass(&clock, TTL / 2).await;
        assert_eq!(keeper.look(), Some(Loss::Expired), "though a renewal is on its way");
    }

    #[tokio::test]
    async fn a_lease_that_the_service_forgot_is_lost_at_the_next_renewal() {
        let (service, clock, mut keeper) = kept().await;
        service.has_forgotten.store(true, Ordering::SeqCst);
        assert_eq!(keeper.look(), None);
        pass(&clock, TTL / 3).await;
        assert_eq!(keeper.look(), Some(Loss::Taken));
    }
}
