//! The contract of a document store.

use async_trait::async_trait;
use bytes::Bytes;

use super::{DocumentError, DocumentKey};

/// The mark of one state of a document. Never equal for two states of the same key, not even
/// after the document was deleted and written again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Etag(pub String);

/// A document with the mark of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub key: DocumentKey,
    pub etag: Etag,
    pub body: Bytes,
}

/// What must hold for a put or a delete to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    Absent,
    Matches(Etag),
}

/// A page of documents in ascending order of their keys.
#[derive(Clone, Debug)]
pub struct ListedDocuments {
    pub documents: Vec<Document>,
    /// Hand this to the next call; none after the last page.
    pub next: Option<DocumentKey>,
}

/// A place that keeps small records.
///
/// # Guarantees
///
/// 1. **Compare and set.** A put or delete is done only if its precondition holds, decided
///    atomically; else [`DocumentError::Conflict`] and nothing is changed.
/// 2. **Durable before it is said**, and seen by every get that starts after the answer.
/// 3. **Byte for byte.**
/// 4. A listing returns every document that exists throughout it exactly once, in the order of
///    the keys' bytes.
///
/// # Errors
///
/// [`DocumentError::OutcomeUnknown`] is the only error of a write that may have been done.
///
/// # Cancellation
///
/// A dropped future leaves a write done or not done, never half done.
#[async_trait]
pub trait DocumentStore: Send + Sync + 'static {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError>;

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError>;

    /// Documents whose key starts with `prefix` and is greater than `after`, at most `limit`.
    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError>;

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError>;
}
