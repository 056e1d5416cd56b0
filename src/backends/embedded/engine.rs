//! What readers and the committer share: the records, the heads, and whether the store goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Readable};

use super::error::{ReadError, Stopped};
use super::folder::Folder;
use super::heads::{self, Head, Heads};
use super::layout::{self, EventRecord};
use crate::domain::{EventId, StreamId};
use crate::store::Found;

pub(super) struct Engine {
    pub(super) heads: Heads,
    pub(super) counts: Counts,
    pub(super) records: Keyspace,
    database: Database,
    stopped: OnceLock<Stopped>,
    /// Order: dropped last, for the engine writes until it is closed.
    _folder: Folder,
}

/// Counted since the store was opened.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) commits: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) writes: AtomicU64,
}

impl Engine {
    pub(super) fn new(
        database: Database,
        records: Keyspace,
        heads_max: usize,
        folder: Folder,
    ) -> Self {
        Self {
            heads: Heads::new(heads_max),
            counts: Counts::default(),
            records,
            database,
            stopped: OnceLock::new(),
            _folder: folder,
        }
    }

    /// Refuses once a commit failed: what is durable is not known until the store is reopened.
    pub(super) fn check(&self) -> Result<(), Stopped> {
        self.stopped.get().map_or(Ok(()), |stopped| Err(stopped.clone()))
    }

    /// Refuses everything from now on; answers what was told first.
    pub(super) fn stop(&self, problem: String) -> Stopped {
        let stopped = self.stopped.get_or_init(|| {
            tracing::error!(problem, "the embedded store stopped; open it again");
            Stopped(problem)
        });
        stopped.clone()
    }

    /// A set of writes that is durable once it is committed.
    pub(super) fn writes(&self, capacity: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.database.clone(), capacity)
            .durability(Some(PersistMode::SyncData))
    }

    /// The stream's end as of the last commit.
    pub(super) fn head(&self, stream: &StreamId) -> Result<Option<Arc<Head>>, ReadError> {
        self.check()?;
        match self.heads.get(stream) {
            Some(head) => Ok(Some(head)),
            None => self.load_head(stream),
        }
    }

    /// The same, past the cache.
    pub(super) fn load_head(&self, stream: &StreamId) -> Result<Option<Arc<Head>>, ReadError> {
        let loaded = heads::load(&self.database.snapshot(), &self.records, stream)?;
        Ok(loaded.map(Arc::new))
    }

    pub(super) fn holds(&self, number: u64, id: EventId) -> Result<bool, ReadError> {
        Ok(self.records.contains_key(layout::event_id_key(number, id))?)
    }

    pub(super) fn find(&self, number: u64, id: EventId) -> Result<Option<Found>, ReadError> {
        let key = layout::event_id_key(number, id);
        let Some(value) = self.records.get(key)? else {
            return Ok(None);
        };
        let version = layout::read_event_id(&key, &value)?;
        let key = layout::event_key(number, version);
        let Some(value) = self.records.get(key)? else {
            return Err(ReadError::Missing(format!("event {id} at version {version} is missing")));
        };
        let digest = EventRecord::read_digest(&key, &value)?;
        Ok(Some(Found { version, digest }))
    }

    /// A document's etag and body.
    pub(super) fn document(
        &self,
        key: &crate::documents::DocumentKey,
    ) -> Result<Option<(u64, bytes::Bytes)>, ReadError> {
        self.check()?;
        let key = layout::document_key(key);
        let Some(value) = self.records.get(&key)? else {
            return Ok(None);
        };
        Ok(Some(layout::read_document(&key, &value)?))
    }

    /// One consistent view for reads of several records.
    pub(super) fn moment(&self) -> fjall::Snapshot {
        self.database.snapshot()
    }

    pub(super) fn count(&self, events: u64, writes: u64) {
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts.events.fetch_add(events, Ordering::Relaxed);
        self.counts.writes.fetch_add(writes, Ordering::Relaxed);
    }
}

/// Documents in the order of their keys, as one moment shows them.
pub(super) fn documents_from<'a>(
    moment: &fjall::Snapshot,
    records: &'a Keyspace,
    start: std::ops::Bound<Vec<u8>>,
) -> impl Iterator<Item = fjall::Guard> + use<'a> {
    moment.range(records, (start, std::ops::Bound::Unbounded))
}
