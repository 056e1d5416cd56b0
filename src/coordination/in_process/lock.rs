//! The lock over objects in memory: leases that expire by the clock that is handed in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{ObjectKey, Timestamp};
use crate::lock::{FencingToken, Lease, Lock, LockError, Owner};
use crate::runtime::Clock;

/// Expired leases that are kept before they are swept.
const SWEEP_EVERY: usize = 1_024;

/// One lock service for all who hold a handle on it.
pub struct InProcessLock {
    clock: Arc<dyn Clock>,
    leases: Mutex<Leases>,
}

#[derive(Default)]
struct Leases {
    held: HashMap<ObjectKey, Lease>,
    /// One counter for all objects: what grows for all grows for each.
    last_token: u64,
    sweep_at: usize,
}

impl InProcessLock {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, leases: Mutex::default() }
    }

    /// Runs `decide` over the leases at this moment. An expired lease counts as none.
    fn at_this_moment<T>(&self, decide: impl FnOnce(&mut Leases, Timestamp) -> T) -> T {
        let now = self.clock.now();
        decide(&mut self.leases.lock().expect("no holder panics"), now)
    }
}

impl Leases {
    fn of(&self, object: &ObjectKey, now: Timestamp) -> Option<&Lease> {
        self.held.get(object).filter(|lease| lease.expires_at > now)
    }

    /// The lease as it is held now, if it is this one.
    fn same(&mut self, lease: &Lease, now: Timestamp) -> Result<&mut Lease, LockError> {
        let held = self.held.get_mut(&lease.object).filter(|held| held.expires_at > now);
        held.filter(|held| held.token == lease.token && held.owner == lease.owner)
            .ok_or(LockError::Lost)
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, lease| lease.expires_at > now);
            self.sweep_at = 2 * self.held.len() + SWEEP_EVERY;
        }
    }
}

#[async_trait]
impl Lock for InProcessLock {
    async fn acquire(
        &self,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Lease, LockError> {
        self.at_this_moment(|leases, now| {
            let token = match leases.of(object, now) {
                Some(held) if held.owner != *owner => {
                    return Err(LockError::Held { holder: Box::new(held.clone()) });
                }
                Some(held) => held.token,
                None => {
                    leases.sweep(now);
                    leases.last_token += 1;
                    FencingToken(leases.last_token)
                }
            };
            let (object, owner) = (object.clone(), owner.clone());
            let lease = Lease { object, owner, token, expires_at: now.plus(ttl) };
            leases.held.insert(lease.object.clone(), lease.clone());
            Ok(lease)
        })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LockError> {
        self.at_this_moment(|leases, now| {
            let held = leases.same(lease, now)?;
            held.expires_at = now.plus(ttl);
            Ok(held.clone())
        })
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        self.at_this_moment(|leases, now| {
            leases.same(lease, now)?;
            leases.held.remove(&lease.object);
            Ok(())
        })
    }

    async fn holder(&self, object: &ObjectKey) -> Result<Option<Lease>, LockError> {
        Ok(self.at_this_moment(|leases, now| leases.of(object, now).cloned()))
    }
}
