//! Hints and leases of pauses as a bad network delivers them: not at all, late, twice, in any
//! order. Whatever it does may cost time and nothing else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::ObjectKey;
use crate::lock::{Audience, Ears, Heard, Hint, Hints, LockError, PauseId, PauseLeases};
use crate::runtime::{Entropy, Runtime};

/// How often, of a hundred, each misfortune befalls one hint on its way to one listener.
#[derive(Clone, Copy, Debug)]
pub struct Unruliness {
    pub lost_percent: u64,
    /// What is told now, and what is asked of leases, is refused.
    pub unavailable_percent: u64,
    pub late_percent: u64,
    pub twice_percent: u64,
    /// The longest that a late one is on its way.
    pub late_max: Duration,
}

impl Unruliness {
    /// Everything arrives at once.
    pub const fn none() -> Self {
        Self {
            lost_percent: 0,
            unavailable_percent: 0,
            late_percent: 0,
            twice_percent: 0,
            late_max: Duration::ZERO,
        }
    }
}

/// The hints of one process over a bus of many.
pub struct UnrulyHints {
    bus: Arc<dyn Hints>,
    unruliness: Unruliness,
    runtime: Runtime,
}

impl UnrulyHints {
    pub fn new(bus: Arc<dyn Hints>, unruliness: Unruliness, runtime: Runtime) -> Self {
        Self { bus, unruliness, runtime }
    }
}

#[async_trait]
impl Hints for UnrulyHints {
    fn tell(&self, hint: Hint) {
        self.bus.tell(hint);
    }

    async fn tell_now(&self, hint: Hint) -> Result<(), LockError> {
        if befalls(&*self.runtime.entropy, self.unruliness.unavailable_percent) {
            return Err(LockError::Unavailable { retry_after: None });
        }
        self.bus.tell_now(hint).await
    }

    fn listen(&self) -> Ears {
        let (told, heard) = broadcast::channel(1_024);
        let delivery =
            Delivery { told, unruliness: self.unruliness, runtime: self.runtime.clone() };
        self.runtime.shutdown.spawn(delivery.run(self.bus.listen()));
        Ears::new(heard)
    }

    fn audience(&self) -> Audience {
        self.bus.audience()
    }
}

/// The way to one listener.
struct Delivery {
    told: broadcast::Sender<Heard>,
    unruliness: Unruliness,
    runtime: Runtime,
}

impl Delivery {
    async fn run(self, mut ears: Ears) {
        loop {
            let heard = tokio::select! {
                biased;
                () = self.runtime.shutdown.begun() => return,
                heard = ears.hear() => heard,
            };
            self.deliver(heard.clone());
            if befalls(&*self.runtime.entropy, self.unruliness.twice_percent) {
                self.deliver(heard);
            }
        }
    }

    fn deliver(&self, heard: Heard) {
        let (entropy, unruliness) = (&*self.runtime.entropy, self.unruliness);
        if befalls(entropy, unruliness.lost_percent) {
            return;
        }
        if !befalls(entropy, unruliness.late_percent) {
            // Nobody listens any more when the process is gone.
            let _ = self.told.send(heard);
            return;
        }
        let micros = u64::try_from(unruliness.late_max.as_micros()).unwrap_or(u64::MAX);
        let (late, told) = (Duration::from_micros(entropy.below(micros)), self.told.clone());
        let runtime = self.runtime.clone();
        self.runtime.shutdown.spawn(async move {
            runtime.clock.sleep(late).await;
            let _ = told.send(heard);
        });
    }
}

fn befalls(entropy: &dyn Entropy, percent: u64) -> bool {
    percent > 0 && entropy.below(100) < percent
}

/// Leases that cannot always be reached.
pub struct UnrulyLeases {
    inner: Arc<dyn PauseLeases>,
    unavailable_percent: u64,
    entropy: Arc<dyn Entropy>,
}

impl UnrulyLeases {
    pub fn new(
        inner: Arc<dyn PauseLeases>,
        unavailable_percent: u64,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { inner, unavailable_percent, entropy }
    }

    fn reached(&self) -> Result<(), LockError> {
        if befalls(&*self.entropy, self.unavailable_percent) {
            return Err(LockError::Unavailable { retry_after: None });
        }
        Ok(())
    }
}

#[async_trait]
impl PauseLeases for UnrulyLeases {
    async fn begin(
        &self,
        object: &ObjectKey,
        pause: PauseId,
        length: Duration,
    ) -> Result<(), LockError> {
        self.reached()?;
        self.inner.begin(object, pause, length).await
    }

    async fn end(&self, object: &ObjectKey, pause: PauseId) -> Result<(), LockError> {
        self.reached()?;
        self.inner.end(object, pause).await
    }

    async fn left(
        &self,
        object: &ObjectKey,
        pause: PauseId,
    ) -> Result<Option<Duration>, LockError> {
        self.reached()?;
        self.inner.left(object, pause).await
    }
}
