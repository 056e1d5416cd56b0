//! A store that always answers in time. Inside must be whatever may hang: the backend. Outside
//! must be what repeats, so that each try has its own time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::runtime::{Caller, Clock, Deadline, Patience};

/// Drops a call when its time is over, a read also when its caller's is. A read was then not done;
/// a write may have been, or may still be.
pub struct TimeoutStore {
    inner: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    patience: Patience,
}

impl TimeoutStore {
    pub fn new(inner: Arc<dyn EventStore>, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        Self { inner, clock, patience }
    }

    async fn within<T>(
        &self,
        time: Duration,
        late: impl FnOnce() -> StoreError,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let deadline = Deadline::after(&*self.clock, time);
        deadline.bound(&*self.clock, call).await.unwrap_or_else(|_| Err(late()))
    }

    async fn read_within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // Nobody hears the answer to a read after that; a write that was sent goes on.
        let time = self.patience.read_timeout;
        let time = Caller::patience(&*self.clock).map_or(time, |patience| patience.min(time));
        self.within(time, || StoreError::TimedOut, call).await
    }

    async fn write_within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let unknown = || StoreError::OutcomeUnknown { cause: None };
        self.within(self.patience.write_timeout, unknown, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for TimeoutStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.write_within(self.inner.create(stream, header)).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.write_within(self.inner.append(stream, append)).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.read_within(self.inner.read(stream, range)).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.read_within(self.inner.tail(stream)).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.read_within(self.inner.find(stream, ids)).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        self.write_within(self.inner.close(stream, close)).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.write_within(self.inner.remove(stream)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::domain::{ExpectedVersion, Head};
    use crate::testing::builders::{
        append, close, events, header, migration, object, patience, range, stream_id,
    };
    use crate::testing::faulty::{Fate, FaultPlan, FaultyStore};
    use crate::testing::virtual_clock::VirtualClock;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_timed_out_and_a_write_is_unknown() {
        let plan = FaultPlan::new(|_| Fate::Dead);
        let faulty = FaultyStore::new("hot", Arc::new(MemoryStore::new()), plan);
        let clock = Arc::new(VirtualClock::new());
        let store = TimeoutStore::new(Arc::new(faulty), clock.clone(), patience());
        let stream = stream_id("a");

        assert!(matches!(store.read(&stream, range(0)).await, Err(StoreError::TimedOut)));
        assert_eq!(clock.monotonic(), patience().read_timeout);
        assert!(matches!(store.tail(&stream).await, Err(StoreError::TimedOut)));
        assert!(matches!(store.find(&stream, &[]).await, Err(StoreError::TimedOut)));

        let writes = [
            store.create(&stream, &header(&object("1"))).await,
            store.append(&stream, append(ExpectedVersion::Any, events(0..1))).await.map(drop),
            store.close(&stream, close(migration(1), Head::NONE)).await.map(drop),
            store.remove(&stream).await.map(drop),
        ];
        for write in writes {
            assert!(matches!(write, Err(StoreError::OutcomeUnknown { .. })), "{write:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_with_its_caller_and_a_write_takes_its_time() {
        let plan = FaultPlan::new(|_| Fate::Dead);
        let faulty = FaultyStore::new("hot", Arc::new(MemoryStore::new()), plan);
        let clock = Arc::new(VirtualClock::new());
        let store = TimeoutStore::new(Arc::new(faulty), clock.clone(), patience());
        let stream = stream_id("a");
        let soon = Duration::from_millis(1);
        let caller = || Caller::new(Some(Deadline::after(&*clock, soon)), None);
        let read = caller().serve(store.read(&stream, range(0))).await;
        assert!(matches!(read, Err(StoreError::TimedOut)), "{read:?}");
        assert_eq!(clock.monotonic(), soon);
        let write = store.append(&stream, append(ExpectedVersion::Any, events(0..1)));
        let write = caller().serve(write).await;
        assert!(matches!(write, Err(StoreError::OutcomeUnknown { .. })), "{write:?}");
        assert_eq!(clock.monotonic(), soon + patience().write_timeout);
    }
}
