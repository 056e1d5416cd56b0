//! A document store that always answers in time. Inside must be whatever may hang: the backend.
//! Outside must be what repeats, so that each try has its own time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::runtime::{Caller, Clock, Deadline, Patience};

/// Drops a call when its time is over, a read also when its caller's is. A read was then not done;
/// a write may have been, or may still be.
pub struct TimeoutDocuments {
    inner: Arc<dyn DocumentStore>,
    clock: Arc<dyn Clock>,
    patience: Patience,
}

impl TimeoutDocuments {
    pub fn new(inner: Arc<dyn DocumentStore>, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        Self { inner, clock, patience }
    }

    async fn within<T>(
        &self,
        time: Duration,
        late: impl FnOnce() -> DocumentError,
        call: impl Future<Output = Result<T, DocumentError>>,
    ) -> Result<T, DocumentError> {
        let deadline = Deadline::after(&*self.clock, time);
        deadline.bound(&*self.clock, call).await.unwrap_or_else(|_| Err(late()))
    }

    async fn read_within<T>(
        &self,
        call: impl Future<Output = Result<T, DocumentError>>,
    ) -> Result<T, DocumentError> {
        // Nobody hears the answer to a read after that; a write that was sent goes on.
        let time = self.patience.read_timeout;
        let time = Caller::patience(&*self.clock).map_or(time, |patience| patience.min(time));
        self.within(time, || DocumentError::TimedOut, call).await
    }

    async fn write_within<T>(
        &self,
        call: impl Future<Output = Result<T, DocumentError>>,
    ) -> Result<T, DocumentError> {
        let unknown = || DocumentError::OutcomeUnknown { cause: None };
        self.within(self.patience.write_timeout, unknown, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DocumentStore for TimeoutDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        self.read_within(self.inner.get(key)).await
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        self.write_within(self.inner.put(key, body, precondition)).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        self.read_within(self.inner.list(prefix, after, limit)).await
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        self.write_within(self.inner.delete(key, etag)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::testing::faulty::{Fate, FaultPlan, FaultyDocuments};
    use crate::testing::virtual_clock::VirtualClock;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_timed_out_and_a_write_is_unknown() {
        let dead = FaultPlan::new(|_| Fate::Dead);
        let patience = crate::testing::builders::patience();
        let documents = TimeoutDocuments::new(
            Arc::new(FaultyDocuments::new(Arc::new(MemoryStore::new()), dead)),
            Arc::new(VirtualClock::new()),
            patience,
        );
        let key = DocumentKey::deployment();
        assert!(matches!(documents.get(&key).await, Err(DocumentError::TimedOut)));
        let listed = documents.list(&key, None, 1).await;
        assert!(matches!(listed, Err(DocumentError::TimedOut)));
        let put = documents.put(&key, Bytes::new(), Precondition::Absent).await;
        assert!(matches!(put, Err(DocumentError::OutcomeUnknown { .. })));
        let deleted = documents.delete(&key, &Etag("1".into())).await;
        assert!(matches!(deleted, Err(DocumentError::OutcomeUnknown { .. })));
    }
}
