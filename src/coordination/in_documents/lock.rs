//! The lock over objects in documents: one an object, changed by compare-and-set.
//!
//! Leases expire by the clocks of the proxies. Where those disagree, a lock changes hands too early
//! or too late by as much, which costs duplicate work or a delay. A document stays when the lock
//! is given back, so that the token does not go back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::documents::objects::{decode, encode};
use crate::documents::{DocumentError, DocumentKey, DocumentStore, Etag, Precondition};
use crate::domain::{ErrorClass, ObjectKey, Timestamp};
use crate::lock::{FencingToken, Lease, Lock, LockError, Owner};
use crate::runtime::Clock;
use crate::telemetry::fields;

/// Rounds that a change may lose against others; nobody else wants one lock that often.
const ROUNDS_MAX: u32 = 16;

/// How long to wait before asking again a store that did not answer.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A lease as its document keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// None once it was given back.
    pub owner: Option<String>,
    /// Of the holder, or of the last one.
    pub token: u64,
    pub expires_at: Timestamp,
}

/// The lock service of a deployment.
pub struct DocumentLock {
    documents: Arc<dyn DocumentStore>,
    clock: Arc<dyn Clock>,
}

/// A document as it was read, and the lease in it that has not expired.
struct Found {
    lease: Option<Lease>,
    token: u64,
    read_as: Precondition,
}

impl DocumentLock {
    pub fn new(documents: Arc<dyn DocumentStore>, clock: Arc<dyn Clock>) -> Self {
        Self { documents, clock }
    }

    async fn read(&self, object: &ObjectKey) -> Result<Found, LockError> {
        let key = DocumentKey::lock(object);
        let Some(document) = self.documents.get(&key).await.map_err(unavailable)? else {
            return Ok(Found { lease: None, token: 0, read_as: Precondition::Absent });
        };
        let LockRecord { owner, token, expires_at } = decode(&document).map_err(unavailable)?;
        let owner = owner.filter(|_| expires_at > self.clock.now()).map(Owner);
        let lease = owner.map(|owner| {
            let (object, token) = (object.clone(), FencingToken(token));
            Lease { object, owner, token, expires_at }
        });
        Ok(Found { lease, token, read_as: Precondition::Matches(document.etag) })
    }

    /// Writes what was decided over `found`. False: somebody else was faster, or nobody knows;
    /// reading again tells.
    async fn write(
        &self,
        object: &ObjectKey,
        record: &LockRecord,
        found: Found,
    ) -> Result<bool, LockError> {
        let written: Result<Etag, DocumentError> =
            self.documents.put(&DocumentKey::lock(object), encode(record), found.read_as).await;
        match written {
            Ok(_) => Ok(true),
            Err(DocumentError::Conflict | DocumentError::OutcomeUnknown { .. }) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Changes a lease that is held as `lease` says.
    async fn change(
        &self,
        lease: &Lease,
        change: impl Fn() -> LockRecord,
    ) -> Result<LockRecord, LockError> {
        for _ in 0..ROUNDS_MAX {
            let found = self.read(&lease.object).await?;
            let is_same = |held: &Lease| held.token == lease.token && held.owner == lease.owner;
            if !found.lease.as_ref().is_some_and(is_same) {
                return Err(LockError::Lost);
            }
            let record = change();
            if self.write(&lease.object, &record, found).await? {
                return Ok(record);
            }
        }
        Err(LockError::Unavailable { retry_after: Some(RETRY_AFTER) })
    }
}

#[async_trait]
impl Lock for DocumentLock {
    async fn acquire(
        &self,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Lease, LockError> {
        for _ in 0..ROUNDS_MAX {
            let found = self.read(object).await?;
            let token = match &found.lease {
                Some(held) if held.owner != *owner => {
                    return Err(LockError::Held { holder: Box::new(held.clone()) });
                }
                Some(held) => held.token.0,
                None => found.token + 1,
            };
            let expires_at = self.clock.now().plus(ttl);
            let record = LockRecord { owner: Some(owner.0.clone()), token, expires_at };
            if self.write(object, &record, found).await? {
                let (object, owner, token) = (object.clone(), owner.clone(), FencingToken(token));
                return Ok(Lease { object, owner, token, expires_at });
            }
        }
        Err(LockError::Unavailable { retry_after: Some(RETRY_AFTER) })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LockError> {
        let owner = Some(lease.owner.0.clone());
        let renewed = || {
            let expires_at = self.clock.now().plus(ttl);
            LockRecord { owner: owner.clone(), token: lease.token.0, expires_at }
        };
        let LockRecord { expires_at, .. } = self.change(lease, renewed).await?;
        Ok(Lease { expires_at, ..lease.clone() })
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let released = || {
            let (token, expires_at) = (lease.token.0, self.clock.now());
            LockRecord { owner: None, token, expires_at }
        };
        self.change(lease, released).await.map(drop)
    }

    async fn holder(&self, object: &ObjectKey) -> Result<Option<Lease>, LockError> {
        Ok(self.read(object).await?.lease)
    }
}

fn unavailable(error: DocumentError) -> LockError {
    if error.class() == ErrorClass::Corrupt {
        tracing::error!({ fields::ERROR } = %error, "a lock cannot be read");
    } else {
        tracing::debug!({ fields::ERROR } = %error, "the lock was not answered for");
    }
    LockError::Unavailable { retry_after: Some(RETRY_AFTER) }
}
