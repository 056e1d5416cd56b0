//! Appends held back in memory, in the order in which they came.
//!
//! While nothing is paused an append costs one look at a counter and one step in and out of
//! `in_flight`. A paused object has a queue: each append in it leaves when the store has the one
//! before it, so the order of arrival is the order of going on, and nobody waits for an answer to
//! another. A pause ends by [`Pauses::resume`], or by itself when its time is up: then the first
//! append in the queue that notices opens it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::in_flight::{Entered, InFlight};
use crate::domain::ObjectKey;
use crate::lock::{Held, LockError, Pass, Pauses};
use crate::runtime::{Clock, Deadline};
use crate::telemetry::holds::{HoldEnd, HoldFigures};

/// How many appends may wait for a pause to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HoldOptions {
    /// Of one object; one more is answered `CUTOVER_IN_PROGRESS`.
    pub held_per_object_max: usize,
    /// Of all objects together.
    pub held_max: usize,
}

impl Default for HoldOptions {
    fn default() -> Self {
        Self { held_per_object_max: 1_000, held_max: 10_000 }
    }
}

/// The least wait that a refused append is told.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);

/// The least wait of an append whose turn is about to come.
const POLL_MIN: Duration = Duration::from_millis(1);

/// One switchboard for all who hold a handle on it.
#[derive(Clone)]
pub struct InProcessPauses(Arc<Inner>);

struct Inner {
    options: HoldOptions,
    clock: Arc<dyn Clock>,
    figures: HoldFigures,
    in_flight: Arc<InFlight>,
    /// The number of entries in `objects`, for the append that meets no pause.
    paused: AtomicUsize,
    held: AtomicUsize,
    objects: Mutex<HashMap<ObjectKey, Queue>>,
}

/// A paused object, or one whose pause has ended and whose queue is still leaving.
struct Queue {
    /// On the clock that never goes back.
    until: Duration,
    is_open: bool,
    waiting: VecDeque<oneshot::Sender<Released>>,
    /// Those that still listen; the rest gave up.
    held: usize,
}

/// What an append is sent when its turn has come: it is counted as in flight already, so that a
/// pause that begins now waits for it; and when it is dropped, the next one's turn comes.
struct Released {
    entered: Entered,
    next: Turn,
}

/// Hands the turn on when it is dropped, also by an append that gave up with its turn in hand.
struct Turn {
    inner: Arc<Inner>,
    object: ObjectKey,
}

/// A place in a queue; dropping it gives the place up.
struct Place {
    inner: Arc<Inner>,
    object: ObjectKey,
    turn: oneshot::Receiver<Released>,
    end: HoldEnd,
}

impl InProcessPauses {
    pub fn new(options: HoldOptions, clock: Arc<dyn Clock>) -> Self {
        Self::measured(options, clock, HoldFigures::default())
    }

    pub fn measured(options: HoldOptions, clock: Arc<dyn Clock>, figures: HoldFigures) -> Self {
        Self(Arc::new(Inner {
            options,
            clock,
            figures,
            in_flight: InFlight::new(),
            paused: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            objects: Mutex::default(),
        }))
    }

    /// How many appends wait now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    pub fn figures(&self) -> &HoldFigures {
        &self.0.figures
    }

    /// Holds the object's appends from now on, at most for `length`.
    pub fn hold(&self, object: &ObjectKey, length: Duration) {
        let inner = &self.0;
        let mut objects = inner.objects();
        // What ended by itself without anybody waiting was seen by nobody.
        let now = inner.clock.monotonic();
        objects.retain(|_, queue| queue.is_open || queue.held > 0 || queue.until > now);
        let until = now.saturating_add(length);
        let queue = objects.entry(object.clone()).or_insert_with(|| Queue {
            until,
            is_open: false,
            waiting: VecDeque::new(),
            held: 0,
        });
        queue.until = until;
        queue.is_open = false;
        inner.paused.store(objects.len(), Ordering::SeqCst);
    }

    /// Resolves once no append that came before a hold is in flight any more, at the latest after
    /// `longest`.
    pub async fn drained(&self, object: &ObjectKey, longest: Duration) {
        tokio::select! {
            biased;
            () = self.0.in_flight.drained(object) => {}
            () = self.0.clock.sleep(longest) => {}
        }
    }

    /// Lets the object's appends go, in the order in which they came.
    pub fn let_go(&self, object: &ObjectKey) {
        self.0.open(object, Opening::Now);
    }
}

#[async_trait]
impl Pauses for InProcessPauses {
    async fn pause(&self, object: &ObjectKey, length: Duration) -> Result<(), LockError> {
        self.hold(object, length);
        self.drained(object, length).await;
        Ok(())
    }

    async fn resume(&self, object: &ObjectKey) -> Result<(), LockError> {
        self.let_go(object);
        Ok(())
    }

    async fn pass(&self, object: &ObjectKey, deadline: Option<Deadline>) -> (Held, Pass) {
        let entered = self.0.in_flight.enter(object);
        if self.0.paused.load(Ordering::SeqCst) == 0 {
            return (Held::No, Pass::counted(entered));
        }
        let queued = match self.0.meet(object) {
            Met::NoPause => return (Held::No, Pass::counted(entered)),
            Met::Full { retry_after } => {
                self.0.figures.note_refused();
                return (Held::Refused { retry_after }, Pass::free());
            }
            Met::Queued(place) => place,
        };
        // Order: out again before waiting, or the pause would wait for those that wait for it.
        drop(entered);
        match queued.wait(deadline).await {
            Some(Released { entered, next }) => {
                (Held::Released, Pass::counted(entered).with_turn(next))
            }
            None => {
                let retry_after = self.0.time_left(object).max(RETRY_AFTER_MIN);
                (Held::Refused { retry_after }, Pass::free())
            }
        }
    }
}

/// What an append finds.
enum Met {
    NoPause,
    Full { retry_after: Duration },
    Queued(Place),
}

/// When a queue may open.
enum Opening {
    Now,
    IfExpired,
}

impl Inner {
    fn objects(&self) -> MutexGuard<'_, HashMap<ObjectKey, Queue>> {
        self.objects.lock().expect("no holder panics")
    }

    fn meet(self: &Arc<Self>, object: &ObjectKey) -> Met {
        self.open(object, Opening::IfExpired);
        let mut objects = self.objects();
        let Some(queue) = objects.get_mut(object) else { return Met::NoPause };
        let held = self.held.load(Ordering::Relaxed);
        if queue.held >= self.options.held_per_object_max || held >= self.options.held_max {
            let left = queue.until.saturating_sub(self.clock.monotonic());
            return Met::Full { retry_after: left.max(RETRY_AFTER_MIN) };
        }
        let (sender, turn) = oneshot::channel();
        queue.waiting.push_back(sender);
        queue.held += 1;
        self.held.fetch_add(1, Ordering::Relaxed);
        self.figures.note_held();
        let (inner, object) = (Arc::clone(self), object.clone());
        Met::Queued(Place { inner, object, turn, end: HoldEnd::Cancelled })
    }

    /// Lets the queue of an object leave, one after the other.
    fn open(self: &Arc<Self>, object: &ObjectKey, opening: Opening) {
        {
            let mut objects = self.objects();
            let Some(queue) = objects.get_mut(object) else { return };
            let may_open = match opening {
                Opening::Now => true,
                Opening::IfExpired => queue.until <= self.clock.monotonic(),
            };
            // A queue that is open already is leaving without our help.
            if !may_open || queue.is_open {
                return;
            }
            queue.is_open = true;
        }
        self.let_next_go(object);
    }

    /// Sends the turn to the next append that still wants it. With nobody left, the pause is over.
    fn let_next_go(self: &Arc<Self>, object: &ObjectKey) {
        loop {
            let next = {
                let mut objects = self.objects();
                let Some(queue) = objects.get_mut(object) else { return };
                if !queue.is_open {
                    return;
                }
                match queue.waiting.pop_front() {
                    Some(next) => next,
                    None => {
                        objects.remove(object);
                        self.paused.store(objects.len(), Ordering::SeqCst);
                        return;
                    }
                }
            };
            if next.is_closed() {
                continue;
            }
            let entered = self.in_flight.enter(object);
            let turn = Turn { inner: Arc::clone(self), object: object.clone() };
            // If it gave up in this very moment, dropping what comes back lets the next one go.
            let _ = next.send(Released { entered, next: turn });
            return;
        }
    }

    fn time_left(&self, object: &ObjectKey) -> Duration {
        let until = self.objects().get(object).map_or(Duration::ZERO, |queue| queue.until);
        until.saturating_sub(self.clock.monotonic())
    }
}

impl Place {
    /// Waits for the turn; none when the deadline passed first.
    async fn wait(mut self, deadline: Option<Deadline>) -> Option<Released> {
        loop {
            let clock = Arc::clone(&self.inner.clock);
            self.inner.open(&self.object, Opening::IfExpired);
            let until_end = self.inner.time_left(&self.object).max(POLL_MIN);
            let until_deadline = deadline.map(|deadline| deadline.remaining(&*clock));
            if until_deadline.is_some_and(|left| left.is_zero()) {
                self.end = HoldEnd::TimedOut;
                return None;
            }
            let wait = until_deadline.map_or(until_end, |left| left.min(until_end));
            tokio::select! {
                biased;
                released = &mut self.turn => {
                    let released = released.expect("a queue goes when nobody waits in it");
                    self.end = HoldEnd::Released;
                    return Some(released);
                }
                () = clock.sleep(wait) => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.held.fetch_sub(1, Ordering::Relaxed);
        self.inner.figures.note_ended(self.end);
        if let Some(queue) = self.inner.objects().get_mut(&self.object) {
            queue.held = queue.held.saturating_sub(1);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.let_next_go(&self.object);
    }
}
