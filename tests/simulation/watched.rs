//! A watch over the object documents, whatever writes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use streamgate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use streamgate::domain::ObjectDocument;

/// Watches every change of an object document: `active` moves only to a stream that goes on from
/// the one before, and the chain never grows shorter (I6).
pub(crate) struct WatchedDocuments {
    inner: Arc<dyn DocumentStore>,
    newest: Mutex<BTreeMap<DocumentKey, ObjectDocument>>,
}

impl WatchedDocuments {
    pub(crate) fn new(inner: Arc<dyn DocumentStore>) -> Self {
        Self { inner, newest: Mutex::default() }
    }

    fn watch(&self, key: &DocumentKey, body: &Bytes) {
        if !key.as_str().starts_with(DocumentKey::objects().as_str()) {
            return;
        }
        let now: ObjectDocument = serde_json::from_slice(body).unwrap();
        let mut newest = self.newest.lock().unwrap();
        if let Some(before) = newest.get(key) {
            assert_eq!(now.revision, before.revision + 1, "I6: {key} was overwritten");
            let kept = now.chain().zip(before.chain()).all(|(one, other)| one == other);
            let grown = now.terminated_streams.len()
                - before.terminated_streams.len().min(now.terminated_streams.len());
            assert!(kept && grown <= 1, "I6: the chain of {key} was changed");
            assert!(now.terminated_streams.len() >= before.terminated_streams.len());
        }
        newest.insert(key.clone(), now);
    }
}

#[async_trait]
impl DocumentStore for WatchedDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        self.inner.get(key).await
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let etag = self.inner.put(key, body.clone(), precondition).await?;
        self.watch(key, &body);
        Ok(etag)
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
