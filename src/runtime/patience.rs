//! How long one call to the outside may take, and how often it is made again.

use std::time::Duration;

use super::{Backoff, Runtime};

/// The bounds of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    /// The first try counts.
    pub attempts_max: u32,
    pub wait_first: Duration,
    pub wait_max: Duration,
}

impl Patience {
    pub fn retries(self) -> Retries {
        Retries {
            attempts_left: self.attempts_max.max(1),
            wait_max: self.wait_max,
            backoff: Backoff::new(self.wait_first, self.wait_max),
        }
    }
}

/// The tries that one call has left.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    attempts_left: u32,
    wait_max: Duration,
    backoff: Backoff,
}

impl Retries {
    /// Counts a try. False when it is the last one.
    pub fn take(&mut self) -> bool {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        self.attempts_left > 0
    }

    /// Which try comes next, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.backoff.attempt() + 1
    }

    /// Waits before the next try: longer each time, and as long as the store asked for.
    pub async fn wait(&mut self, runtime: &Runtime, asked_for: Option<Duration>) {
        let own = self.backoff.next_wait(&*runtime.entropy);
        let wait = own.max(asked_for.unwrap_or(own)).min(self.wait_max);
        runtime.clock.sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted_and_there_is_always_one() {
        let patience = |attempts_max| Patience {
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            attempts_max,
            wait_first: Duration::ZERO,
            wait_max: Duration::ZERO,
        };
        for (attempts_max, expected) in [(0, 1), (1, 1), (2, 2), (5, 5)] {
            let mut retries = patience(attempts_max).retries();
            let mut tries = 1;
            while retries.take() {
                tries += 1;
            }
            assert_eq!(tries, expected);
        }
    }
}
