//! The clock of tests that run on tokio's paused time: waiting costs nothing, and the same seed
//! gives the same history.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::Timestamp;
use crate::runtime::Clock;

/// Reads tokio's clock. Under `start_paused` time moves by itself to the next timer whenever all
/// tasks wait.
pub struct VirtualClock {
    start: Instant,
    start_at: Timestamp,
}

impl VirtualClock {
    /// Must be made inside the runtime whose time it reads.
    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    pub fn new() -> Self {
        let start_at = Timestamp::from_nanos(1_700_000_000_000_000_000);
        Self { start: Instant::now(), start_at }
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.start_at.plus(self.start.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
