//! The connection of a process to Redis: made when it is needed, shared by all, replaced when it
//! breaks. While Redis is away a call fails within the connect timeout, and most fail at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, PubSub};
use redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value,
};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::dial::{Dialer, Link, RedisSettingsError};
use super::keys::Keys;
use super::options::RedisOptions;
use super::script::Script;
use crate::runtime::{Clock, Runtime};
use crate::telemetry::fields;

/// How long calls fail at once after a connection could not be made.
const DIAL_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A handle on the one connection; cheap to clone. Commands of all handles go out together.
///
/// # Errors
///
/// A call that fails with [`is_in_doubt`] may have been done. None is repeated here.
///
/// # Cancellation
///
/// A dropped call may have been done.
#[derive(Clone)]
pub struct RedisConnection {
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Dialer,
    clock: Arc<dyn Clock>,
    keys: Keys,
    place: Mutex<Place>,
    /// Connections up to this one are broken.
    broken: AtomicU64,
}

#[derive(Default)]
struct Place {
    /// The number of the newest connection.
    newest: u64,
    link: Option<Link>,
    /// Until when nobody tries again, and what the last try met.
    refused: Option<(Duration, RedisError)>,
}

impl RedisConnection {
    /// Fails for settings that could never work, and asks no server: a proxy starts also while
    /// Redis is away.
    pub fn new(
        options: RedisOptions,
        deployment: Uuid,
        runtime: &Runtime,
    ) -> Result<Self, RedisSettingsError> {
        let inner = Inner {
            keys: Keys::new(&options.prefix(deployment)),
            dialer: Dialer::new(options, runtime.clone())?,
            clock: Arc::clone(&runtime.clock),
            place: Mutex::default(),
            broken: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The names of this deployment's keys and channels.
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Sends a command and waits for its answer.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let value = self.inner.request(command).await?.extract_error()?;
        Ok(T::from_redis_value(value)?)
    }

    /// Runs a script. All its keys have the same text between their first braces.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<T, RedisError> {
        match self.command(&script.by_digest(keys, arguments)).await {
            // A server that was restarted, or one that never saw it, has not run it.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.command(&script.in_full(keys, arguments)).await
            }
            answered => answered,
        }
    }

    /// A new connection that listens to channels, to the server of this moment. It does not come
    /// back by itself: when its messages end, ask for another. Nothing that is published between
    /// two of them is heard.
    pub async fn pubsub(&self) -> Result<PubSub, RedisError> {
        self.inner.dialer.dial_pubsub().await
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.inner.request(command))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (number, mut link) = self.inner.link().await?;
            let answers = link.requests(pipeline, offset, count).await;
            self.inner.judge(number, answers)
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl Inner {
    async fn request(&self, command: &Cmd) -> Result<Value, RedisError> {
        let (number, mut link) = self.link().await?;
        let answer = link.request(command).await;
        self.judge(number, answer)
    }

    /// The connection of this moment, with its number. Whoever finds none makes it; the others
    /// wait for that one try.
    async fn link(&self) -> Result<(u64, Link), RedisError> {
        let mut place = self.place.lock().await;
        if place.newest > self.broken.load(Ordering::Acquire)
            && let Some(link) = &place.link
        {
            return Ok((place.newest, link.clone()));
        }
        place.link = None;
        if let Some((until, error)) = &place.refused
            && self.clock.monotonic() < *until
        {
            return Err(error.clone());
        }
        match self.dialer.dial().await {
            Ok(link) => {
                if place.refused.take().is_some() {
                    tracing::info!("redis answers again");
                }
                place.newest += 1;
                place.link = Some(link.clone());
                Ok((place.newest, link))
            }
            Err(error) => {
                if place.refused.is_none() {
                    tracing::warn!({ fields::ERROR } = %error, "redis cannot be reached");
                }
                let until = self.clock.monotonic().saturating_add(DIAL_AGAIN_AFTER);
                place.refused = Some((until, error.clone()));
                Err(error)
            }
        }
    }

    /// Gives a connection up that an answer, or its absence, shows to be of no use any more.
    fn judge<T>(&self, number: u64, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        if let Err(error) = &answer
            && is_broken(error)
        {
            self.broken.fetch_max(number, Ordering::AcqRel);
        }
        answer
    }
}

/// Whether the connection is of no use any more: it is gone; or silent, so that what is sent now
/// may arrive much later; or it leads to a server that is not the first one any more.
fn is_broken(error: &RedisError) -> bool {
    let demoted = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    let is_demoted = demoted.into_iter().any(|kind| error.kind() == ErrorKind::Server(kind));
    error.is_io_error() || error.is_unrecoverable_error() || is_demoted
}

/// Whether a call that failed like this may have been done all the same.
pub fn is_in_doubt(error: &RedisError) -> bool {
    error.is_io_error() && !error.is_connection_refusal()
}
