//! The lock over objects in Redis: a key an object, which expires by the server's clock and is
//! changed by scripts alone.
//!
//! The key holds `token:owner`, so that a lease that was lost and had again is another one. The
//! token is the server's time in microseconds: it grows with every holder and needs nothing that
//! would have to stay behind when the lock is given back, or to survive the server's restart. The
//! record of a migration keeps the greatest that was seen, for clocks that go back.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::RedisError;

use super::connection::RedisConnection;
use super::script::Script;
use crate::domain::{ObjectKey, Timestamp};
use crate::lock::{FencingToken, Lease, Lock, LockError, Owner};
use crate::runtime::Clock;
use crate::telemetry::fields;

/// KEYS: the lock. ARGV: owner, time to live in milliseconds. Answers whether it was had, who
/// holds it, and the milliseconds that are left.
static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local held = redis.call('GET', KEYS[1])
if held then
  if string.match(held, '^%d+:(.*)$') ~= ARGV[1] then
    return {0, held, redis.call('PTTL', KEYS[1])}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, held, tonumber(ARGV[2])}
end
local now = redis.call('TIME')
held = string.format('%d%06d', now[1], now[2]) .. ':' .. ARGV[1]
redis.call('SET', KEYS[1], held, 'PX', ARGV[2])
return {1, held, tonumber(ARGV[2])}",
    )
});

/// KEYS: the lock. ARGV: the lease, time to live in milliseconds. Answers 1 if it was held.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0",
    )
});

/// KEYS: the lock. ARGV: the lease. Answers 1 if it was held.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0",
    )
});

/// KEYS: the lock. Answers who holds it, and the milliseconds that are left.
static HOLDER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(r"return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}")
});

/// How long to wait before asking again a server that did not answer.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The lock service of a deployment.
pub struct RedisLock {
    redis: RedisConnection,
    clock: Arc<dyn Clock>,
}

impl RedisLock {
    pub fn new(redis: RedisConnection, clock: Arc<dyn Clock>) -> Self {
        Self { redis, clock }
    }

    fn key(&self, object: &ObjectKey) -> String {
        self.redis.keys().of_object(object, "lock")
    }

    /// The lease that a key holds; none if this is nothing that was written here.
    fn lease(
        &self,
        object: &ObjectKey,
        held: &str,
        left_ms: i64,
        asked: Timestamp,
    ) -> Option<Lease> {
        let (token, owner) = held.split_once(':')?;
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        Some(Lease {
            object: object.clone(),
            owner: Owner(owner.to_owned()),
            token: FencingToken(token.parse().ok()?),
            // From before the question: never later than the server lets it go.
            expires_at: asked.plus(left),
        })
    }
}

#[async_trait]
impl Lock for RedisLock {
    async fn acquire(
        &self,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Lease, LockError> {
        let (key, asked) = (self.key(object), self.clock.now());
        let arguments = [owner.0.as_str(), &milliseconds(ttl)];
        let answer = self.redis.run(&ACQUIRE, &[&key], &arguments).await;
        let (had, held, left): (u8, String, i64) = answer.map_err(unavailable)?;
        let lease = self.lease(object, &held, left, asked).ok_or_else(|| foreign(&key))?;
        if had == 1 { Ok(lease) } else { Err(LockError::Held { holder: Box::new(lease) }) }
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LockError> {
        let (key, asked) = (self.key(&lease.object), self.clock.now());
        let arguments = [value_of(lease), milliseconds(ttl)];
        let arguments = [arguments[0].as_str(), &arguments[1]];
        let held: u8 = self.redis.run(&RENEW, &[&key], &arguments).await.map_err(unavailable)?;
        if held == 1 {
            Ok(Lease { expires_at: asked.plus(ttl), ..lease.clone() })
        } else {
            Err(LockError::Lost)
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let key = self.key(&lease.object);
        let released = self.redis.run(&RELEASE, &[&key], &[&value_of(lease)]).await;
        let held: u8 = released.map_err(unavailable)?;
        if held == 1 { Ok(()) } else { Err(LockError::Lost) }
    }

    async fn holder(&self, object: &ObjectKey) -> Result<Option<Lease>, LockError> {
        let (key, asked) = (self.key(object), self.clock.now());
        let answer = self.redis.run(&HOLDER, &[&key], &[]).await;
        let (held, left): (Option<String>, i64) = answer.map_err(unavailable)?;
        match held {
            None => Ok(None),
            Some(held) => {
                self.lease(object, &held, left, asked).map(Some).ok_or_else(|| foreign(&key))
            }
        }
    }
}

/// What the key holds while this lease does.
fn value_of(lease: &Lease) -> String {
    format!("{}:{}", lease.token.0, lease.owner.0)
}

fn milliseconds(ttl: Duration) -> String {
    ttl.as_millis().max(1).to_string()
}

/// Also where the call may have been done: a lock that was had without our knowing it expires,
/// and asking again renews it.
fn unavailable(error: RedisError) -> LockError {
    tracing::debug!({ fields::ERROR } = %error, "the lock was not answered for");
    LockError::Unavailable { retry_after: Some(RETRY_AFTER) }
}

/// Another program writes under our prefix, or wrote there: its key is left alone.
fn foreign(key: &str) -> LockError {
    tracing::error!({ fields::LOCK_KEY } = key, "a lock holds what was not written here");
    LockError::Unavailable { retry_after: Some(RETRY_AFTER) }
}
