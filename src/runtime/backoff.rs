//! Waits that grow and differ, so that callers that failed together do not come back together.

use std::time::Duration;

use super::Entropy;

/// Exponential backoff with full jitter over the upper half: the n-th wait lies between half of
/// and the whole of `first * 2^n`, at most `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, attempt: 0 }
    }

    /// How many waits were handed out.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    pub fn next_wait(&mut self, entropy: &dyn Entropy) -> Duration {
        let factor = 1_u32.checked_shl(self.attempt.min(31)).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1);
        let whole = self.first.saturating_mul(factor).min(self.max);
        let half = whole / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(entropy.below(spread.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::entropy::SeededEntropy;

    #[test]
    fn waits_grow_to_the_maximum_and_stay_there() {
        let entropy = SeededEntropy::new(1);
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        for whole in [10, 20, 40, 80, 100, 100] {
            let wait = backoff.next_wait(&entropy);
            assert!(wait >= Duration::from_millis(whole) / 2, "{wait:?}");
            assert!(wait <= Duration::from_millis(whole), "{wait:?}");
        }
    }
}
