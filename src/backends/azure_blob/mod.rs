//! Streams in append blobs of Azure Blob Storage, documents in block blobs: both ports.
//!
//! Reading order: [`options`], [`events`] and [`documents`] (the ports), [`error`]; then how it is
//! done: `append` (a block at an exact position), `pages` (reading), `removal`; what is known:
//! `end` (where a stream ends), `writer`, `window` (ids) and `streams` (memory); what is stored:
//! `names`, `anchor`, `layout` and `index`; the service: `container` and `credentials`.
//! `docs/stores/azure_blob.md` has the reasons.
//!
//! An append is at exactly head + 1 (I1) because the service takes it at one byte position or not
//! at all, and every block says in its footer what the head is at its end. Closed is closed (I2)
//! because whoever knows the position behind a close has read the close.

mod anchor;
mod append;
mod container;
mod credentials;
mod documents;
mod end;
mod error;
mod events;
mod index;
mod layout;
mod names;
mod options;
mod pages;
mod removal;
mod streams;
mod window;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;

use crate::runtime::Runtime;
use container::{Condition, Container};
use credentials::Access;
use documents::Bookmarks;
use index::Table;
use layout::IndexPlace;
use names::Names;
use streams::Streams;

pub use credentials::AccessMissing;
pub use error::{OpenError, Trouble};
pub use options::AzureBlobOptions;

/// Parts of indexes that are kept in memory; each has at most some 100 KB, usually far less.
const TABLES_MAX: usize = 256;
const LAST_INDEXES_MAX: usize = 4_096;

/// Streams and documents in one container, which any number of processes may use at once.
pub struct AzureBlobStore {
    options: AzureBlobOptions,
    names: Names,
    container: Container,
    runtime: Runtime,
    streams: Streams,
    /// First parts of indexes by blob and place. They never change.
    tables: Cache<(String, u64), Arc<Table>>,
    /// Where the last index of a full blob lies. It never changes.
    last_indexes: Cache<String, IndexPlace>,
    bookmarks: Bookmarks,
}

impl AzureBlobStore {
    /// Opens the store, after it was checked that the container is there and that everything this
    /// store does is permitted.
    pub async fn open(options: AzureBlobOptions, runtime: &Runtime) -> Result<Self, OpenError> {
        let faults = options.check();
        if !faults.is_empty() {
            return Err(OpenError::Invalid(faults));
        }
        let access = Access::new(&options, &runtime.clock)?;
        let store = Self {
            names: Names::new(&options.prefix),
            container: Container::new(&options, access)?,
            runtime: runtime.clone(),
            streams: Streams::new(options.cache_bytes),
            tables: Cache::new(TABLES_MAX),
            last_indexes: Cache::new(LAST_INDEXES_MAX),
            bookmarks: Bookmarks::default(),
            options,
        };
        store.check().await?;
        let (endpoint, container) = (&store.options.endpoint, &store.options.container);
        tracing::info!(%endpoint, %container, "store opened");
        Ok(store)
    }

    /// How many requests went to the service since the store was opened.
    pub fn requests(&self) -> u64 {
        self.container.requests()
    }

    /// Forgets what is known of streams, as a process that has just started.
    #[cfg(feature = "testing")]
    pub fn forget(&self) {
        self.streams.clear();
        self.tables.clear();
        self.last_indexes.clear();
    }

    /// Does once whatever the store will do, on a blob of its own.
    async fn check(&self) -> Result<(), OpenError> {
        let AzureBlobOptions { endpoint, container, .. } = &self.options;
        if self.options.create_container {
            let made = self.container.create_container().await;
            made.map_err(|error| error.at_start("create the container", container, endpoint))?;
        }
        let path = self.names.of_check(&*self.runtime.entropy);
        let listed = self.container.list(&path, None, 1).await;
        listed.map_err(|error| error.at_start("list blobs", container, endpoint))?;
        let created = self.container.create(&path).await;
        created.map_err(|error| error.at_start("create blobs", container, endpoint))?;
        let block = Bytes::from_static(b"streamgate");
        let appended = self.container.append(&path, 0, block.clone()).await;
        appended.map_err(|error| error.at_start("append to blobs", container, endpoint))?;
        let read = self.container.get(&path, 0..block.len() as u64).await;
        read.map_err(|error| error.at_start("read blobs", container, endpoint))?;
        let deleted = self.container.delete(&path, None).await;
        deleted.map_err(|error| error.at_start("delete blobs", container, endpoint))?;
        let put = self.container.put(&path, block, Condition::Absent, None).await;
        let etag = put.map_err(|error| error.at_start("write blobs", container, endpoint))?;
        let deleted = self.container.delete(&path, Some(&etag)).await;
        deleted.map_err(|error| error.at_start("delete blobs", container, endpoint))
    }
}
