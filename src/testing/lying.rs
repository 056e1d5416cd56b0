//! Planted bugs: stores and documents that lie in one way each. The suites must find every one of
//! them, or they are no suites.

use std::sync::Arc;

use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};
use async_trait::async_trait;
use bytes::Bytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The source is closed at whatever head it has.
    CloseWithoutHeadCondition,
    /// A document is overwritten, whatever it was changed to meanwhile.
    DocumentWithoutCompareAndSet,
    /// A copy is removed as it stands, though somebody may still be writing and closing to it.
    RemovalByCheckThenAct,
    /// The document hands the same target out again, and the store takes foreign content.
    TargetSharedByTwoMigrations,
    /// A repeated append is not looked up in the streams before the active one.
    InheritedIdsUnknown,
    /// A pipelined append is sent past an unsettled one. The stores tell the truth.
    SessionRunsAhead,
}

/// A store that lies in the way of one bug.
pub struct LyingStore {
    pub inner: Arc<dyn EventStore>,
    pub bug: Bug,
}

#[async_trait]
impl EventStore for LyingStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let created = self.inner.create(stream, header).await;
        let shares = self.bug == Bug::TargetSharedByTwoMigrations;
        if shares && matches!(created, Err(StoreError::AlreadyExists)) { Ok(()) } else { created }
    }

    async fn append(&self, stream: &StreamId, mut append: Append) -> Result<Appended, StoreError> {
        if self.bug == Bug::TargetSharedByTwoMigrations {
            append.made_by = self.inner.tail(stream).await?.header.made_by;
        }
        self.inner.append(stream, append).await
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
        let found = self.inner.find(stream, ids).await?;
        let forgets =
            self.bug == Bug::InheritedIdsUnknown && self.inner.tail(stream).await?.closed.is_some();
        Ok(if forgets { vec![None; ids.len()] } else { found })
    }

    async fn close(&self, stream: &StreamId, mut close: Close) -> Result<CloseEvent, StoreError> {
        let seals = close.event.continuation.is_none();
        match self.bug {
            Bug::CloseWithoutHeadCondition => {
                close.event.head = self.inner.tail(stream).await?.head;
            }
            // The check was made; the act comes with the removal.
            Bug::RemovalByCheckThenAct if seals => return Ok(close.event),
            Bug::TargetSharedByTwoMigrations => {
                close.made_by = self.inner.tail(stream).await?.header.made_by;
            }
            Bug::RemovalByCheckThenAct
            | Bug::DocumentWithoutCompareAndSet
            | Bug::InheritedIdsUnknown
            | Bug::SessionRunsAhead => {}
        }
        self.inner.close(stream, close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        if self.bug == Bug::RemovalByCheckThenAct {
            let tail = self.inner.tail(stream).await?;
            let event = CloseEvent {
                migration: tail.header.made_by.expect("only copies are removed"),
                kind: crate::domain::close_event::MigrationKind::Copy,
                continuation: None,
                head: tail.head,
                checksum: None,
                closed_at: crate::domain::Timestamp::EPOCH,
            };
            let close = Close { made_by: tail.header.made_by, event };
            drop(self.inner.close(stream, close).await);
        }
        self.inner.remove(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Documents that lie in the way of one bug.
pub struct LyingDocuments {
    pub inner: Arc<dyn DocumentStore>,
    pub bug: Bug,
}

#[async_trait]
impl DocumentStore for LyingDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        self.inner.get(key).await
    }

    async fn put(
        &self,
        key: &DocumentKey,
        mut body: Bytes,
        mut precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let is_object = key.as_str().starts_with(DocumentKey::objects().as_str());
        match self.bug {
            Bug::DocumentWithoutCompareAndSet if is_object => {
                if let Some(now) = self.inner.get(key).await? {
                    precondition = Precondition::Matches(now.etag);
                }
            }
            Bug::TargetSharedByTwoMigrations if is_object => body = hand_out_again(&body),
            Bug::DocumentWithoutCompareAndSet
            | Bug::TargetSharedByTwoMigrations
            | Bug::CloseWithoutHeadCondition
            | Bug::RemovalByCheckThenAct
            | Bug::InheritedIdsUnknown
            | Bug::SessionRunsAhead => {}
        }
        self.inner.put(key, body, precondition).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        self.inner.delete(key, etag).await
    }
}

fn hand_out_again(body: &Bytes) -> Bytes {
    let mut document: serde_json::Value = serde_json::from_slice(body).expect("documents are JSON");
    document["next_stream"] = 1.into();
    serde_json::to_vec(&document).expect("it was JSON before").into()
}
