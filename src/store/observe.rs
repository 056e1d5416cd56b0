//! A store that is watched. Inside must be all that makes a caller wait, so that what is measured
//! is what callers meet. Outside is nothing but the registry.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument;
use tracing::field::Empty;

use super::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::runtime::Clock;
use crate::telemetry::calls::{Operation, StoreCalls};
use crate::telemetry::fields;

/// Measures every call, and gives it a span with what it is about. It tells no event's content.
pub struct ObserveStore {
    inner: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    calls: Arc<StoreCalls>,
}

impl ObserveStore {
    pub fn new(inner: Arc<dyn EventStore>, clock: Arc<dyn Clock>, calls: Arc<StoreCalls>) -> Self {
        Self { inner, clock, calls }
    }

    async fn watch<T>(
        &self,
        operation: Operation,
        stream: &StreamId,
        events: Option<usize>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let span = tracing::debug_span!(
            "store_call",
            operation = operation.label(),
            { fields::STORE_NAME } = %self.calls.store(),
            { fields::STREAM_ID } = %stream,
            { fields::EVENT_COUNT } = events,
            { fields::ERROR_CLASS } = Empty,
        );
        let running = self.calls.begin(operation, || self.clock.monotonic());
        let answer = call.instrument(span.clone()).await;
        match &answer {
            Ok(_) => running.ended(Ok(())),
            Err(error) => {
                span.record(fields::ERROR_CLASS, error.class().label());
                running.ended(Err(error.class()));
            }
        }
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for ObserveStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let call = self.inner.create(stream, header);
        self.watch(Operation::Create, stream, None, call).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        let events = Some(append.events.len());
        let call = self.inner.append(stream, append);
        self.watch(Operation::Append, stream, events, call).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.watch(Operation::Read, stream, None, self.inner.read(stream, range)).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.watch(Operation::Tail, stream, None, self.inner.tail(stream)).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let call = self.inner.find(stream, ids);
        self.watch(Operation::Find, stream, Some(ids.len()), call).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        self.watch(Operation::Close, stream, None, self.inner.close(stream, close)).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.watch(Operation::Remove, stream, None, self.inner.remove(stream)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
