//! Documents in a sorted map, their etags from a counter that only grows.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};

#[derive(Default)]
pub(super) struct Documents {
    documents: BTreeMap<DocumentKey, (Etag, Bytes)>,
    /// Counts over all keys and deletions, so that no state ever bears the etag of another.
    etags_given: u64,
}

impl Documents {
    fn check(&self, key: &DocumentKey, precondition: &Precondition) -> Result<(), DocumentError> {
        let held = match (precondition, self.documents.get(key)) {
            (Precondition::Absent, found) => found.is_none(),
            (Precondition::Matches(expected), Some((etag, _))) => etag == expected,
            (Precondition::Matches(_), None) => false,
        };
        if held { Ok(()) } else { Err(DocumentError::Conflict) }
    }

    fn next_etag(&mut self) -> Etag {
        self.etags_given += 1;
        Etag(self.etags_given.to_string())
    }
}

#[async_trait]
impl DocumentStore for MemoryStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        let found = self.state().documents.documents.get(key).cloned();
        Ok(found.map(|(etag, body)| Document { key: key.clone(), etag, body }))
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let documents = &mut self.state().documents;
        documents.check(key, &precondition)?;
        let etag = documents.next_etag();
        documents.documents.insert(key.clone(), (etag.clone(), body));
        Ok(etag)
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let state = self.state();
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut found = state
            .documents
            .documents
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let documents: Vec<Document> = found
            .by_ref()
            .take(limit.max(1))
            .map(|(key, (etag, body))| Document {
                key: key.clone(),
                etag: etag.clone(),
                body: body.clone(),
            })
            .collect();
        let more = found.next().is_some();
        let next = documents.last().filter(|_| more).map(|last| last.key.clone());
        Ok(ListedDocuments { documents, next })
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        let documents = &mut self.state().documents;
        documents.check(key, &Precondition::Matches(etag.clone()))?;
        documents.documents.remove(key);
        Ok(())
    }
}
