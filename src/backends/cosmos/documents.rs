//! The port DocumentStore: an item for each document, in a partition of its own.

use async_trait::async_trait;
use azure_data_cosmos::Query;
use azure_data_cosmos::feed::FeedScope;
use bytes::Bytes;

use super::CosmosStore;
use super::error::Failure;
use super::layout::{self, BadItem, DOCUMENT_ID, DocumentItem};
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::telemetry::calls::Operation;

#[async_trait]
impl DocumentStore for CosmosStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        let partition = layout::document_partition(key);
        let item = self.items.read(Operation::GetDocument, &partition, DOCUMENT_ID).await;
        let item = item.map_err(Failure::of_document_read)?;
        item.map(DocumentItem::read).transpose().map_err(|bad| damaged(key, &bad))
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let operation = Operation::PutDocument;
        let partition = layout::document_partition(key);
        let item = DocumentItem::of(key, &body);
        let written = match &precondition {
            Precondition::Absent => {
                self.items.create(operation, &partition, DOCUMENT_ID, item).await
            }
            Precondition::Matches(Etag(etag)) => {
                check_etag(etag)?;
                self.items.replace(operation, &partition, DOCUMENT_ID, item, etag).await
            }
        };
        match written {
            Ok(Some(etag)) => Ok(Etag(etag)),
            // It was done, in a state that we cannot name. Whoever reads it can.
            Ok(None) => Err(DocumentError::OutcomeUnknown { cause: None }),
            Err(failure) => Err(failure.of_document_write()),
        }
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let limit = limit.max(1);
        // Documents alone have a key, so nothing else is found.
        let query = Query::from(
            "SELECT c.key, c.format, c.body, c._etag FROM c \
             WHERE STARTSWITH(c.key, @prefix) AND c.key > @after ORDER BY c.key",
        );
        let after = after.map(DocumentKey::as_str).unwrap_or_default();
        let query = query.with_parameter("@prefix", prefix.as_str());
        let query = query.and_then(|query| query.with_parameter("@after", after));
        let query = query.map_err(|error| Failure::of(error).of_document_read())?;
        let scope = FeedScope::full_container();
        let pages = self.items.query(Operation::ListDocuments, query, scope, limit + 1).await;
        let mut pages = pages.map_err(Failure::of_document_read)?;
        let mut documents = Vec::new();
        while documents.len() <= limit
            && let Some(items) = pages.next().await.map_err(Failure::of_document_read)?
        {
            for item in items {
                documents.push(DocumentItem::read(item).map_err(|bad| damaged(prefix, &bad))?);
            }
        }
        let more = documents.len() > limit;
        documents.truncate(limit);
        let next = documents.last().filter(|_| more).map(|last| last.key.clone());
        Ok(ListedDocuments { documents, next })
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        check_etag(&etag.0)?;
        let operation = Operation::DeleteDocument;
        let partition = layout::document_partition(key);
        let deleted = self.items.delete(operation, &partition, DOCUMENT_ID, &etag.0).await;
        deleted.map_err(Failure::of_document_write)
    }
}

/// An etag that the service never gave names no state; an empty one would be no condition at all.
fn check_etag(etag: &str) -> Result<(), DocumentError> {
    if etag.is_empty() { Err(DocumentError::Conflict) } else { Ok(()) }
}

fn damaged(key: &DocumentKey, bad: &BadItem) -> DocumentError {
    DocumentError::Corrupt { key: key.to_string(), detail: bad.to_string() }
}
