//! The port DocumentStore: an object per document, replaced under `If-Match`. Each state bears a
//! nonce, so that equal bodies never have equal etags.
//!
//! A document is deleted on condition where the service keeps that. Elsewhere it is replaced by a
//! *tombstone* and stays: an unconditional delete that slept would take the next document with it.
//! Tombstones have a size of their own that no document has, so a listing passes over them without
//! asking for them, and sweeps them as soon as deletes on condition are kept.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::S3Store;
use super::bucket::{AT_ONCE, Got, LISTED_MAX, Listed, Put};
use super::error::Failure;
use super::layout::{self, DOCUMENTS, FORMAT};
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};

/// The size of every tombstone and of no document: more than any line needs.
const TOMBSTONE_BYTES: usize = 2_048;
/// Rounds of a put or delete that the service asked to look again.
const ATTEMPTS_MAX: usize = 8;

#[derive(Serialize, Deserialize)]
struct DocumentLine {
    format: u32,
    kind: String,
    key: String,
    nonce: Uuid,
    /// The document was deleted.
    deleted: bool,
}

/// An object below `documents/`.
struct Held {
    etag: String,
    line: DocumentLine,
    body: Bytes,
}

fn write(key: &DocumentKey, nonce: Uuid, body: &[u8]) -> Bytes {
    let line = line(key, nonce, false);
    let mut object = layout::frame(&line, body.len());
    if object.len() + body.len() == TOMBSTONE_BYTES {
        object.insert(object.len() - 1, b' ');
    }
    object.extend_from_slice(body);
    object.into()
}

fn tombstone(key: &DocumentKey, nonce: Uuid) -> Bytes {
    let mut object = layout::frame(&line(key, nonce, true), 0);
    object.resize(TOMBSTONE_BYTES, b'\n');
    object.into()
}

fn line(key: &DocumentKey, nonce: Uuid, deleted: bool) -> DocumentLine {
    let (kind, key) = ("document".to_owned(), key.to_string());
    DocumentLine { format: FORMAT, kind, key, nonce, deleted }
}

#[async_trait]
impl DocumentStore for S3Store {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        let held = self.held(&layout::document(key)).await;
        let held = held.map_err(|failure| failure.of_document_read(key.as_str()))?;
        Ok(held.filter(|held| !held.line.deleted).map(Held::document))
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let nonce = self.nonce();
        let object = write(key, nonce, &body);
        self.put_object(key, nonce, object, precondition).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let listed = self.listed(prefix, after, limit.max(1)).await;
        listed.map_err(|failure| failure.of_document_read(prefix.as_str()))
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        if !self.deletes_on_condition {
            let nonce = self.nonce();
            let precondition = Precondition::Matches(etag.clone());
            return self
                .put_object(key, nonce, tombstone(key, nonce), precondition)
                .await
                .map(drop);
        }
        match self.bucket.delete_if(&layout::document(key), &etag.0).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(DocumentError::Conflict),
            Err(failure) => Err(failure.of_document_write(key.as_str())),
        }
    }
}

impl Held {
    fn document(self) -> Document {
        let key = DocumentKey::from_raw(self.line.key);
        Document { key, etag: Etag(self.etag), body: self.body }
    }
}

impl S3Store {
    async fn held(&self, object_key: &str) -> Result<Option<Held>, Failure> {
        match self.bucket.get(object_key, None).await? {
            Got::Absent | Got::Unchanged => Ok(None),
            Got::Found { etag, body } => {
                let (line, body) = layout::unframe::<DocumentLine>(object_key, "document", &body)?;
                Ok(Some(Held { etag, line, body }))
            }
        }
    }

    /// Writes a state of a document, or its tombstone, if the precondition holds.
    async fn put_object(
        &self,
        key: &DocumentKey,
        nonce: Uuid,
        object: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let object_key = layout::document(key);
        let failed = |failure: Failure| failure.of_document_write(key.as_str());
        // What must be there for the next try: nothing, or this state.
        let mut there = match &precondition {
            Precondition::Absent => None,
            Precondition::Matches(etag) => Some(etag.0.clone()),
        };
        for _ in 0..ATTEMPTS_MAX {
            let payload = object.clone().into();
            let put = match &there {
                None => self.bucket.create(&object_key, payload).await,
                Some(etag) => self.bucket.replace(&object_key, etag, payload).await,
            };
            let lost = match put {
                Ok(Put::Done(etag)) => return Ok(Etag(etag)),
                Ok(Put::Lost) => None,
                Err(failure @ Failure::Unsettled { .. }) => Some(failure),
                Err(failure) => return Err(failed(failure)),
            };
            let held = match (self.held(&object_key).await, lost) {
                (Ok(Some(held)), _) if held.line.nonce == nonce => return Ok(Etag(held.etag)),
                // Not seen is not proved undone: it may be on its way, or overwritten already.
                (_, Some(failure)) => return Err(failed(failure)),
                (Ok(held), None) => held,
                // The put was refused, so it is not done; whether it was a conflict is not known.
                (Err(failure), None) => return Err(failure.of_document_read(key.as_str())),
            };
            there = match (held, &precondition) {
                (None, Precondition::Absent) => None,
                (Some(held), Precondition::Absent) if held.line.deleted => Some(held.etag),
                (Some(held), Precondition::Matches(etag)) if held.etag == etag.0 => Some(held.etag),
                (Some(_), Precondition::Absent) | (Some(_) | None, Precondition::Matches(_)) => {
                    return Err(DocumentError::Conflict);
                }
            };
        }
        Err(DocumentError::Unavailable { cause: None, retry_after: None })
    }

    async fn listed(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, Failure> {
        let after = after.filter(|after| *after >= prefix);
        let mut found: BTreeMap<DocumentKey, Document> = BTreeMap::new();
        let below = format!("{DOCUMENTS}{}", layout::start(prefix.as_str()));
        // A key that is cut sorts behind what it keeps of itself; see `layout::cut`.
        let mut from = after.map(|after| format!("{DOCUMENTS}{}", layout::start(after.as_str())));
        let mut wanted = (limit + 1).min(LISTED_MAX);
        loop {
            let listing = self.bucket.list(&below, from.as_deref(), wanted).await?;
            let (objects, more) = (listing.objects, listing.more);
            let last = objects.last().map(|object| object.key.clone());
            let documents = self.documents_of(objects).await?;
            // Where only tombstones are, as many as can be are passed over at once.
            wanted = match documents.len() {
                0 => LISTED_MAX,
                _ => (limit + 1 - found.len().min(limit)).min(LISTED_MAX),
            };
            for document in documents {
                let asked_for = document.key.as_str().starts_with(prefix.as_str())
                    && after.is_none_or(|after| document.key > *after);
                if asked_for {
                    found.insert(document.key.clone(), document);
                }
            }
            // Keys that are cut stand in the order of their digests: all that begin alike are read
            // before the first of them is given out.
            let within_cut = last.as_deref().is_some_and(layout::is_cut);
            if !more || (found.len() > limit && !within_cut) {
                break;
            }
            from = last.or(from);
        }
        let more = found.len() > limit;
        let documents: Vec<Document> = found.into_values().take(limit).collect();
        let next = documents.last().filter(|_| more).map(|last| last.key.clone());
        Ok(ListedDocuments { documents, next })
    }

    /// The documents among the objects of a listing, in the same order.
    async fn documents_of(&self, objects: Vec<Listed>) -> Result<Vec<Document>, Failure> {
        let (tombstones, documents): (Vec<Listed>, Vec<Listed>) =
            objects.into_iter().partition(|object| object.size == TOMBSTONE_BYTES as u64);
        if self.deletes_on_condition {
            for Listed { key, etag, .. } in tombstones {
                if let Some(etag) = etag {
                    self.bucket.delete_if(&key, &etag).await?;
                }
            }
        }
        futures::stream::iter(documents)
            .map(|object| async move { self.held(&object.key).await })
            .buffered(AT_ONCE)
            .try_filter_map(|held| async {
                // Deleted between the listing and the look.
                Ok(held.filter(|held| !held.line.deleted).map(Held::document))
            })
            .try_collect()
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tombstone_has_the_size_of_one() {
        let key = DocumentKey::from_raw("k".repeat(1_158));
        let nonce = Uuid::from_u128(1);
        assert_eq!(tombstone(&key, nonce).len(), TOMBSTONE_BYTES);
        let key = DocumentKey::from_raw("k");
        let line = write(&key, nonce, b"").len();
        for bytes in TOMBSTONE_BYTES - line - 2..=TOMBSTONE_BYTES - line + 2 {
            let object = write(&key, nonce, &vec![b'x'; bytes]);
            assert_ne!(object.len(), TOMBSTONE_BYTES);
            let (line, body) =
                layout::unframe::<DocumentLine>("k", "document", &object).expect("it is one");
            assert_eq!((line.key.as_str(), body.len()), ("k", bytes));
        }
    }
}
