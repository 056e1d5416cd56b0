//! A store that is never asked for too much. Inside must be what repeats, so that a call keeps its
//! place while it waits for its next try. Outside may be anything that callers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    StoreOptions, Tail,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::runtime::{Caller, Clock, Deadline};

/// Refuses appends beyond the store's limits, and bounds the calls at once: reads and writes each
/// have places of their own, so that neither starves the other. Beyond them a bounded number
/// waits, in order of arrival.
pub struct LimitStore {
    inner: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    reads: Places,
    writes: Places,
}

struct Places {
    free: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
    waiting_time_max: Duration,
}

/// Counts one that waits, also when it goes away waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Places {
    fn new(options: &StoreOptions) -> Self {
        Self {
            free: Semaphore::new(options.in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            waiting_max: options.waiting_max,
            waiting_time_max: options.waiting_time_max,
        }
    }

    async fn take(&self, clock: &dyn Clock) -> Result<SemaphorePermit<'_>, StoreError> {
        if let Ok(place) = self.free.try_acquire() {
            return Ok(place);
        }
        let overloaded = || StoreError::Overloaded { retry_after: None };
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            return Err(overloaded());
        }
        let time = self.waiting_time_max;
        let time = Caller::patience(clock).map_or(time, |patience| patience.min(time));
        let deadline = Deadline::after(clock, time);
        // Work that goes on without its caller ends here, where it is certainly not done.
        let place = tokio::select! {
            biased;
            place = deadline.bound(clock, self.free.acquire()) => place.ok(),
            () = Caller::leaves() => None,
        };
        drop(waiting);
        let place = place.ok_or_else(overloaded)?;
        Ok(place.expect("the places are never closed"))
    }
}

impl LimitStore {
    pub fn new(inner: Arc<dyn EventStore>, clock: Arc<dyn Clock>, options: &StoreOptions) -> Self {
        Self { inner, clock, reads: Places::new(options), writes: Places::new(options) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for LimitStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let _place = self.writes.take(&*self.clock).await?;
        self.inner.create(stream, header).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.inner.capabilities().limits.check(&append.events)?;
        let _place = self.writes.take(&*self.clock).await?;
        self.inner.append(stream, append).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let _place = self.reads.take(&*self.clock).await?;
        self.inner.read(stream, range).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        let _place = self.reads.take(&*self.clock).await?;
        self.inner.tail(stream).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let _place = self.reads.take(&*self.clock).await?;
        self.inner.find(stream, ids).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let _place = self.writes.take(&*self.clock).await?;
        self.inner.close(stream, close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let _place = self.writes.take(&*self.clock).await?;
        self.inner.remove(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests;
