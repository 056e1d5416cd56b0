//! How migrations run: what an operator may set for one, and what holds for all in a process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::runtime::duration_text;

/// What to do when the source is written faster than the copy can close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OnConvergenceFailure {
    /// Go on until the close timeout.
    KeepTrying,
    /// End when the gap did not shrink in five rounds.
    Fail,
    /// Hold the object's appends for a bounded moment when the gap did not shrink in five rounds.
    PauseSource,
}

/// The options of one migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MigrationOptions {
    /// The longest time from the start to the close; operator's pauses do not count.
    #[serde(with = "duration_text")]
    pub close_timeout: Duration,
    /// The wait after a round that found the source ahead at the close.
    #[serde(with = "duration_text")]
    pub catch_up_delay: Duration,
    pub on_convergence_failure: OnConvergenceFailure,
    /// The longest that `PAUSE_SOURCE` holds appends, each time.
    #[serde(with = "duration_text")]
    pub pause_source_max: Duration,
    /// None: no limit.
    pub events_per_second_max: Option<u64>,
    /// None: no limit.
    pub bytes_per_second_max: Option<u64>,
    /// Events and bytes of a page; two of them are held in memory.
    pub page_events_max: usize,
    pub page_bytes_max: usize,
}

impl Default for MigrationOptions {
    fn default() -> Self {
        Self {
            close_timeout: Duration::from_secs(300),
            catch_up_delay: Duration::from_millis(100),
            on_convergence_failure: OnConvergenceFailure::PauseSource,
            pause_source_max: Duration::from_millis(500),
            events_per_second_max: None,
            bytes_per_second_max: None,
            page_events_max: 1_000,
            page_bytes_max: 4 * 1024 * 1024,
        }
    }
}

impl MigrationOptions {
    /// Refuses what could never work.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let day = Duration::from_secs(24 * 3600);
        let in_range = |field, value: Duration, min: Duration, max: Duration| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            let problem = format!("must lie between {min:?} and {max:?}, is {value:?}");
            Err(InvalidValue::new(field, problem))
        };
        in_range("close_timeout", self.close_timeout, Duration::from_millis(1), 30 * day)?;
        in_range("catch_up_delay", self.catch_up_delay, Duration::ZERO, day)?;
        let minute = Duration::from_secs(60);
        in_range("pause_source_max", self.pause_source_max, Duration::from_millis(1), minute)?;
        if !(1..=10_000).contains(&self.page_events_max) {
            return Err(InvalidValue::new("page_events_max", "must lie between 1 and 10000"));
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.page_bytes_max) {
            return Err(InvalidValue::new("page_bytes_max", "must lie between 1 KiB and 64 MiB"));
        }
        for (field, value) in [
            ("events_per_second_max", self.events_per_second_max),
            ("bytes_per_second_max", self.bytes_per_second_max),
        ] {
            if value == Some(0) {
                return Err(InvalidValue::new(
                    field,
                    "must be at least 1, or left out for no limit",
                ));
            }
        }
        Ok(())
    }
}

/// What becomes of a new migration while the lock cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WithoutLock {
    /// It is answered `LOCK_UNAVAILABLE`, and nothing is written.
    Refuse,
    /// It is taken, and begins by itself when the lock is back.
    Wait,
}

/// What holds for all migrations of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MigrationSettings {
    /// What a request leaves out.
    pub defaults: MigrationOptions,
    /// Migrations that run here at once; others wait.
    pub running_max: usize,
    /// How long a lock is held without being renewed.
    #[serde(with = "duration_text")]
    pub lease_ttl: Duration,
    /// What becomes of a new migration while the lock cannot be reached.
    pub without_lock: WithoutLock,
    /// How often unfinished migrations are looked for, on average; more often if that is more
    /// than two thirds of a lease.
    #[serde(with = "duration_text")]
    pub scan_interval: Duration,
    /// How many unfinished migrations of others are picked up at once.
    pub pick_up_batch: usize,
    /// How long to wait before the next batch is picked up, for every batch that runs here.
    #[serde(with = "duration_text")]
    pub pick_up_wait: Duration,
    /// How often a long migration writes its progress to its record.
    #[serde(with = "duration_text")]
    pub record_interval: Duration,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self {
            defaults: MigrationOptions::default(),
            running_max: 256,
            lease_ttl: Duration::from_secs(10),
            without_lock: WithoutLock::Refuse,
            scan_interval: Duration::from_secs(5),
            pick_up_batch: 16,
            pick_up_wait: Duration::from_millis(20),
            record_interval: Duration::from_secs(1),
        }
    }
}

impl MigrationSettings {
    /// Refuses what could never work.
    pub fn check(&self) -> Vec<InvalidValue> {
        let defaults = self.defaults.check().err().map(|fault| fault.within("defaults"));
        let mut faults: Vec<InvalidValue> = defaults.into_iter().collect();
        if self.running_max == 0 {
            faults.push(InvalidValue::new("running_max", "must be at least 1"));
        }
        if self.pick_up_batch == 0 {
            faults.push(InvalidValue::new("pick_up_batch", "must be at least 1"));
        }
        if self.pick_up_wait > Duration::from_secs(60) {
            faults.push(InvalidValue::new("pick_up_wait", "must be at most 60s"));
        }
        for (field, value, min) in [
            ("lease_ttl", self.lease_ttl, Duration::from_millis(100)),
            ("scan_interval", self.scan_interval, Duration::from_millis(10)),
            ("record_interval", self.record_interval, Duration::from_millis(10)),
        ] {
            if value < min {
                faults.push(InvalidValue::new(field, format!("must be at least {min:?}")));
            }
        }
        faults
    }
}
