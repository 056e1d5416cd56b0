//! Hints between proxies of one process, and the leases of pauses beside them: everything is heard
//! by everybody at once, and nothing is lost but what a listener is too slow to take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::ObjectKey;
use crate::lock::{Audience, Ears, Heard, Hint, Hints, LockError, PauseId, PauseLeases};
use crate::runtime::Clock;

/// Hints that a listener may be behind.
const BEHIND_MAX: usize = 4_096;

/// One bus for all who hold a handle on it.
pub struct InProcessHints {
    told: broadcast::Sender<Heard>,
}

impl InProcessHints {
    pub fn new() -> Self {
        Self { told: broadcast::Sender::new(BEHIND_MAX) }
    }
}

impl Default for InProcessHints {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Hints for InProcessHints {
    fn tell(&self, hint: Hint) {
        // Without a listener nobody wants to know.
        let _ = self.told.send(Heard::Hints(Arc::new([hint])));
    }

    async fn tell_now(&self, hint: Hint) -> Result<(), LockError> {
        self.tell(hint);
        Ok(())
    }

    fn listen(&self) -> Ears {
        Ears::new(self.told.subscribe())
    }

    fn audience(&self) -> Audience {
        Audience::ThisProcess
    }
}

/// Which pauses have a lease, by the clock that is handed in.
pub struct InProcessPauseLeases {
    clock: Arc<dyn Clock>,
    leases: Mutex<HashMap<ObjectKey, (PauseId, Duration)>>,
}

impl InProcessPauseLeases {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, leases: Mutex::default() }
    }
}

#[async_trait]
impl PauseLeases for InProcessPauseLeases {
    async fn begin(
        &self,
        object: &ObjectKey,
        pause: PauseId,
        length: Duration,
    ) -> Result<(), LockError> {
        let now = self.clock.monotonic();
        let mut leases = self.leases.lock().expect("no holder panics");
        leases.retain(|_, (_, until)| *until > now);
        leases.insert(object.clone(), (pause, now.saturating_add(length)));
        Ok(())
    }

    async fn end(&self, object: &ObjectKey, pause: PauseId) -> Result<(), LockError> {
        let mut leases = self.leases.lock().expect("no holder panics");
        if leases.get(object).is_some_and(|(holder, _)| *holder == pause) {
            leases.remove(object);
        }
        Ok(())
    }

    async fn left(
        &self,
        object: &ObjectKey,
        pause: PauseId,
    ) -> Result<Option<Duration>, LockError> {
        let now = self.clock.monotonic();
        let leases = self.leases.lock().expect("no holder panics");
        let held = leases.get(object).filter(|(holder, _)| *holder == pause);
        Ok(held.map(|(_, until)| until.saturating_sub(now)).filter(|left| !left.is_zero()))
    }
}
