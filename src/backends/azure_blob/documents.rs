//! The port DocumentStore: a blob for each document, changed under its etag.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::AzureBlobStore;
use super::container::{Condition, ListedPage};
use super::error::CallError;
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};

/// Bodies that a listing reads at once.
const GETS_MAX: usize = 16;
/// Listings whose next page is known.
const BOOKMARKS_MAX: usize = 64;
/// How long a next page is awaited.
const BOOKMARK_KEPT: Duration = Duration::from_secs(60);

/// Where listings go on, in the service's own words. Without one a page is found by going through
/// the names from the first one.
#[derive(Default)]
pub(super) struct Bookmarks(Mutex<Vec<Bookmark>>);

struct Bookmark {
    prefix: DocumentKey,
    after: DocumentKey,
    marker: String,
    put_at: Duration,
}

impl Bookmarks {
    fn put(&self, bookmark: Bookmark) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == BOOKMARKS_MAX {
            kept.remove(0);
        }
        kept.push(bookmark);
    }

    /// Each is used once, by the listing that it belongs to.
    fn take(&self, prefix: &DocumentKey, after: &DocumentKey, now: Duration) -> Option<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|bookmark| now.saturating_sub(bookmark.put_at) < BOOKMARK_KEPT);
        let is_it = |kept: &Bookmark| kept.prefix == *prefix && kept.after == *after;
        let index = kept.iter().position(is_it)?;
        Some(kept.remove(index).marker)
    }
}

#[async_trait]
impl DocumentStore for AzureBlobStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        match self.container.get_whole(&self.names.of_document(key)).await {
            Ok(part) => {
                Ok(Some(Document { key: key.clone(), etag: Etag(part.etag), body: part.bytes }))
            }
            Err(CallError::Missing) => Ok(None),
            Err(error) => Err(error.of_document_read()),
        }
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let condition = match &precondition {
            Precondition::Absent => Condition::Absent,
            Precondition::Matches(etag) => Condition::Matches(&etag.0),
        };
        let path = self.names.of_document(key);
        let put = self.container.put(&path, body, condition, None).await;
        put.map(Etag).map_err(CallError::of_document_write)
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let limit = limit.max(1);
        let (keys, marker) = self.keys(prefix, after, limit).await?;
        let next = marker.and_then(|marker| {
            let after = keys.last()?.clone();
            let put_at = self.runtime.clock.monotonic();
            let (prefix, kept) = (prefix.clone(), after.clone());
            self.bookmarks.put(Bookmark { prefix, after: kept, marker, put_at });
            Some(after)
        });
        // One that was deleted meanwhile is left out.
        let gets = stream::iter(keys).map(|key| async move { self.get(&key).await });
        let documents = gets.buffered(GETS_MAX).try_filter_map(|found| async { Ok(found) });
        let documents = documents.try_collect().await?;
        Ok(ListedDocuments { documents, next })
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        let path = self.names.of_document(key);
        let deleted = self.container.delete(&path, Some(&etag.0)).await;
        deleted.map_err(CallError::of_document_write)
    }
}

impl AzureBlobStore {
    /// Keys behind `after`, as many as a page takes, and where the listing goes on.
    async fn keys(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<(Vec<DocumentKey>, Option<String>), DocumentError> {
        let now = self.runtime.clock.monotonic();
        let mut marker = after.and_then(|after| self.bookmarks.take(prefix, after, now));
        // Without a bookmark the names before are passed over in the largest pages there are.
        let mut passes_over = after.is_some_and(|after| after > prefix) && marker.is_none();
        let names = self.names.of_document(prefix);
        let mut keys: Vec<DocumentKey> = Vec::new();
        loop {
            let most = if passes_over { usize::MAX } else { limit - keys.len() };
            let listed = self.container.list(&names, marker.clone(), most).await;
            let ListedPage { blobs, marker: next } = listed.map_err(CallError::of_document_read)?;
            let found = blobs.iter().filter_map(|blob| self.names.document(&blob.name));
            let found: Vec<DocumentKey> =
                found.filter(|key| after.is_none_or(|after| key > after)).collect();
            if passes_over && found.len() > limit {
                // The page that holds the place: again, and no further than it is needed.
                let before = blobs.len() - found.len();
                let listed = self.container.list(&names, marker.clone(), before + limit).await;
                let page = listed.map_err(CallError::of_document_read)?;
                let found = page.blobs.iter().filter_map(|blob| self.names.document(&blob.name));
                let found = found.filter(|key| after.is_none_or(|after| key > after));
                let found: Vec<DocumentKey> = found.collect();
                // Names before were deleted in between: none may fall behind the marker unseen.
                if found.len() > limit {
                    continue;
                }
                passes_over = found.is_empty();
                keys.extend(found);
                if keys.len() >= limit || page.marker.is_none() {
                    return Ok((keys, page.marker));
                }
                marker = page.marker;
                continue;
            }
            passes_over &= found.is_empty();
            keys.extend(found);
            if keys.len() >= limit || next.is_none() {
                return Ok((keys, next));
            }
            marker = next;
        }
    }
}
