//! The records of migrations over a document store.
//!
//! Unfinished records lie under a prefix of their own, so that a scan reads only them. Finishing
//! writes the final record first and removes the unfinished entry after it.

use std::sync::Arc;

use super::MigrationRecord;
use crate::documents::objects::{decode, encode};
use crate::documents::{Document, DocumentError, DocumentKey, DocumentStore, Etag, Precondition};
use crate::domain::MigrationId;

/// A record as it was read, with the state on which a change is conditional.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    pub record: MigrationRecord,
    pub etag: Etag,
    /// It lies among the finished ones and never changes again.
    pub finished: bool,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct ListedRecords {
    pub records: Vec<StoredRecord>,
    pub next: Option<DocumentKey>,
}

/// Which records to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    Unfinished,
    Finished,
}

/// The records of a deployment's migrations.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn DocumentStore>,
}

impl Journal {
    pub fn new(store: Arc<dyn DocumentStore>) -> Self {
        Self { store }
    }

    /// Writes a new record, unless the migration has one: then that one is returned.
    pub async fn create(&self, record: &MigrationRecord) -> Result<StoredRecord, DocumentError> {
        let key = DocumentKey::migration_unfinished(record.migration);
        match self.store.put(&key, encode(record), Precondition::Absent).await {
            Ok(etag) => Ok(StoredRecord { record: record.clone(), etag, finished: false }),
            Err(DocumentError::Conflict | DocumentError::OutcomeUnknown { .. }) => {
                let found = self.get(record.migration).await?;
                found.ok_or(DocumentError::OutcomeUnknown { cause: None })
            }
            Err(error) => Err(error),
        }
    }

    /// The record, wherever it lies.
    ///
    /// A finished record rules, whatever lies among the unfinished: a creation that was on its way
    /// for long may land there after the end.
    pub async fn get(&self, id: MigrationId) -> Result<Option<StoredRecord>, DocumentError> {
        if let Some(finished) = self.finished(id).await? {
            return Ok(Some(finished));
        }
        if let Some(found) = self.store.get(&DocumentKey::migration_unfinished(id)).await? {
            return decode_record(&found, Shelf::Unfinished).map(Some);
        }
        // Order: it may have been finished between the two looks.
        self.finished(id).await
    }

    async fn finished(&self, id: MigrationId) -> Result<Option<StoredRecord>, DocumentError> {
        let found = self.store.get(&DocumentKey::migration_finished(id)).await?;
        found.map(|document| decode_record(&document, Shelf::Finished)).transpose()
    }

    /// Writes a changed record if nobody changed it since it was read.
    pub async fn update(
        &self,
        record: &MigrationRecord,
        read_as: &Etag,
    ) -> Result<Etag, DocumentError> {
        let key = DocumentKey::migration_unfinished(record.migration);
        self.store.put(&key, encode(record), Precondition::Matches(read_as.clone())).await
    }

    /// Moves a record to the finished ones. The first final record stays: twice is once.
    pub async fn finish(&self, record: &MigrationRecord) -> Result<(), DocumentError> {
        let key = DocumentKey::migration_finished(record.migration);
        match self.store.put(&key, encode(record), Precondition::Absent).await {
            Ok(_) | Err(DocumentError::Conflict) => {}
            Err(error) => return Err(error),
        }
        self.clear(record.migration).await
    }

    /// Removes the unfinished entry of a record that has a final one.
    pub async fn clear(&self, id: MigrationId) -> Result<(), DocumentError> {
        let key = DocumentKey::migration_unfinished(id);
        while let Some(found) = self.store.get(&key).await? {
            match self.store.delete(&key, &found.etag).await {
                Ok(()) => return Ok(()),
                Err(DocumentError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub async fn list(
        &self,
        shelf: Shelf,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedRecords, DocumentError> {
        let prefix = match shelf {
            Shelf::Unfinished => DocumentKey::migrations_unfinished(),
            Shelf::Finished => DocumentKey::migrations_finished(),
        };
        let page = self.store.list(&prefix, after, limit).await?;
        let records = page.documents.iter().map(|document| decode_record(document, shelf));
        Ok(ListedRecords { records: records.collect::<Result<_, _>>()?, next: page.next })
    }
}

fn decode_record(document: &Document, shelf: Shelf) -> Result<StoredRecord, DocumentError> {
    let finished = shelf == Shelf::Finished;
    Ok(StoredRecord { record: decode(document)?, etag: document.etag.clone(), finished })
}
