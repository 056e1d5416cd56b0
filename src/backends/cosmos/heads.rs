//! Ends of streams as this process last saw them, and whose turn it is to change one.
//!
//! Both are for economy. A head that is out of date makes a condition fail, never an append land
//! in a wrong place; and without turns the writers of one process would make each other fail.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::layout::Head;
use crate::domain::StreamId;
use crate::runtime::{Clock, Deadline};

/// The heads that were seen last, as far as they fit.
pub(super) struct Heads {
    cache: Cache<StreamId, Arc<Head>>,
}

impl Heads {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { cache: Cache::new(entries_max.max(1)) }
    }

    pub(super) fn get(&self, stream: &StreamId) -> Option<Arc<Head>> {
        self.cache.get(stream)
    }

    pub(super) fn learn(&self, stream: &StreamId, head: Head) -> Arc<Head> {
        let head = Arc::new(head);
        self.cache.insert(stream.clone(), Arc::clone(&head));
        head
    }

    pub(super) fn forget(&self, stream: &StreamId) {
        self.cache.remove(stream);
    }
}

/// Streams share these places; so many that two busy ones seldom meet.
const TURNS: usize = 1_024;
/// The longest that an append waits for its turn; then it goes ahead without.
const TURN_WAIT_MAX: Duration = Duration::from_secs(1);

/// One at a time for each stream, in order of arrival.
pub(super) struct Turns {
    places: Vec<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Turns {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { places: (0..TURNS).map(|_| Semaphore::new(1)).collect(), clock }
    }

    /// None when the one before takes too long: it may hang, and must not hold up the rest.
    pub(super) async fn take(&self, stream: &StreamId) -> Option<SemaphorePermit<'_>> {
        let hash = crc32fast::hash(stream.as_str().as_bytes()) as usize;
        let place = &self.places[hash % TURNS];
        if let Ok(turn) = place.try_acquire() {
            return Some(turn);
        }
        let deadline = Deadline::after(&*self.clock, TURN_WAIT_MAX);
        deadline.bound(&*self.clock, place.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::virtual_clock::VirtualClock;

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_hangs_does_not_hold_up_the_rest_for_ever() {
        let turns = Turns::new(Arc::new(VirtualClock::new()));
        let stream = StreamId::new("a").unwrap();
        let first = turns.take(&stream).await;
        assert!(first.is_some());
        assert!(turns.take(&stream).await.is_none(), "the first one hangs");
        drop(first);
        assert!(turns.take(&stream).await.is_some());
    }
}
