//! A document store that tries again. Inside must be what bounds one try.
//!
//! Reads are repeated whenever they may be. Writes are repeated only when they were certainly not
//! done: a put on condition cannot be repeated in doubt, for its own first try would make the
//! second a conflict. Its caller reads, and sees what became of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::runtime::{Caller, Patience, Runtime};
use crate::telemetry::fields;

/// Makes a call again when that can help.
pub struct RetryDocuments {
    inner: Arc<dyn DocumentStore>,
    runtime: Runtime,
    patience: Patience,
}

impl RetryDocuments {
    pub fn new(inner: Arc<dyn DocumentStore>, runtime: Runtime, patience: Patience) -> Self {
        Self { inner, runtime, patience }
    }

    async fn again<T, F: Future<Output = Result<T, DocumentError>>>(
        &self,
        mut call: impl FnMut() -> F,
        helps: impl Fn(&DocumentError) -> bool,
    ) -> Result<T, DocumentError> {
        let mut retries = self.patience.retries();
        loop {
            match call().await {
                Err(error)
                    if helps(&error)
                        && !Caller::has_given_up(&*self.runtime.clock)
                        && retries.take() =>
                {
                    let (attempt, class) = (retries.attempt(), error.class().label());
                    tracing::debug!(
                        { fields::ATTEMPT } = attempt,
                        { fields::ERROR_CLASS } = class,
                        "trying again"
                    );
                    retries.wait(&self.runtime, asked_for(&error)).await;
                }
                answer => return answer,
            }
        }
    }
}

/// The wait that the store asked for.
fn asked_for(error: &DocumentError) -> Option<Duration> {
    match error {
        DocumentError::Unavailable { retry_after, .. } => *retry_after,
        DocumentError::Conflict
        | DocumentError::TimedOut
        | DocumentError::OutcomeUnknown { .. }
        | DocumentError::Corrupt { .. }
        | DocumentError::NewerFormat { .. } => None,
    }
}

fn read_may_be_repeated(error: &DocumentError) -> bool {
    error.class().may_be_repeated()
}

fn was_not_done(error: &DocumentError) -> bool {
    matches!(error, DocumentError::Unavailable { .. })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DocumentStore for RetryDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        self.again(|| self.inner.get(key), read_may_be_repeated).await
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let put = || self.inner.put(key, body.clone(), precondition.clone());
        self.again(put, was_not_done).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        self.again(|| self.inner.list(prefix, after, limit), read_may_be_repeated).await
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        self.again(|| self.inner.delete(key, etag), was_not_done).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::testing::builders;
    use crate::testing::faulty::{Fate, FaultPlan, FaultyDocuments};

    fn over(plan: &FaultPlan) -> RetryDocuments {
        let faulty = FaultyDocuments::new(Arc::new(MemoryStore::new()), plan.clone());
        let runtime = Runtime {
            clock: Arc::new(crate::testing::virtual_clock::VirtualClock::new()),
            ..Runtime::system()
        };
        RetryDocuments::new(Arc::new(faulty), runtime, builders::patience())
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_was_lost_is_repeated() {
        let plan = FaultPlan::fail_once_at(1, Fate::LoseRequest);
        let documents = over(&plan);
        assert_eq!(documents.get(&DocumentKey::deployment()).await.unwrap(), None);
        assert_eq!(plan.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_in_doubt_is_told_and_not_repeated() {
        let plan = FaultPlan::fail_once_at(1, Fate::LoseAnswer);
        let documents = over(&plan);
        let key = DocumentKey::deployment();
        let put = documents.put(&key, Bytes::from_static(b"1"), Precondition::Absent).await;
        assert!(matches!(put, Err(DocumentError::OutcomeUnknown { .. })), "{put:?}");
        assert_eq!(plan.calls().len(), 1);
        assert_eq!(documents.get(&key).await.unwrap().unwrap().body, "1");
    }
}
