//! The promises of [`Lock`], one case each, on a clock that the case moves or on a server's own.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{ObjectKey, Timestamp};
use crate::lock::{Lease, Lock, LockError, Owner};
use crate::runtime::{Clock, SystemClock};
use crate::testing::clock::ManualClock;

/// A lock service under test.
#[derive(Clone)]
pub struct LockSubject {
    locks: Vec<Arc<dyn Lock>>,
    time: Time,
    _kept: Option<Arc<dyn Any + Send + Sync>>,
}

/// By what leases expire.
#[derive(Clone)]
enum Time {
    Manual(Arc<ManualClock>),
    /// The clock of a server, and ours beside it.
    Real,
}

/// A lease that outlasts a case.
const LONG: Duration = Duration::from_secs(60);
/// A lease that a case waits out.
const SHORT: Duration = Duration::from_millis(150);
const ACQUIRERS: usize = 50;

impl super::Finish for LockSubject {
    async fn finish(&self) {}
}

impl LockSubject {
    /// The clock that a subject is made with.
    pub fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_nanos(1_000_000_000)))
    }

    /// Leases expire by this clock.
    pub fn by_clock(lock: impl Lock, clock: Arc<ManualClock>) -> Self {
        Self::of(vec![Arc::new(lock)], Time::Manual(clock))
    }

    /// Leases expire as time passes. Each lock is what one proxy has; all lead to one service.
    pub fn by_real_time(locks: Vec<Arc<dyn Lock>>) -> Self {
        Self::of(locks, Time::Real)
    }

    fn of(locks: Vec<Arc<dyn Lock>>, time: Time) -> Self {
        Self { locks, time, _kept: None }
    }

    /// Keeps what the service lives in.
    #[must_use]
    pub fn keeping(mut self, kept: impl Send + Sync + 'static) -> Self {
        self._kept = Some(Arc::new(kept));
        self
    }

    /// The lock as the proxy of this number has it.
    fn lock(&self, proxy: usize) -> &Arc<dyn Lock> {
        &self.locks[proxy % self.locks.len()]
    }

    fn now(&self) -> Timestamp {
        match &self.time {
            Time::Manual(clock) => clock.now(),
            Time::Real => SystemClock.now(),
        }
    }

    /// Returns when a lease of [`SHORT`] that nobody renews has expired.
    async fn let_expire(&self, lease: &Lease) {
        match &self.time {
            Time::Manual(clock) => clock.advance(SHORT),
            Time::Real => {
                while self.lock(0).holder(&lease.object).await.unwrap().is_some() {
                    SystemClock.sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// A little time, in which nothing expires.
    fn move_on(&self) {
        if let Time::Manual(clock) = &self.time {
            clock.advance(SHORT / 2);
        }
    }
}

fn object(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).expect("well formed")
}

fn owner(name: &str) -> Owner {
    Owner(name.to_owned())
}

/// The same lease, whatever is left of it.
fn is_same(one: &Lease, other: &Lease) -> bool {
    (&one.object, &one.owner, one.token) == (&other.object, &other.owner, other.token)
}

super::suite! { $ lock_conformance, lock over LockSubject, [
    one_holder_at_a_time_until_it_lets_go
    a_lease_ends_by_itself
    a_lease_ends_when_it_says
    renewing_prolongs_a_lease
    an_expired_lease_is_neither_renewed_nor_released
    a_stranger_neither_renews_nor_releases
    acquiring_again_renews_and_keeps_the_token
    tokens_grow_with_every_holder
    locks_of_different_objects_are_apart
    an_id_of_any_text_has_its_lock
    of_fifty_at_once_exactly_one_gets_the_lock
    an_expired_lock_goes_to_one_of_fifty
    whoever_is_refused_learns_who_holds_it
] }

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[include_str!("lock.rs")];

pub async fn one_holder_at_a_time_until_it_lets_go(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    assert_eq!(lock.holder(&object).await.unwrap(), None);
    let lease = lock.acquire(&object, &owner("a"), LONG).await.unwrap();
    let holder = subject.lock(1).holder(&object).await.unwrap().unwrap();
    assert!(is_same(&holder, &lease), "{holder:?} {lease:?}");
    let refused = subject.lock(1).acquire(&object, &owner("b"), LONG).await;
    assert!(matches!(refused, Err(LockError::Held { .. })), "{refused:?}");
    lock.release(&lease).await.unwrap();
    assert_eq!(lock.holder(&object).await.unwrap(), None);
    assert!(matches!(lock.release(&lease).await, Err(LockError::Lost)));
    subject.lock(1).acquire(&object, &owner("b"), LONG).await.unwrap();
}

pub async fn a_lease_ends_by_itself(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    let lease = lock.acquire(&object, &owner("a"), SHORT).await.unwrap();
    subject.let_expire(&lease).await;
    assert_eq!(lock.holder(&object).await.unwrap(), None);
    let next = subject.lock(1).acquire(&object, &owner("b"), LONG).await.unwrap();
    assert_eq!(next.owner, owner("b"));
}

pub async fn a_lease_ends_when_it_says(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    let before = subject.now();
    let lease = lock.acquire(&object, &owner("a"), LONG).await.unwrap();
    let after = subject.now();
    assert!(before.plus(LONG) <= lease.expires_at && lease.expires_at <= after.plus(LONG));
    // What others are told is no later than that, but for what the service itself needed.
    let seen = subject.lock(1).holder(&object).await.unwrap().unwrap();
    let now = subject.now();
    assert!(now < seen.expires_at && seen.expires_at <= now.plus(LONG), "{seen:?}");
    if let Time::Manual(clock) = &subject.time {
        clock.advance(LONG - Duration::from_nanos(1));
        lock.acquire(&object, &owner("b"), LONG).await.expect_err("the lease still runs");
        clock.advance(Duration::from_nanos(1));
        lock.acquire(&object, &owner("b"), LONG).await.unwrap();
    }
}

pub async fn renewing_prolongs_a_lease(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    let first = lock.acquire(&object, &owner("a"), LONG).await.unwrap();
    subject.move_on();
    let renewed = lock.renew(&first, 2 * LONG).await.unwrap();
    assert!(is_same(&renewed, &first));
    assert!(renewed.expires_at >= subject.now().plus(LONG), "{renewed:?}");
    let seen = subject.lock(1).holder(&object).await.unwrap().unwrap();
    assert!(seen.expires_at >= subject.now().plus(LONG), "{seen:?}");
    // The lease as it was before the renewal is the same lease.
    lock.renew(&first, LONG).await.unwrap();
    lock.release(&first).await.unwrap();
}

pub async fn an_expired_lease_is_neither_renewed_nor_released(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    let lost = lock.acquire(&object, &owner("a"), SHORT).await.unwrap();
    subject.let_expire(&lost).await;
    assert!(matches!(lock.renew(&lost, LONG).await, Err(LockError::Lost)));
    assert!(matches!(lock.release(&lost).await, Err(LockError::Lost)));
    let next = lock.acquire(&object, &owner("a"), LONG).await.unwrap();
    assert!(matches!(lock.renew(&lost, LONG).await, Err(LockError::Lost)));
    assert!(matches!(lock.release(&lost).await, Err(LockError::Lost)));
    let holder = lock.holder(&object).await.unwrap().unwrap();
    assert!(is_same(&holder, &next), "{holder:?} {next:?}");
}

pub async fn a_stranger_neither_renews_nor_releases(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    let lease = lock.acquire(&object, &owner("a"), LONG).await.unwrap();
    let stranger = Lease { owner: owner("b"), ..lease.clone() };
    let mut earlier = lease.clone();
    earlier.token.0 -= 1;
    for forged in [stranger, earlier] {
        assert!(matches!(subject.lock(1).release(&forged).await, Err(LockError::Lost)));
        assert!(matches!(subject.lock(1).renew(&forged, LONG).await, Err(LockError::Lost)));
    }
    let holder = lock.holder(&object).await.unwrap().unwrap();
    assert!(is_same(&holder, &lease));
}

pub async fn acquiring_again_renews_and_keeps_the_token(subject: LockSubject) {
    let (lock, object) = (subject.lock(0), object("1"));
    let first = lock.acquire(&object, &owner("a"), LONG).await.unwrap();
    subject.move_on();
    let again = subject.lock(1).acquire(&object, &owner("a"), 2 * LONG).await.unwrap();
    assert_eq!(again.token, first.token);
    assert!(again.expires_at > first.expires_at);
    lock.renew(&first, LONG).await.unwrap();
}

pub async fn tokens_grow_with_every_holder(subject: LockSubject) {
    let object = object("1");
    let mut last = None;
    for (turn, name) in ["a", "b", "b", "a"].into_iter().cycle().take(12).enumerate() {
        let lock = subject.lock(turn);
        let expires = turn % 3 == 2;
        let ttl = if expires { SHORT } else { LONG };
        let lease = lock.acquire(&object, &owner(name), ttl).await.unwrap();
        assert!(Some(lease.token) > last, "{turn}");
        last = Some(lease.token);
        if expires {
            subject.let_expire(&lease).await;
        } else {
            lock.release(&lease).await.unwrap();
        }
    }
}

pub async fn locks_of_different_objects_are_apart(subject: LockSubject) {
    let lock = subject.lock(0);
    let (one, other) = (object("1"), object("2"));
    let first = lock.acquire(&one, &owner("a"), LONG).await.unwrap();
    let second = lock.acquire(&other, &owner("b"), LONG).await.unwrap();
    lock.release(&first).await.unwrap();
    let holder = lock.holder(&other).await.unwrap().unwrap();
    assert!(is_same(&holder, &second));
}

pub async fn an_id_of_any_text_has_its_lock(subject: LockSubject) {
    let lock = subject.lock(0);
    let texts = ["..", "a/b", "%2F", "}", "{", "}:lock", "🦀", "A", "a", " ", "*", "'"];
    for (turn, text) in texts.into_iter().enumerate() {
        let name = owner(&turn.to_string());
        lock.acquire(&object(text), &name, LONG).await.unwrap();
    }
    for (turn, text) in texts.into_iter().enumerate() {
        let holder = lock.holder(&object(text)).await.unwrap().unwrap();
        assert_eq!(holder.owner, owner(&turn.to_string()), "{text}");
        lock.release(&holder).await.unwrap();
    }
}

pub async fn of_fifty_at_once_exactly_one_gets_the_lock(subject: LockSubject) {
    for round in 0..10 {
        let object = object(&round.to_string());
        let won = race(&subject, &object).await;
        assert_eq!(won.len(), 1, "{won:?}");
    }
}

pub async fn an_expired_lock_goes_to_one_of_fifty(subject: LockSubject) {
    let object = object("1");
    let held = subject.lock(0).acquire(&object, &owner("gone"), SHORT).await.unwrap();
    subject.let_expire(&held).await;
    let won = race(&subject, &object).await;
    assert_eq!(won.len(), 1, "{won:?}");
    assert!(won[0].token > held.token);
}

/// The leases that were had of as many tries at once.
async fn race(subject: &LockSubject, object: &ObjectKey) -> Vec<Lease> {
    let attempts = (0..ACQUIRERS).map(|n| {
        let (lock, object) = (Arc::clone(subject.lock(n)), object.clone());
        async move {
            match lock.acquire(&object, &owner(&n.to_string()), LONG).await {
                Ok(lease) => Some(lease),
                Err(LockError::Held { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        }
    });
    crate::testing::parallel::all(attempts).await.into_iter().flatten().collect()
}

pub async fn whoever_is_refused_learns_who_holds_it(subject: LockSubject) {
    let object = object("1");
    let lease = subject.lock(0).acquire(&object, &owner("a: 1\n{}"), LONG).await.unwrap();
    match subject.lock(1).acquire(&object, &owner("b"), LONG).await {
        Err(LockError::Held { holder }) => assert!(is_same(&holder, &lease), "{holder:?}"),
        other => panic!("{other:?}"),
    }
}
