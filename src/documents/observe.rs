//! A document store that is watched. Inside must be all that makes a caller wait, so that what is
//! measured is what callers meet.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tracing::Instrument;
use tracing::field::Empty;

use super::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::runtime::Clock;
use crate::telemetry::calls::{Operation, StoreCalls};
use crate::telemetry::fields;

/// Measures every call, and gives it a span with what it is about. It tells no content.
pub struct ObserveDocuments {
    inner: Arc<dyn DocumentStore>,
    clock: Arc<dyn Clock>,
    calls: Arc<StoreCalls>,
}

impl ObserveDocuments {
    pub fn new(
        inner: Arc<dyn DocumentStore>,
        clock: Arc<dyn Clock>,
        calls: Arc<StoreCalls>,
    ) -> Self {
        Self { inner, clock, calls }
    }

    async fn watch<T>(
        &self,
        operation: Operation,
        key: &DocumentKey,
        call: impl Future<Output = Result<T, DocumentError>>,
    ) -> Result<T, DocumentError> {
        let span = tracing::debug_span!(
            "document_call",
            operation = operation.label(),
            { fields::STORE_NAME } = %self.calls.store(),
            { fields::DOCUMENT_KEY } = %key,
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
impl DocumentStore for ObserveDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        self.watch(Operation::GetDocument, key, self.inner.get(key)).await
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let call = self.inner.put(key, body, precondition);
        self.watch(Operation::PutDocument, key, call).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let call = self.inner.list(prefix, after, limit);
        self.watch(Operation::ListDocuments, prefix, call).await
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        self.watch(Operation::DeleteDocument, key, self.inner.delete(key, etag)).await
    }
}
