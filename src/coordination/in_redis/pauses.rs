//! The leases of pauses in Redis: one key an object, which goes by itself when the pause does.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use redis::RedisError;

use super::connection::RedisConnection;
use super::script::Script;
use crate::domain::ObjectKey;
use crate::lock::{LockError, PauseId, PauseLeases};
use crate::telemetry::fields;

/// KEYS: the lease. ARGV: the pause. Removes the lease if this pause has it.
static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0",
    )
});

/// KEYS: the lease. ARGV: the pause. Answers the milliseconds that are left, or less than 1.
static LEFT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PTTL', KEYS[1])
end
return 0",
    )
});

/// The leases of a deployment's pauses.
pub struct RedisPauseLeases {
    redis: RedisConnection,
}

impl RedisPauseLeases {
    pub fn new(redis: RedisConnection) -> Self {
        Self { redis }
    }

    fn key(&self, object: &ObjectKey) -> String {
        self.redis.keys().of_object(object, "pause")
    }
}

#[async_trait]
impl PauseLeases for RedisPauseLeases {
    async fn begin(
        &self,
        object: &ObjectKey,
        pause: PauseId,
        length: Duration,
    ) -> Result<(), LockError> {
        let milliseconds = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(self.key(object)).arg(pause.0.to_string()).arg("PX").arg(milliseconds);
        self.redis.command(&set).await.map_err(unavailable)
    }

    async fn end(&self, object: &ObjectKey, pause: PauseId) -> Result<(), LockError> {
        let (key, pause) = (self.key(object), pause.0.to_string());
        let ended: Result<u8, RedisError> = self.redis.run(&END, &[&key], &[&pause]).await;
        ended.map(drop).map_err(unavailable)
    }

    async fn left(
        &self,
        object: &ObjectKey,
        pause: PauseId,
    ) -> Result<Option<Duration>, LockError> {
        let (key, pause) = (self.key(object), pause.0.to_string());
        let left: i64 = self.redis.run(&LEFT, &[&key], &[&pause]).await.map_err(unavailable)?;
        Ok(u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis))
    }
}

/// Also where the call may have been done: the lease ends by itself.
fn unavailable(error: RedisError) -> LockError {
    tracing::debug!({ fields::ERROR } = %error, "the lease of a pause was not answered for");
    LockError::Unavailable { retry_after: None }
}
