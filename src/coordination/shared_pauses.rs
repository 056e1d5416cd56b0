//! Pauses that hold an object's appends in every proxy of a deployment.
//!
//! A pause is three things: appends held back here, a lease where all proxies can look, and the
//! word about it to all of them. Who hears the word holds its own appends at once and looks for
//! the lease meanwhile: a word that came late, or after the end, finds none and holds nothing
//! longer than that look takes. A proxy that hears nothing goes on appending, which costs the
//! migration another round and nothing else (I3).
//!
//! Appends are let go by the word that the pause is over, by the end of its time, and at once when
//! hints may have been missed: nobody is held for a word that cannot come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::in_process::InProcessPauses;
use crate::domain::ObjectKey;
use crate::lock::{Heard, Held, Hint, Hints, LockError, Pass, PauseId, PauseLeases, Pauses};
use crate::runtime::{Deadline, Runtime};
use crate::telemetry::fields;

/// The longest pause that is believed, whatever is told.
const LENGTH_MAX: Duration = Duration::from_secs(60);

/// The part of a pause that may pass until the others are told of it, and appends before it have
/// left; what takes longer could not be kept.
const TELLING_SHARE: u32 = 4;

/// The pauses of one proxy among many. Clones share them.
#[derive(Clone)]
pub struct SharedPauses(Arc<Inner>);

struct Inner {
    here: InProcessPauses,
    hints: Arc<dyn Hints>,
    leases: Arc<dyn PauseLeases>,
    runtime: Runtime,
    running: Mutex<BTreeMap<ObjectKey, Running>>,
}

/// The newest pause of an object, as far as this proxy knows.
#[derive(Clone, Copy)]
struct Running {
    pause: PauseId,
    is_own: bool,
    /// On the clock that never goes back.
    until: Duration,
}

impl SharedPauses {
    /// `here` holds the appends of this process.
    pub fn new(
        here: InProcessPauses,
        hints: Arc<dyn Hints>,
        leases: Arc<dyn PauseLeases>,
        runtime: Runtime,
    ) -> Self {
        let running = Mutex::default();
        Self(Arc::new(Inner { here, hints, leases, runtime, running }))
    }
}

#[async_trait]
impl Pauses for SharedPauses {
    async fn pause(&self, object: &ObjectKey, length: Duration) -> Result<(), LockError> {
        let inner = &*self.0;
        let pause = PauseId(inner.runtime.entropy.uuid());
        let began = inner.runtime.clock.monotonic();
        inner.hold(object, Running { pause, is_own: true, until: began + length });
        let telling = async {
            let clock = &*inner.runtime.clock;
            let deadline = Deadline::after(clock, length / TELLING_SHARE);
            let told = deadline.bound(clock, inner.tell_of(object, pause, length)).await;
            told.unwrap_or(Err(LockError::Unavailable { retry_after: None }))
        };
        // What came before leaves while the others are told. Who is late costs another round, and
        // must not cost the whole pause.
        let drained = inner.here.drained(object, length / TELLING_SHARE);
        let (told, ()) = tokio::join!(telling, drained);
        if told.is_err() {
            let _ = self.resume(object).await;
        }
        told
    }

    async fn resume(&self, object: &ObjectKey) -> Result<(), LockError> {
        let inner = &*self.0;
        let own = inner.running().get(object).filter(|running| running.is_own).copied();
        let Some(Running { pause, until, .. }) = own else { return Ok(()) };
        let clock = &*inner.runtime.clock;
        let left = until.saturating_sub(clock.monotonic());
        let over = Hint::Resumed { object: object.clone(), pause };
        // Order: this proxy hears the end as all do, behind a route that was changed before it.
        // Whoever hears nothing, or stops waiting for it, lets go here at the latest.
        let _end = EndsWithThis { inner, object, pause };
        // Order: asked first, so that whoever hears of the pause only now does not find its lease
        // any more. Nobody is held for the answer.
        let telling = async {
            let (ended, told) =
                tokio::join!(inner.leases.end(object, pause), inner.hints.tell_now(over));
            told.and(ended)
        };
        // What cannot be told in the time that is left ends by itself.
        let told = Deadline::after(clock, left).bound(clock, telling).await;
        told.unwrap_or(Ok(()))
    }

    async fn pass(&self, object: &ObjectKey, deadline: Option<Deadline>) -> (Held, Pass) {
        self.0.here.pass(object, deadline).await
    }

    fn heard(&self, heard: &Heard) {
        match heard {
            Heard::Missed => self.0.let_all_go(),
            Heard::Hints(hints) => hints.iter().for_each(|hint| self.heard_one(hint)),
        }
    }
}

impl SharedPauses {
    fn heard_one(&self, hint: &Hint) {
        match hint {
            Hint::Paused { object, pause, length_ms } => {
                self.heard_of_pause(object, *pause, Duration::from_millis(*length_ms));
            }
            Hint::Resumed { object, pause } => self.0.end(object, *pause),
            Hint::RouteChanged { .. }
            | Hint::StreamChanged { .. }
            | Hint::MigrationWanted { .. }
            | Hint::OrdersChanged { .. } => {}
        }
    }

    fn heard_of_pause(&self, object: &ObjectKey, pause: PauseId, length: Duration) {
        let inner = &self.0;
        if inner.running().get(object).is_some_and(|running| running.pause == pause) {
            return;
        }
        let until = inner.runtime.clock.monotonic() + length.min(LENGTH_MAX);
        inner.hold(object, Running { pause, is_own: false, until });
        let (inner, object) = (Arc::clone(inner), object.clone());
        self.0.runtime.shutdown.spawn(async move { inner.look_for_lease(&object, pause).await });
    }
}

/// Ends a pause here when it is dropped.
struct EndsWithThis<'a> {
    inner: &'a Inner,
    object: &'a ObjectKey,
    pause: PauseId,
}

impl Drop for EndsWithThis<'_> {
    fn drop(&mut self) {
        self.inner.end(self.object, self.pause);
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Running>> {
        self.running.lock().expect("no holder panics")
    }

    fn hold(&self, object: &ObjectKey, pause: Running) {
        let now = self.runtime.clock.monotonic();
        let mut running = self.running();
        running.retain(|_, other| other.until > now);
        running.insert(object.clone(), pause);
        // Order: under the same lock, so that the end of one pause does not end the next.
        self.here.hold(object, pause.until.saturating_sub(now));
    }

    async fn tell_of(
        &self,
        object: &ObjectKey,
        pause: PauseId,
        length: Duration,
    ) -> Result<(), LockError> {
        // Order: the lease is asked for first, since whoever hears looks for it. Where the word is
        // faster all the same, its hearer goes on appending.
        let word = Hint::paused(object.clone(), pause, length);
        let (begun, told) =
            tokio::join!(self.leases.begin(object, pause, length), self.hints.tell_now(word));
        begun.and(told)
    }

    /// Ends a pause that was told and has no lease: it is over, or nobody can tell.
    async fn look_for_lease(&self, object: &ObjectKey, pause: PauseId) {
        let has_lease = match self.leases.left(object, pause).await {
            Ok(left) => left.is_some(),
            Err(error) => {
                tracing::debug!({ fields::ERROR } = %error, "the lease of a pause is not seen");
                false
            }
        };
        if !has_lease {
            self.end(object, pause);
        }
    }

    /// Ends this pause, unless another has taken its place.
    fn end(&self, object: &ObjectKey, pause: PauseId) {
        let mut running = self.running();
        if running.get(object).is_some_and(|known| known.pause == pause) {
            running.remove(object);
            self.here.let_go(object);
        }
    }

    fn let_all_go(&self) {
        let mut running = self.running();
        for object in std::mem::take(&mut *running).keys() {
            self.here.let_go(object);
        }
    }
}
