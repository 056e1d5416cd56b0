//! Hints over publish/subscribe: one channel a deployment. What is told at about the same time
//! goes out in one message, each hint once; nothing waits for Redis.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Msg, RedisError};
use tokio::sync::{Mutex as AsyncMutex, Notify, broadcast};

use super::connection::RedisConnection;
use super::message::{self, Sender};
use crate::lock::{Audience, Ears, Heard, Hint, Hints, LockError};
use crate::runtime::{Backoff, Deadline, Runtime};
use crate::telemetry::fields;
use crate::telemetry::hints::HintFigures;

/// Hints that wait to be told; one more is not told.
const WAITING_MAX: usize = 10_000;
/// Hints of one message.
const MESSAGE_HINTS_MAX: usize = 500;
/// The least time between two messages, so that a busy proxy tells of many changes at once.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(2);
/// Messages that a listener of this process may be behind.
const BEHIND_MAX: usize = 4_096;
/// How often a silent connection is asked whether it still is one, and how long it may think.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_MAX: Duration = Duration::from_secs(1);
/// The waits between tries to listen again.
const WAIT_FIRST: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The hints of one process. Clones tell together.
#[derive(Clone)]
pub struct RedisHints(Arc<Inner>);

struct Inner {
    redis: RedisConnection,
    channel: String,
    sender: Sender,
    figures: HintFigures,
    runtime: Runtime,
    told: broadcast::Sender<Heard>,
    waiting: Mutex<Waiting>,
    something_waits: Notify,
    is_heard: AtomicBool,
    /// Held from the moment something is taken until Redis has it or did not answer in time, so
    /// that what was told first goes out first.
    turn: AsyncMutex<()>,
}

/// What is to be told, each once and in the order in which it came.
#[derive(Default)]
struct Waiting {
    known: HashSet<Hint>,
    hints: Vec<Hint>,
}

impl RedisHints {
    /// Tells and listens until shutdown begins. Redis may be away at any time, also now.
    pub fn start(redis: RedisConnection, runtime: &Runtime, figures: HintFigures) -> Self {
        let hints = Self(Arc::new(Inner {
            channel: redis.keys().of_deployment("hints"),
            redis,
            sender: Sender::new(runtime.entropy.uuid()),
            figures,
            runtime: runtime.clone(),
            told: broadcast::Sender::new(BEHIND_MAX),
            waiting: Mutex::default(),
            something_waits: Notify::new(),
            is_heard: AtomicBool::new(false),
            turn: AsyncMutex::default(),
        }));
        let (teller, listener) = (Arc::clone(&hints.0), Arc::clone(&hints.0));
        runtime.shutdown.spawn(async move { teller.tell_what_waits().await });
        runtime.shutdown.spawn(async move { listener.listen().await });
        hints
    }
}

#[async_trait]
impl Hints for RedisHints {
    fn tell(&self, hint: Hint) {
        self.0.tell_here(&hint);
        self.0.keep(hint);
    }

    /// Cancellation: the hint is told all the same. What others told before goes out with it, and
    /// must not be lost because one caller has no more time.
    async fn tell_now(&self, hint: Hint) -> Result<(), LockError> {
        self.0.tell_here(&hint);
        let inner = Arc::clone(&self.0);
        let telling = async move { inner.publish_after_what_waits(hint).await };
        match self.0.runtime.shutdown.spawn(telling).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LockError::Unavailable { retry_after: None }),
        }
    }

    fn listen(&self) -> Ears {
        Ears::new(self.0.told.subscribe())
    }

    fn audience(&self) -> Audience {
        let is_heard = self.0.is_heard.load(Ordering::Relaxed);
        Audience::Deployment { delay: MESSAGE_INTERVAL, is_heard }
    }
}

/// Telling.
impl Inner {
    fn tell_here(&self, hint: &Hint) {
        if !matches!(hint, Hint::StreamChanged { .. }) {
            // Without a listener nobody wants to know.
            let _ = self.told.send(Heard::Hints(Arc::new([hint.clone()])));
        }
    }

    fn keep(&self, hint: Hint) {
        let was_empty = {
            let mut waiting = self.waiting.lock().expect("no holder panics");
            if waiting.known.contains(&hint) {
                return;
            }
            if waiting.hints.len() >= WAITING_MAX {
                self.figures.note_untold(1);
                return;
            }
            waiting.known.insert(hint.clone());
            waiting.hints.push(hint);
            waiting.hints.len() == 1
        };
        if was_empty {
            self.something_waits.notify_one();
        }
    }

    fn take(&self, hints_max: usize) -> Vec<Hint> {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let count = waiting.hints.len().min(hints_max);
        if count == waiting.hints.len() {
            waiting.known.clear();
            return std::mem::take(&mut waiting.hints);
        }
        let taken: Vec<Hint> = waiting.hints.drain(..count).collect();
        for hint in &taken {
            waiting.known.remove(hint);
        }
        taken
    }

    async fn tell_what_waits(&self) {
        let (shutdown, clock) = (&self.runtime.shutdown, &self.runtime.clock);
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                () = self.something_waits.notified() => {}
            }
            while self.publish_what_waits(MESSAGE_HINTS_MAX).await {
                clock.sleep(MESSAGE_INTERVAL).await;
            }
        }
        self.publish_what_waits(usize::MAX).await;
    }

    /// Answers whether there was anything. What is not told costs others some time.
    async fn publish_what_waits(&self, hints_max: usize) -> bool {
        let _turn = self.turn.lock().await;
        let hints = self.take(hints_max);
        let _ = self.publish(&hints).await;
        !hints.is_empty()
    }

    /// Order: what waits goes out first, in the same message if it fits.
    async fn publish_after_what_waits(&self, hint: Hint) -> Result<(), RedisError> {
        let _turn = self.turn.lock().await;
        let mut hints = self.take(usize::MAX);
        hints.push(hint);
        self.publish(&hints).await
    }

    async fn publish(&self, hints: &[Hint]) -> Result<(), RedisError> {
        for hints in hints.chunks(MESSAGE_HINTS_MAX) {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(&self.channel).arg(message::encode(&self.sender, hints));
            if let Err(error) = self.redis.command::<i64>(&publish).await {
                tracing::debug!({ fields::ERROR } = %error, "others were not told");
                self.figures.note_untold(hints.len() as u64);
                return Err(error);
            }
            for hint in hints {
                self.figures.note_told(hint.kind());
            }
        }
        Ok(())
    }
}

/// Listening.
impl Inner {
    async fn listen(&self) {
        let shutdown = &self.runtime.shutdown;
        tokio::select! {
            biased;
            () = shutdown.begun() => {}
            () = self.listen_for_ever() => {}
        }
    }

    async fn listen_for_ever(&self) {
        let mut waits = Backoff::new(WAIT_FIRST, WAIT_MAX);
        let mut was_heard = false;
        loop {
            match self.connect().await {
                Ok((sink, stream)) => {
                    tracing::info!("hints of other proxies are heard");
                    (waits, was_heard) = (Backoff::new(WAIT_FIRST, WAIT_MAX), true);
                    self.note_missed();
                    self.is_heard.store(true, Ordering::Relaxed);
                    let error = self.hear(sink, stream).await;
                    self.is_heard.store(false, Ordering::Relaxed);
                    tracing::warn!({ fields::ERROR } = %error, "no hints are heard any more");
                    self.note_missed();
                }
                Err(error) => {
                    if !was_heard {
                        tracing::warn!({ fields::ERROR } = %error, "no hints are heard yet");
                        was_heard = true;
                    }
                    tracing::debug!({ fields::ERROR } = %error, "hints cannot be listened to");
                }
            }
            self.runtime.clock.sleep(waits.next_wait(&*self.runtime.entropy)).await;
        }
    }

    fn note_missed(&self) {
        self.figures.note_missed();
        let _ = self.told.send(Heard::Missed);
    }

    async fn connect(&self) -> Result<(PubSubSink, PubSubStream), RedisError> {
        let mut listening = self.redis.pubsub().await?;
        let clock = &*self.runtime.clock;
        let subscribed = listening.subscribe(&self.channel);
        Deadline::after(clock, PING_MAX).bound(clock, subscribed).await.map_err(|_| silent())??;
        Ok(listening.split())
    }

    /// Answers why nothing is heard any more.
    async fn hear(&self, mut sink: PubSubSink, mut stream: PubSubStream) -> RedisError {
        let clock = &*self.runtime.clock;
        let pings = async {
            loop {
                clock.sleep(PING_INTERVAL).await;
                let ping =
                    Deadline::after(clock, PING_MAX).bound(clock, sink.ping::<redis::Value>());
                match ping.await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error,
                    Err(_) => return silent(),
                }
            }
        };
        let messages = async {
            while let Some(message) = stream.next().await {
                self.heard(&message);
            }
            RedisError::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        };
        tokio::select! {
            biased;
            error = messages => error,
            error = pings => error,
        }
    }

    fn heard(&self, message: &Msg) {
        let Some(hints) = message::decode(&self.sender, message.get_payload_bytes()) else {
            return;
        };
        for hint in &hints {
            self.figures.note_heard(hint.kind());
        }
        if !hints.is_empty() {
            let _ = self.told.send(Heard::Hints(hints.into()));
        }
    }
}

fn silent() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}
