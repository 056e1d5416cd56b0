//! A store that tries again. Inside must be what bounds one try; outside must be what bounds the
//! calls at once, so that one that waits for its next try keeps its place.
//!
//! Reads are repeated whenever they may be. Writes are repeated when they were certainly not done,
//! and when nobody knows: every write of the port may be repeated as it is. What a write answers
//! after an unknown outcome is subject to [`doubt`]. When the caller has given up, only what is in
//! doubt is repeated, to settle it.

pub(crate) mod doubt;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::runtime::{Caller, Patience, Runtime};
use crate::telemetry::fields;

/// Makes a call again when that can help.
pub struct RetryStore {
    inner: Arc<dyn EventStore>,
    runtime: Runtime,
    patience: Patience,
}

impl RetryStore {
    pub fn new(inner: Arc<dyn EventStore>, runtime: Runtime, patience: Patience) -> Self {
        Self { inner, runtime, patience }
    }

    async fn read_again<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        let mut retries = self.patience.retries();
        loop {
            match call().await {
                Err(error)
                    if error.class().may_be_repeated()
                        && !Caller::has_given_up(&*self.runtime.clock)
                        && retries.take() =>
                {
                    tell(retries.attempt(), &error);
                    retries.wait(&self.runtime, asked_for(&error)).await;
                }
                answer => return answer,
            }
        }
    }

    /// `settles` says whether an error proves that no earlier try was or will be done.
    async fn write_again<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        mut call: impl FnMut() -> F,
        settles: impl Fn(&StoreError) -> bool,
    ) -> Result<T, StoreError> {
        let mut retries = self.patience.retries();
        let mut in_doubt = false;
        loop {
            let error = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let unknown = matches!(error, StoreError::OutcomeUnknown { .. });
            in_doubt |= unknown;
            let again = unknown
                || matches!(error, StoreError::Unavailable { .. } | StoreError::RateLimited { .. })
                    && !Caller::has_given_up(&*self.runtime.clock);
            if again && retries.take() {
                tell(retries.attempt(), &error);
                retries.wait(&self.runtime, asked_for(&error)).await;
            } else if in_doubt && !unknown && !settles(&error) {
                return Err(StoreError::unknown(error));
            } else {
                return Err(error);
            }
        }
    }
}

fn tell(attempt: u32, error: &StoreError) {
    let class = error.class().label();
    tracing::debug!({ fields::ATTEMPT } = attempt, { fields::ERROR_CLASS } = class, "trying again");
}

/// The wait that the store asked for.
fn asked_for(error: &StoreError) -> Option<Duration> {
    match error {
        StoreError::Unavailable { retry_after, .. }
        | StoreError::Overloaded { retry_after }
        | StoreError::RateLimited { retry_after } => *retry_after,
        _ => None,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for RetryStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.write_again(|| self.inner.create(stream, header), doubt::create_is_settled_by).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        let window = self.inner.capabilities().event_id_window;
        let expected = append.expected;
        let settles = |error: &StoreError| doubt::append_is_settled_by(error, expected, window);
        self.write_again(|| self.inner.append(stream, append.clone()), settles).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.read_again(|| self.inner.read(stream, range)).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.read_again(|| self.inner.tail(stream)).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.read_again(|| self.inner.find(stream, ids)).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let head = close.event.head;
        let settles = |error: &StoreError| doubt::close_is_settled_by(error, head);
        self.write_again(|| self.inner.close(stream, close.clone()), settles).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.write_again(|| self.inner.remove(stream), doubt::remove_is_settled_by).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests;
