//! A store in one kind of trouble that its users meet: it refuses appends, somebody writes past
//! the proxy, or it does not keep what it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::builders;
use crate::domain::{CloseEvent, EventId, ExpectedVersion, Head, StreamHeader, StreamId, Version};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Every append is refused with this error.
    Refuses(fn() -> StoreError),
    /// Somebody appends an event to a stream just before each close of it.
    NeverQuiet,
    /// Somebody appends an event to a stream as soon as it was created.
    WrittenPast,
    /// Every stream ends one event earlier than it did.
    LosesTheLast,
    /// Its events are smaller than those of other stores.
    SmallEvents,
}

/// An event store with a trouble.
pub struct TroubledStore {
    inner: Arc<dyn EventStore>,
    trouble: Trouble,
    written: AtomicU64,
}

impl TroubledStore {
    pub fn new(inner: Arc<dyn EventStore>, trouble: Trouble) -> Self {
        Self { inner, trouble, written: AtomicU64::new(0) }
    }

    /// One event from somebody else, wherever the stream ends. A closed stream does not take it.
    async fn write_past(&self, stream: &StreamId) -> Result<(), StoreError> {
        let tail = self.inner.tail(stream).await?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let append = Append {
            made_by: tail.header.made_by,
            base: tail.base.unwrap_or(Version::FIRST),
            expected: ExpectedVersion::Any,
            events: builders::events(number..number + 1),
        };
        match self.inner.append(stream, append).await {
            Ok(_) | Err(StoreError::Closed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for TroubledStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.inner.create(stream, header).await?;
        match self.trouble {
            Trouble::WrittenPast => self.write_past(stream).await,
            Trouble::Refuses(_)
            | Trouble::NeverQuiet
            | Trouble::LosesTheLast
            | Trouble::SmallEvents => Ok(()),
        }
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        match self.trouble {
            Trouble::Refuses(error) => Err(error()),
            Trouble::NeverQuiet
            | Trouble::WrittenPast
            | Trouble::LosesTheLast
            | Trouble::SmallEvents => self.inner.append(stream, append).await,
        }
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.inner.read(stream, range).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        let mut tail = self.inner.tail(stream).await?;
        if let (Trouble::LosesTheLast, Some(last)) = (self.trouble, tail.head.version()) {
            tail.head = Head::before(last);
        }
        Ok(tail)
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.inner.find(stream, ids).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        if matches!(self.trouble, Trouble::NeverQuiet) {
            self.write_past(stream).await?;
        }
        self.inner.close(stream, close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.inner.remove(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        if matches!(self.trouble, Trouble::SmallEvents) {
            capabilities.limits.event_bytes_max /= 2;
        }
        capabilities
    }
}
