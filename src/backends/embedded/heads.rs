//! The ends of streams: kept in memory for the streams in use, read from the engine for others.
//!
//! An append does not rewrite its stream's head; that would cost as much as the event itself.
//! The head is the last event's key, and what is here is a cache of it. Only the committer puts
//! entries in, after a commit, so an entry is never older than the engine. What is evicted is
//! found again in the engine: header, end record, last event.

use std::sync::Arc;

use fjall::{Keyspace, Readable, Snapshot};
use quick_cache::sync::Cache;

use super::error::ReadError;
use super::layout::{self, EndRecord, EventRecord, HeaderRecord};
use crate::domain::{StreamId, Version};
use crate::store::Tail;

/// A stream as its last commit left it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Stands for the stream in keys.
    pub(super) number: u64,
    pub(super) tail: Tail,
}

pub(super) struct Heads {
    cache: Cache<StreamId, Arc<Head>>,
}

impl Heads {
    pub(super) fn new(heads_max: usize) -> Self {
        Self { cache: Cache::new(heads_max) }
    }

    pub(super) fn get(&self, stream: &StreamId) -> Option<Arc<Head>> {
        self.cache.get(stream)
    }

    /// For the committer alone: anyone else may have read what a commit has just replaced.
    pub(super) fn put(&self, stream: StreamId, head: Head) {
        self.cache.insert(stream, Arc::new(head));
    }
}

/// The head from the engine, as one moment shows it.
pub(super) fn load(
    moment: &Snapshot,
    records: &Keyspace,
    stream: &StreamId,
) -> Result<Option<Head>, ReadError> {
    let key = layout::header_key(stream);
    let Some(value) = moment.get(records, &key)? else {
        return Ok(None);
    };
    let HeaderRecord { number, header, .. } = HeaderRecord::read(&key, &value)?;
    let mut tail = Tail::of_new(header);
    let end_key = layout::end_key(number);
    if let Some(value) = moment.get(records, end_key)? {
        let end = EndRecord::read(&end_key, &value)?;
        tail.recorded_at = end.recorded_at;
        tail.removed = end.removed;
        tail.close(end.base, end.close);
        return Ok(Some(Head { number, tail }));
    }
    let mut events = moment.prefix(records, layout::events_of(number));
    if let Some(last) = events.next_back() {
        let (key, value) = last.into_inner()?;
        let last = version_of(&key)?;
        let base = match (tail.base, events.next()) {
            (Some(base), _) => base,
            (None, Some(first)) => version_of(&first.key()?)?,
            (None, None) => last,
        };
        tail.append(base, last, Some(EventRecord::read_recorded_at(&key, &value)?));
    }
    Ok(Some(Head { number, tail }))
}

fn version_of(key: &[u8]) -> Result<Version, ReadError> {
    layout::version_of(key).ok_or_else(|| ReadError::Missing("an event has a wrong key".into()))
}
