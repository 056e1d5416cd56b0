//! The port DocumentStore, over the same engine and the same committer.

use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::EmbeddedStore;
use super::engine;
use super::error::{CommitFailure, ReadError};
use super::layout;
use super::request::{DocumentAnswer, Request};
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};

#[async_trait]
impl DocumentStore for EmbeddedStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        let found = self.engine.document(key).map_err(|error| error.of_document(key.as_str()))?;
        Ok(found.map(|(etag, body)| document(key.clone(), etag, body)))
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let (key, held, bytes) = (key.clone(), precondition, body.len() + 256);
        self.ask_document(bytes, |answer| Request::Put { key, body, held, answer }).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let listed = self.listed(prefix, after, limit.max(1));
        listed.map_err(|error| error.of_document(prefix.as_str()))
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        let (key, etag) = (key.clone(), etag.clone());
        self.ask_document(256, |answer| Request::Delete { key, etag, answer }).await
    }
}

impl EmbeddedStore {
    fn listed(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, ReadError> {
        self.engine.check()?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(layout::document_key(after)),
            Some(_) | None => Bound::Included(layout::document_key(prefix)),
        };
        let starts_with = layout::document_key(prefix);
        let moment = self.engine.moment();
        let mut documents: Vec<Document> = Vec::new();
        for entry in engine::documents_from(&moment, &self.engine.records, start) {
            let (key, value) = entry.into_inner()?;
            if !key.starts_with(&starts_with) {
                break;
            }
            if documents.len() == limit {
                let next = documents.last().map(|last| last.key.clone());
                return Ok(ListedDocuments { documents, next });
            }
            let name = layout::document_of(&key);
            let name = name.ok_or_else(|| ReadError::Missing("a key is not text".into()))?;
            let (etag, body) = layout::read_document(&key, &value)?;
            documents.push(document(name, etag, body));
        }
        Ok(ListedDocuments { documents, next: None })
    }

    async fn ask_document<T>(
        &self,
        bytes: usize,
        request: impl FnOnce(DocumentAnswer<T>) -> Request,
    ) -> Result<T, DocumentError> {
        let (answer, answered) = oneshot::channel();
        if let Err(stopped) = self.queue(bytes, request(answer)).await {
            return Err(DocumentError::not_done(&stopped));
        }
        answered.await.unwrap_or_else(|_| Err(DocumentError::unknown(&self.ended())))
    }
}

fn document(key: DocumentKey, etag: u64, body: Bytes) -> Document {
    Document { key, etag: Etag(etag.to_string()), body }
}
