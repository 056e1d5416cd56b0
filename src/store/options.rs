//! What can be set of the calls to every store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::runtime::{Patience, duration_text};

/// How stores are called: with how much patience, and how many calls at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreOptions {
    /// The longest that one try of a read may take.
    #[serde(with = "duration_text")]
    pub read_timeout: Duration,
    /// The longest that one try of a write may take; after it the outcome is unknown.
    #[serde(with = "duration_text")]
    pub write_timeout: Duration,
    /// Tries of one call, the first included.
    pub attempts_max: u32,
    /// The first wait before a call is tried again; later ones grow to the second.
    #[serde(with = "duration_text")]
    pub retry_wait_first: Duration,
    #[serde(with = "duration_text")]
    pub retry_wait_max: Duration,
    /// Reads in flight at once, and as many writes beside them.
    pub in_flight_max: usize,
    /// Reads that may wait for their turn, and as many writes; more are answered
    /// `TOO_MANY_IN_FLIGHT`.
    pub waiting_max: usize,
    /// The longest that a call waits for its turn.
    #[serde(with = "duration_text")]
    pub waiting_time_max: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            attempts_max: 3,
            retry_wait_first: Duration::from_millis(5),
            retry_wait_max: Duration::from_millis(200),
            in_flight_max: 1024,
            waiting_max: 4096,
            waiting_time_max: Duration::from_secs(5),
        }
    }
}

impl StoreOptions {
    /// Every value that makes no sense.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("retry_wait_first", self.retry_wait_first),
        ] {
            if value.is_zero() {
                faults.push(InvalidValue::new(field, "must be more than nothing"));
            }
        }
        if self.retry_wait_max < self.retry_wait_first {
            let problem = "must be at least retry_wait_first";
            faults.push(InvalidValue::new("retry_wait_max", problem));
        }
        if self.attempts_max == 0 {
            faults.push(InvalidValue::new("attempts_max", "must be at least 1"));
        }
        if self.in_flight_max == 0 {
            faults.push(InvalidValue::new("in_flight_max", "must be at least 1"));
        }
        faults
    }

    pub fn patience(&self) -> Patience {
        Patience {
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            attempts_max: self.attempts_max,
            wait_first: self.retry_wait_first,
            wait_max: self.retry_wait_max,
        }
    }
}
