//! How fast a migration copies: under the limits that an operator set, and gently when the
//! stores grow slow.

use std::time::Duration;

use super::MigrationOptions;
use crate::runtime::Clock;

/// Answers quicker than this are never taken for a sign of load.
const LATENCY_FLOOR: Duration = Duration::from_millis(20);
/// A page that takes this many times the usual is a sign of load.
const LATENCY_FACTOR: u32 = 4;
/// The longest rest after one page, however long it took.
const REST_MAX: Duration = Duration::from_secs(1);

/// One limit: what was spent is waited for before more is spent (a leaky bucket of one second).
struct Limit {
    per_second: u64,
    /// When everything that was spent will have been earned.
    earned_at: Duration,
}

/// The pace of one migration in one process.
pub struct Throttle {
    events: Option<Limit>,
    bytes: Option<Limit>,
    /// The usual time of one page, smoothed.
    usual: Option<Duration>,
}

impl Throttle {
    pub fn new(options: &MigrationOptions) -> Self {
        let limit = |per_second| Limit { per_second, earned_at: Duration::ZERO };
        Self {
            events: options.events_per_second_max.map(limit),
            bytes: options.bytes_per_second_max.map(limit),
            usual: None,
        }
    }

    /// How many events a page may hold, so that a slow pace comes in small steps.
    pub fn page_events_max(&self, configured: usize) -> usize {
        let per_second = self.events.as_ref().map(|limit| limit.per_second);
        let tenth = per_second.map(|rate| usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1));
        tenth.map_or(configured, |tenth| tenth.min(configured))
    }

    /// The wait before a page of this size is written.
    pub fn spend(&mut self, clock: &dyn Clock, events: u64, bytes: u64) -> Duration {
        let now = clock.monotonic();
        let waits = [(&mut self.events, events), (&mut self.bytes, bytes)];
        let waits = waits.into_iter().map(|(limit, amount)| {
            limit.as_mut().map_or(Duration::ZERO, |limit| limit.spend(now, amount))
        });
        waits.max().unwrap_or_default()
    }

    /// The wait after a page that took so long: half of the time is left to others while the
    /// stores answer much slower than usual.
    pub fn after_page(&mut self, took: Duration) -> Duration {
        let usual = self.usual.unwrap_or(took);
        let is_slow = took > LATENCY_FLOOR && took > usual * LATENCY_FACTOR;
        // Slowly upwards, quickly downwards: load shall not become the new usual at once.
        let weight = if took < usual { 2 } else { 64 };
        self.usual = Some((usual * (weight - 1) + took) / weight);
        if is_slow { took.min(REST_MAX) } else { Duration::ZERO }
    }
}

impl Limit {
    fn spend(&mut self, now: Duration, amount: u64) -> Duration {
        let cost = Duration::from_secs_f64(amount as f64 / self.per_second as f64);
        let wait = self.earned_at.saturating_sub(now);
        self.earned_at = self.earned_at.max(now) + cost;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemClock;

    fn options(events: Option<u64>, bytes: Option<u64>) -> MigrationOptions {
        MigrationOptions {
            events_per_second_max: events,
            bytes_per_second_max: bytes,
            ..MigrationOptions::default()
        }
    }

    #[test]
    fn the_stricter_limit_decides_the_wait() {
        let mut throttle = Throttle::new(&options(Some(100), Some(1_000)));
        assert_eq!(throttle.spend(&SystemClock, 10, 1_000), Duration::ZERO);
        let wait = throttle.spend(&SystemClock, 10, 1_000);
        assert!(wait > Duration::from_millis(800) && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn no_limit_means_no_wait() {
        let mut throttle = Throttle::new(&options(None, None));
        assert_eq!(throttle.spend(&SystemClock, 1_000_000, 1 << 40), Duration::ZERO);
        assert_eq!(throttle.page_events_max(500), 500);
    }

    #[test]
    fn slow_stores_are_given_as_much_time_as_they_took() {
        let mut throttle = Throttle::new(&options(None, None));
        for _ in 0..10 {
            assert_eq!(throttle.after_page(Duration::from_millis(2)), Duration::ZERO);
        }
        let slow = Duration::from_millis(100);
        assert_eq!(throttle.after_page(slow), slow);
        assert_eq!(throttle.after_page(Duration::from_millis(2)), Duration::ZERO);
    }
}
