//! What is read of a stream: its tail, asked for anew each time, and the chunks before it, which
//! never change. Both are kept in memory within a bound.

use std::collections::HashMap;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as Kept;

use super::S3Store;
use super::bucket::Got;
use super::chunk::{self, ChunkRef, Stored};
use super::error::Failure;
use super::stream::{Place, Stream};
use crate::domain::{EventId, Version};

pub(super) type Events = Arc<Vec<Arc<Stored>>>;
pub(super) type Ids = Arc<HashMap<EventId, Version>>;

#[derive(Clone)]
enum Entry {
    Stream(Arc<Stream>),
    Events(Events),
    Ids(Ids),
    Index(Arc<Vec<ChunkRef>>),
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Entry> for ByBytes {
    fn weight(&self, key: &String, entry: &Entry) -> u64 {
        let held = match entry {
            Entry::Stream(stream) => stream.weight(),
            Entry::Events(events) => {
                events.iter().map(|stored| 2 * stored.len() as u64 + 128).sum()
            }
            Entry::Ids(ids) => 48 * ids.len() as u64,
            Entry::Index(chunks) => 24 * chunks.len() as u64,
        };
        key.len() as u64 + 64 + held
    }
}

/// Objects in memory, by their keys.
pub(super) struct Cache(Kept<String, Entry, ByBytes>);

impl Cache {
    pub(super) fn of_bytes(bytes: u64) -> Self {
        // An entry is a few KiB for a short stream; the guess only sizes a table.
        let entries = usize::try_from(bytes / 4_096).unwrap_or(usize::MAX).max(16);
        Self(Kept::with_weighter(entries, bytes, ByBytes))
    }

    /// A state of the stream that may be old.
    pub(super) fn stream(&self, place: &Place) -> Option<Arc<Stream>> {
        match self.0.get(&place.tail_key)? {
            Entry::Stream(stream) => Some(stream),
            Entry::Events(_) | Entry::Ids(_) | Entry::Index(_) => None,
        }
    }

    /// Keeps a state unless a newer one is kept.
    pub(super) fn keep_stream(&self, place: &Place, stream: &Arc<Stream>) {
        let newer =
            self.stream(place).is_some_and(|kept| kept.standing.write > stream.standing.write);
        if !newer {
            self.0.insert(place.tail_key.clone(), Entry::Stream(Arc::clone(stream)));
        }
    }

    pub(super) fn keep_events(&self, key: String, events: Events) {
        self.0.insert(key, Entry::Events(events));
    }
}

fn ids_key(chunk_key: &str) -> String {
    format!("{chunk_key} ids")
}

impl S3Store {
    /// The stream as it is now: one request, without a body if it is as it was.
    pub(super) async fn load(&self, place: &Place) -> Result<Option<Arc<Stream>>, Failure> {
        let kept = self.cache.stream(place);
        let unless = kept.as_ref().map(|stream| stream.etag.as_str());
        match (self.bucket.get(&place.tail_key, unless).await?, kept) {
            (Got::Absent, _) => Ok(None),
            (Got::Unchanged, Some(kept)) => Ok(Some(kept)),
            (Got::Unchanged, None) => {
                Err(Failure::Damaged(format!("{} is as nobody said it was", place.tail_key)))
            }
            (Got::Found { etag, body }, _) => {
                let stream = Stream::read(&place.tail_key, &place.id, etag, &body)?;
                let stream = Arc::new(stream);
                self.cache.keep_stream(place, &stream);
                Ok(Some(stream))
            }
        }
    }

    /// The chunk that holds a version which the tail object does not hold any more.
    pub(super) async fn chunk_of(
        &self,
        place: &Place,
        stream: &Stream,
        version: Version,
    ) -> Result<ChunkRef, Failure> {
        let standing = &stream.standing;
        let in_tail = standing.chunks.first().is_some_and(|chunk| chunk.first <= version);
        if in_tail {
            return named(place, &standing.chunks, version);
        }
        let at = standing.indexes.partition_point(|(_, last)| *last < version);
        let Some(versions) = standing.indexes.get(at) else {
            return Err(unnamed(place, version));
        };
        named(place, &self.index(place, *versions).await?, version)
    }

    /// The chunks that one index names.
    pub(super) async fn index(
        &self,
        place: &Place,
        (first, last): (Version, Version),
    ) -> Result<Arc<Vec<ChunkRef>>, Failure> {
        let key = place.keys.index(first, last);
        if let Some(Entry::Index(chunks)) = self.cache.0.get(&key) {
            return Ok(chunks);
        }
        let Got::Found { body, .. } = self.bucket.get(&key, None).await? else {
            return Err(missing(&key));
        };
        let chunks = Arc::new(chunk::read_index(&key, &body)?);
        self.cache.0.insert(key, Entry::Index(Arc::clone(&chunks)));
        Ok(chunks)
    }

    /// The events of a chunk.
    pub(super) async fn events_of(
        &self,
        place: &Place,
        chunk: ChunkRef,
    ) -> Result<Events, Failure> {
        let key = place.keys.chunk(chunk.first, chunk.last);
        if let Some(Entry::Events(events)) = self.cache.0.get(&key) {
            return Ok(events);
        }
        let Got::Found { body, .. } = self.bucket.get(&key, None).await? else {
            return Err(missing(&key));
        };
        let events = Arc::new(chunk::read(&key, chunk, &body)?);
        self.cache.0.insert(key, Entry::Events(Arc::clone(&events)));
        Ok(events)
    }

    /// The ids of a chunk, without its events.
    pub(super) async fn ids_of(&self, place: &Place, chunk: ChunkRef) -> Result<Ids, Failure> {
        let key = place.keys.chunk(chunk.first, chunk.last);
        let kept_as = ids_key(&key);
        if let Some(Entry::Ids(ids)) = self.cache.0.get(&kept_as) {
            return Ok(ids);
        }
        let ids = if let Some(Entry::Events(events)) = self.cache.0.get(&key) {
            let versions = chunk.first.0..;
            let ids = versions.zip(events.iter());
            ids.map(|(at, stored)| (stored.event.event_id, Version(at))).collect()
        } else {
            let Got::Found { body, .. } = self.bucket.get_start(&key, chunk.ids_end).await? else {
                return Err(missing(&key));
            };
            chunk::read_ids(&key, chunk, &body)?
        };
        let ids = Arc::new(ids);
        self.cache.0.insert(kept_as, Entry::Ids(Arc::clone(&ids)));
        Ok(ids)
    }

    /// Deletes the chunks and indexes of a removed stream, also those that no tail ever named.
    pub(super) async fn delete_history(&self, place: &Place) -> Result<(), Failure> {
        self.bucket.delete_all(&place.keys.chunks()).await?;
        self.bucket.delete_all(&place.keys.indexes()).await
    }
}

fn named(place: &Place, chunks: &[ChunkRef], version: Version) -> Result<ChunkRef, Failure> {
    let at = chunks.partition_point(|chunk| chunk.last < version);
    let chunk = chunks.get(at).filter(|chunk| chunk.first <= version);
    chunk.copied().ok_or_else(|| unnamed(place, version))
}

fn unnamed(place: &Place, version: Version) -> Failure {
    Failure::Damaged(format!("{} names no chunk that holds version {version}", place.tail_key))
}

fn missing(key: &str) -> Failure {
    Failure::Damaged(format!("{key} is not there, though its stream names it"))
}
