//! Object documents over a document store: typed, versioned, changed by compare-and-set.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Document, DocumentError, DocumentKey, DocumentStore, Etag, Precondition};
use crate::domain::{ObjectDocument, ObjectKey, ObjectName};

/// The format that this release writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A document as it was read, with the state on which a change is conditional.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub document: ObjectDocument,
    pub etag: Etag,
}

/// A page of object documents.
#[derive(Clone, Debug)]
pub struct ListedObjects {
    pub objects: Vec<StoredObject>,
    pub next: Option<DocumentKey>,
}

/// The object documents of a deployment.
#[derive(Clone)]
pub struct ObjectDocuments {
    store: Arc<dyn DocumentStore>,
}

impl ObjectDocuments {
    pub fn new(store: Arc<dyn DocumentStore>) -> Self {
        Self { store }
    }

    pub async fn get(&self, object: &ObjectKey) -> Result<Option<StoredObject>, DocumentError> {
        let found = self.store.get(&DocumentKey::object(object)).await?;
        found.map(|document| decode_object(&document)).transpose()
    }

    /// Writes the document of a new object; [`DocumentError::Conflict`] when there is one.
    pub async fn create(&self, document: &ObjectDocument) -> Result<Etag, DocumentError> {
        self.put(document, Precondition::Absent).await
    }

    /// Writes a changed document if nobody changed it since it was read (I6).
    pub async fn replace(
        &self,
        document: &ObjectDocument,
        read_as: &Etag,
    ) -> Result<Etag, DocumentError> {
        self.put(document, Precondition::Matches(read_as.clone())).await
    }

    pub async fn list(
        &self,
        name: Option<&ObjectName>,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedObjects, DocumentError> {
        let prefix = name.map_or_else(DocumentKey::objects, DocumentKey::objects_named);
        let page = self.store.list(&prefix, after, limit).await?;
        let objects = page.documents.iter().map(decode_object).collect::<Result<_, _>>()?;
        Ok(ListedObjects { objects, next: page.next })
    }

    async fn put(
        &self,
        document: &ObjectDocument,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let key = DocumentKey::object(&document.object);
        self.store.put(&key, encode(document), precondition).await
    }
}

fn decode_object(document: &Document) -> Result<StoredObject, DocumentError> {
    Ok(StoredObject { document: decode(document)?, etag: document.etag.clone() })
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    format: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// A record as JSON with the format version in front.
pub fn encode<T: Serialize>(record: &T) -> Bytes {
    let envelope = Envelope { format: FORMAT, record };
    serde_json::to_vec(&envelope).expect("records have string keys and no failing parts").into()
}

/// A record of a known format; newer ones are left alone.
pub fn decode<T: for<'de> Deserialize<'de>>(document: &Document) -> Result<T, DocumentError> {
    let damaged = |error: serde_json::Error| DocumentError::Corrupt {
        key: document.key.to_string(),
        detail: error.to_string(),
    };
    let FormatOnly { format } = serde_json::from_slice(&document.body).map_err(damaged)?;
    if format > FORMAT {
        let key = document.key.to_string();
        return Err(DocumentError::NewerFormat { key, found: format, known: FORMAT });
    }
    serde_json::from_slice(&document.body).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{StoreName, Timestamp};

    fn stored(body: Bytes) -> Document {
        Document { key: DocumentKey::from_raw("objects/order/1"), etag: Etag("1".into()), body }
    }

    #[test]
    fn documents_round_trip_and_newer_formats_are_left_alone() {
        let object = ObjectKey::new("order", "1").unwrap();
        let store = StoreName::new("hot").unwrap();
        let document = ObjectDocument::new(object, store, Timestamp::from_nanos(1));
        let body = encode(&document);
        assert_eq!(decode::<ObjectDocument>(&stored(body.clone())).unwrap(), document);

        let newer =
            String::from_utf8(body.to_vec()).unwrap().replace("\"format\":1", "\"format\":2");
        let refused = decode::<ObjectDocument>(&stored(newer.into()));
        assert!(matches!(refused, Err(DocumentError::NewerFormat { found: 2, known: 1, .. })));
        let damaged = decode::<ObjectDocument>(&stored(Bytes::from_static(b"{")));
        assert!(matches!(damaged, Err(DocumentError::Corrupt { .. })));
    }
}
