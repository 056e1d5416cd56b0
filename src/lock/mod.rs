//! The ports of coordination: the lock over an object, the pause of its appends, and hints.
//!
//! All are for economy (I9): losing them costs duplicate work or a delay, never data, and
//! never the availability of Append and Read.
//!
//! Reading order: this file (lock and pauses), [`hints`] (what proxies tell each other),
//! [`observe`] (the lock, measured).

pub mod hints;
pub mod observe;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{ErrorClass, ObjectKey, Timestamp};
use crate::runtime::Deadline;

pub use hints::{Audience, Ears, Heard, Hint, Hints, PauseId};

/// Who holds a lease: one running proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub String);

/// A number that only grows with every holder of a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

/// A lock that is held until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub object: ObjectKey,
    pub owner: Owner,
    pub token: FencingToken,
    pub expires_at: Timestamp,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it until then.
    #[error("held by {} until {}", holder.owner.0, holder.expires_at)]
    Held { holder: Box<Lease> },
    /// The lease was lost: it expired or was given to another.
    #[error("the lease was lost")]
    Lost,
    #[error("the lock service cannot be reached")]
    Unavailable { retry_after: Option<Duration> },
}

impl LockError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Held { .. } => ErrorClass::Conflict,
            Self::Lost | Self::Unavailable { .. } => ErrorClass::Unavailable,
        }
    }
}

/// The distributed lock: one lease an object.
///
/// # Guarantees
///
/// 1. At most one unexpired lease an object, as far as the clocks agree; nothing rests on it.
/// 2. Tokens of one object grow while the service remembers; the record of a migration keeps
///    the greatest, so forgetting does no harm.
/// 3. Acquiring again by the same owner renews.
#[async_trait]
pub trait Lock: Send + Sync + 'static {
    async fn acquire(
        &self,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Lease, LockError>;

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LockError>;

    /// Gives the lock back if the lease still holds it.
    async fn release(&self, lease: &Lease) -> Result<(), LockError>;

    /// Who holds the lock now.
    async fn holder(&self, object: &ObjectKey) -> Result<Option<Lease>, LockError>;
}

/// What became of an append that met a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// There was no pause.
    No,
    /// It waited, and may go on now.
    Released,
    /// Too many wait already, or the caller's deadline passed. Certainly not done.
    Refused { retry_after: Duration },
}

/// Pauses the appends of one object for a bounded moment, so that a migration that does not
/// converge can close its source.
///
/// A proxy that does not hear of a pause only costs another round, since the close decides (I3).
#[async_trait]
pub trait Pauses: Send + Sync + 'static {
    /// Holds the object's appends until [`Self::resume`], at most for `length`. Returns once
    /// appends that came before are no longer in flight here, or when the pause has expired.
    /// [`LockError::Unavailable`] means that nothing is held.
    async fn pause(&self, object: &ObjectKey, length: Duration) -> Result<(), LockError>;

    async fn resume(&self, object: &ObjectKey) -> Result<(), LockError>;

    /// Called by every append before it goes to a store: waits out a pause, in order of arrival,
    /// until `deadline`. Say [`Pass::gone`] when the store has the append, and keep the pass until
    /// it has answered.
    async fn pass(&self, object: &ObjectKey, deadline: Option<Deadline>) -> (Held, Pass);

    /// Takes what other proxies told. Those that hear of pauses otherwise, or of none, ignore it.
    fn heard(&self, _heard: &Heard) {}
}

/// The leases of pauses, where all proxies can look: a pause that is told late, or after its end,
/// is found out by the lease that it has not.
#[async_trait]
pub trait PauseLeases: Send + Sync + 'static {
    /// Gives the object's lease to this pause, whoever had it before.
    async fn begin(
        &self,
        object: &ObjectKey,
        pause: PauseId,
        length: Duration,
    ) -> Result<(), LockError>;

    /// Ends the lease if this pause has it.
    async fn end(&self, object: &ObjectKey, pause: PauseId) -> Result<(), LockError>;

    /// How long this pause still lasts; none when it has no lease.
    async fn left(&self, object: &ObjectKey, pause: PauseId)
    -> Result<Option<Duration>, LockError>;
}

/// Proof that an append is in flight; dropping it says that it ended.
pub struct Pass {
    #[expect(dead_code, reason = "dropped, not read")]
    counted: Guard,
    turn: Guard,
}

type Guard = Option<Box<dyn Send + Sync>>;

impl Pass {
    /// A pass over which nobody counts.
    pub fn free() -> Self {
        Self { counted: None, turn: None }
    }

    pub fn counted(guard: impl Send + Sync + 'static) -> Self {
        Self { counted: Some(Box::new(guard)), turn: None }
    }

    /// Of an append that was held: dropping `turn` lets the next one go.
    #[must_use]
    pub fn with_turn(self, turn: impl Send + Sync + 'static) -> Self {
        Self { turn: Some(Box::new(turn)), ..self }
    }

    /// The append has gone to its store: the next one that was held may go.
    pub fn gone(&mut self) {
        self.turn = None;
    }
}
