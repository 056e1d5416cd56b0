//! The lease of a running migration: renewed well before it expires, and known to be lost by the
//! clock alone, so that a process that slept through it notices before its next step.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::domain::ObjectKey;
use crate::lock::{Lease, Lock, LockError, Owner};
use crate::runtime::Clock;

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
const RENEW_AFTER_PART: u32 = 3;
const REPEAT_AFTER_PART: u32 = 12;

type Answer = Pin<Box<dyn Future<Output = Result<Lease, LockError>> + Send>>;

/// Keeps one lease up.
pub struct LeaseKeeper {
    lock: Arc<dyn Lock>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    lease: Lease,
    /// Until when nobody else can have it, on the clock that never goes back: a whole lease from
    /// before the last question that was answered.
    held_until: Duration,
    renew_at: Duration,
    /// A renewal on its way, and when it was asked for.
    renewal: Option<(Duration, Answer)>,
    loss: Option<Loss>,
}

impl LeaseKeeper {
    pub async fn acquire(
        lock: Arc<dyn Lock>,
        clock: Arc<dyn Clock>,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Self, LockError> {
        let asked = clock.monotonic();
        let lease = lock.acquire(object, owner, ttl).await?;
        let (held_until, renew_at) = (asked + ttl, asked + ttl / RENEW_AFTER_PART);
        Ok(Self { lock, clock, ttl, lease, held_until, renew_at, renewal: None, loss: None })
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether it was lost by now, without waiting. Starts a renewal that is due.
    pub fn look(&mut self) -> Option<Loss> {
        self.lost().now_or_never()
    }

    /// Keeps the lease up, and resolves once it is lost. When dropped, the next call goes on where
    /// this one was.
    pub async fn lost(&mut self) -> Loss {
        let loss = loop {
            let now = self.clock.monotonic();
            if let Some(loss) = self.loss {
                break loss;
            }
            // Before any answer that came meanwhile: it may have been on its way for long.
            if now >= self.held_until {
                break Loss::Expired;
            }
            if self.renewal.is_none() && now >= self.renew_at {
                let (lock, lease, ttl) = (Arc::clone(&self.lock), self.lease.clone(), self.ttl);
                let answer = Box::pin(async move { lock.renew(&lease, ttl).await });
                self.renewal = Some((now, answer));
            }
            match &mut self.renewal {
                None => {
                    let due = self.renew_at.min(self.held_until);
                    self.clock.sleep(due.saturating_sub(now)).await;
                }
                Some((asked, answer)) => {
                    let left = self.held_until.saturating_sub(now);
                    let answer = tokio::select! {
                        biased;
                        answer = answer => answer,
                        () = self.clock.sleep(left) => continue,
                    };
                    let asked = *asked;
                    self.renewal = None;
                    self.note(asked, answer);
                }
            }
        };
        self.loss = Some(loss);
        loss
    }

    fn note(&mut self, asked: Duration, answer: Result<Lease, LockError>) {
        match answer {
            Ok(lease) => {
                self.lease = lease;
                self.held_until = self.held_until.max(asked + self.ttl);
                self.renew_at = asked + self.ttl / RENEW_AFTER_PART;
            }
            // Invariant 9: without the lock service a migration goes on while its lease lasts.
            Err(LockError::Unavailable { .. }) => {
                self.renew_at = self.clock.monotonic() + self.ttl / REPEAT_AFTER_PART;
            }
            Err(LockError::Lost | LockError::Held { .. }) => self.loss = Some(Loss::Taken),
        }
    }

    /// The migration was taken over by another process.
    pub fn overtaken(&mut self) {
        self.loss = Some(Loss::Overtaken);
    }

    /// Gives the lock back, unless it is lost.
    pub async fn release(self) {
        if self.loss.is_none() {
            // A lease that is not given back expires by itself.
            let _ = self.lock.release(&self.lease).await;
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

    async fn kept() -> (Arc<Service>, Arc<ManualClock>, LeaseKeeper) {
        let service = Arc::<Service>::default();
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let object = ObjectKey::new("order", "1").unwrap();
        let owner = Owner("a".into());
        let keeper =
            LeaseKeeper::acquire(service.clone(), clock.clone(), &object, &owner, TTL).await;
        (service, clock, keeper.unwrap())
    }

    #[tokio::test]
    async fn a_lease_is_renewed_well_before_it_expires_also_between_short_steps() {
        let (service, clock, mut keeper) = kept().await;
        for _ in 0..30 {
            clock.advance(TTL / 4);
            assert_eq!(keeper.look(), None);
        }
        assert!(service.renewals.load(Ordering::SeqCst) >= 14);
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_asked_again_until_the_lease_has_expired() {
        let (service, clock, mut keeper) = kept().await;
        service.is_away.store(true, Ordering::SeqCst);
        clock.advance(TTL - Duration::from_nanos(1));
        assert_eq!(keeper.look(), None);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(keeper.look(), Some(Loss::Expired));
        // Whatever it says later, somebody else may have it.
        service.is_away.store(false, Ordering::SeqCst);
        assert_eq!(keeper.look(), Some(Loss::Expired));
    }

    #[tokio::test]
    async fn a_service_that_comes_back_in_time_costs_nothing() {
        let (service, clock, mut keeper) = kept().await;
        service.is_away.store(true, Ordering::SeqCst);
        clock.advance(TTL / 2);
        assert_eq!(keeper.look(), None);
        service.is_away.store(false, Ordering::SeqCst);
        clock.advance(TTL / 4);
        assert_eq!(keeper.look(), None);
        clock.advance(TTL - Duration::from_nanos(1));
        assert_eq!(keeper.look(), None, "it was renewed");
    }

    #[tokio::test]
    async fn a_process_that_slept_through_its_lease_knows_it_by_the_clock() {
        let (service, clock, mut keeper) = kept().await;
        service.is_silent.store(true, Ordering::SeqCst);
        clock.advance(TTL / 2);
        assert_eq!(keeper.look(), None);
        clock.advance(TTL / 2);
        assert_eq!(keeper.look(), Some(Loss::Expired), "though a renewal is on its way");
    }

    #[tokio::test]
    async fn a_lease_that_the_service_forgot_is_lost_at_the_next_renewal() {
        let (service, clock, mut keeper) = kept().await;
        service.has_forgotten.store(true, Ordering::SeqCst);
        assert_eq!(keeper.look(), None);
        clock.advance(TTL / 3);
        assert_eq!(keeper.look(), Some(Loss::Taken));
    }
}
