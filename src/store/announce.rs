//! A store that tells this process, and others if need be, of what it did. It stands outside of
//! all that can fail: what is told must have been done, or may have been.

use std::sync::Arc;

use async_trait::async_trait;

use super::wakeups::StoreWakeups;
use super::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};

/// Wakes followers when a stream grew, ended, or may have.
pub struct AnnounceStore {
    inner: Arc<dyn EventStore>,
    wakeups: StoreWakeups,
}

impl AnnounceStore {
    pub fn new(inner: Arc<dyn EventStore>, wakeups: StoreWakeups) -> Self {
        Self { inner, wakeups }
    }

    fn tell<T>(&self, stream: &StreamId, answer: &Result<T, StoreError>) {
        if matches!(answer, Ok(_) | Err(StoreError::OutcomeUnknown { .. })) {
            self.wakeups.changed_here(stream);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for AnnounceStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.inner.create(stream, header).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        let answer = self.inner.append(stream, append).await;
        self.tell(stream, &answer);
        answer
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.inner.read(stream, range).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.inner.tail(stream).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.inner.find(stream, ids).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let answer = self.inner.close(stream, close).await;
        self.tell(stream, &answer);
        answer
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.inner.remove(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
