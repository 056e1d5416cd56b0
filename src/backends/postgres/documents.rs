//! The port DocumentStore: a row each, its etag from a sequence that only grows.

use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::PostgresStore;
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};

#[async_trait]
impl DocumentStore for PostgresStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        let parameters = [(&key.as_str() as _, Type::TEXT)];
        let rows = self.connections.query(&self.statements.get_document, &parameters).await;
        let rows = rows.map_err(|failure| failure.of_document_read(key.as_str()))?;
        rows.first().map(|row| document(key.clone(), row)).transpose()
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let body = &body[..];
        let rows = match &precondition {
            Precondition::Absent => {
                let parameters = [(&key.as_str() as _, Type::TEXT), (&body as _, Type::BYTEA)];
                self.connections.query(&self.statements.put_new_document, &parameters).await
            }
            Precondition::Matches(etag) => {
                let etag = number(etag)?;
                let parameters = [
                    (&key.as_str() as _, Type::TEXT),
                    (&body as _, Type::BYTEA),
                    (&etag as _, Type::INT8),
                ];
                self.connections.query(&self.statements.replace_document, &parameters).await
            }
        };
        let rows = rows.map_err(|failure| failure.of_document_write(key.as_str()))?;
        let row = rows.first().ok_or(DocumentError::Conflict)?;
        etag(key, row)
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let limit = limit.clamp(1, u32::MAX as usize);
        let behind = behind(prefix.as_str());
        let one_more = limit as i64 + 1;
        let rows = self
            .connections
            .query(
                &self.statements.list_documents,
                &[
                    (&prefix.as_str(), Type::TEXT),
                    // No key is empty, so every key comes after that.
                    (&after.map_or("", DocumentKey::as_str), Type::TEXT),
                    (&behind, Type::TEXT),
                    (&one_more, Type::INT8),
                ],
            )
            .await;
        let rows = rows.map_err(|failure| failure.of_document_read(prefix.as_str()))?;
        let listed = rows.iter().take(limit).map(|row| {
            let key: &str = column(row, "key", prefix)?;
            document(DocumentKey::from_raw(key), row)
        });
        let documents: Vec<Document> = listed.collect::<Result<_, _>>()?;
        let more = rows.len() > limit;
        let next = documents.last().filter(|_| more).map(|last| last.key.clone());
        Ok(ListedDocuments { documents, next })
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        let etag = number(etag)?;
        let parameters = [(&key.as_str() as _, Type::TEXT), (&etag as _, Type::INT8)];
        let deleted = self.connections.execute(&self.statements.delete_document, &parameters).await;
        match deleted.map_err(|failure| failure.of_document_write(key.as_str()))? {
            0 => Err(DocumentError::Conflict),
            _ => Ok(()),
        }
    }
}

/// An etag that is no number is none of this store's.
fn number(etag: &Etag) -> Result<i64, DocumentError> {
    etag.0.parse().map_err(|_| DocumentError::Conflict)
}

/// The least text behind all that starts with `prefix`. None when nothing is.
fn behind(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

fn document(key: DocumentKey, row: &Row) -> Result<Document, DocumentError> {
    let etag = etag(&key, row)?;
    let body = Bytes::copy_from_slice(column(row, "body", &key)?);
    Ok(Document { key, etag, body })
}

fn etag(key: &DocumentKey, row: &Row) -> Result<Etag, DocumentError> {
    Ok(Etag(column::<i64>(row, "etag", key)?.to_string()))
}

fn column<'a, T: FromSql<'a>>(
    row: &'a Row,
    name: &str,
    key: &DocumentKey,
) -> Result<T, DocumentError> {
    let damaged = |error: tokio_postgres::Error| DocumentError::Corrupt {
        key: key.to_string(),
        detail: error.to_string(),
    };
    row.try_get(name).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_comes_all_that_does_not_start_with_it() {
        assert_eq!(behind("objects/").as_deref(), Some("objects0"));
        assert_eq!(behind("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(behind("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(behind(""), None);
        assert_eq!(behind("\u{10ffff}"), None);
    }
}
