//! A clock that stands still until it is told to move, and may be told to fall back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::Timestamp;
use crate::runtime::{Clock, SystemClock};

/// Sleepers wake when the clock has moved past their time, in whatever runtime they sleep.
///
/// [`super::virtual_clock::VirtualClock`] moves by itself under tokio's paused time; this one is
/// for tests that decide each moment, and for wall clocks that jump.
pub struct ManualClock {
    monotonic: watch::Sender<Duration>,
    wall: Mutex<Timestamp>,
}

impl ManualClock {
    pub fn new(start: Timestamp) -> Self {
        Self { monotonic: watch::Sender::new(Duration::ZERO), wall: Mutex::new(start) }
    }

    /// Lets time pass for everyone.
    pub fn advance(&self, duration: Duration) {
        let mut wall = self.wall.lock().expect("no holder panics");
        *wall = wall.plus(duration);
        drop(wall);
        self.monotonic.send_modify(|monotonic| *monotonic += duration);
    }

    /// Sets the wall clock alone, forwards or backwards. Nobody wakes.
    pub fn set_wall(&self, now: Timestamp) {
        *self.wall.lock().expect("no holder panics") = now;
    }

    /// How many sleep right now: a test that moves the clock waits for its sleepers first.
    pub fn sleepers(&self) -> usize {
        self.monotonic.receiver_count()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.wall.lock().expect("no holder panics")
    }

    fn monotonic(&self) -> Duration {
        *self.monotonic.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut time = self.monotonic.subscribe();
        let wake_at = time.borrow().saturating_add(duration);
        let woken = time.wait_for(|now| *now >= wake_at).await;
        woken.expect("the sender lives as long as the clock");
    }
}

/// The machine's clock with a wall clock that may be moved, also backwards.
#[derive(Default)]
pub struct ShiftedClock {
    nanos: AtomicI64,
}

impl ShiftedClock {
    /// From now on the wall clock shows what the machine's shows and this much.
    pub fn shift_by(&self, nanos: i64) {
        self.nanos.store(nanos, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(SystemClock.now().nanos() + self.nanos.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let nap = clock.sleep(Duration::from_secs(2));
        tokio::pin!(nap);
        assert!(futures::poll!(&mut nap).is_pending());
        assert_eq!(clock.sleepers(), 1);
        clock.advance(Duration::from_secs(1));
        assert!(futures::poll!(&mut nap).is_pending());
        clock.advance(Duration::from_secs(1));
        nap.await;
        assert_eq!(clock.now(), Timestamp::from_nanos(2_000_000_000));
        assert_eq!(clock.monotonic(), Duration::from_secs(2));
    }

    #[test]
    fn the_wall_clock_may_fall_and_the_other_does_not() {
        let clock = ManualClock::new(Timestamp::from_nanos(10));
        clock.set_wall(Timestamp::from_nanos(3));
        assert_eq!((clock.now().nanos(), clock.monotonic()), (3, Duration::ZERO));
    }
}
