//! A tail object in memory, with the etag under which it may be replaced, and what the next write
//! makes of it. Nothing here speaks to the service.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::bucket::Etag;
use super::chunk::{self, ChunkRef, Stored};
use super::error::Failure;
use super::layout::StreamKeys;
use super::tail::{self, Standing};
use crate::domain::{CloseEvent, Event, EventId, StreamHeader, StreamId, Version};
use crate::store::judge;
use crate::store::{Appended, Found, Tail};

/// One state of a stream. Immutable: a write makes another.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) etag: Etag,
    pub(super) standing: Standing,
    pub(super) events: Vec<Arc<Stored>>,
    ids: HashMap<EventId, Version>,
    /// What the events take in the object.
    bytes: usize,
}

impl Stream {
    pub(super) fn read(
        key: &str,
        stream: &StreamId,
        etag: Etag,
        object: &Bytes,
    ) -> Result<Self, Failure> {
        let (standing, events) = tail::read(key, stream, object)?;
        let versions = standing.first.0..;
        let ids = versions.zip(&events);
        let ids = ids.map(|(at, stored)| (stored.event.event_id, Version(at))).collect();
        let bytes = events.iter().map(|stored| stored.len()).sum();
        Ok(Self { etag, standing, events, ids, bytes })
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.standing.tail
    }

    /// Memory that it takes, roughly.
    pub(super) fn weight(&self) -> u64 {
        let chunks = 24 * (self.standing.chunks.len() + self.standing.indexes.len());
        (1_024 + 2 * self.bytes + 128 * self.events.len() + chunks) as u64
    }

    /// An event that the tail object itself holds.
    pub(super) fn event(&self, version: Version) -> Option<&Event> {
        let index = version.0.checked_sub(self.standing.first.0)?;
        Some(&self.events.get(usize::try_from(index).ok()?)?.event)
    }

    pub(super) fn find(&self, id: EventId) -> Option<Found> {
        let version = *self.ids.get(&id)?;
        Some(Found { version, digest: self.event(version)?.digest })
    }

    /// What a first write, or one on top of this state, starts from.
    pub(super) fn next(&self, nonce: Uuid) -> Next {
        let standing = Standing { write: self.standing.write + 1, nonce, ..self.standing.clone() };
        Next {
            standing,
            events: self.events.clone(),
            ids: self.ids.clone(),
            bytes: self.bytes,
            chunk: None,
            index: None,
        }
    }
}

/// The state that a write is about to make, and the objects that must be there before it.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) standing: Standing,
    events: Vec<Arc<Stored>>,
    ids: HashMap<EventId, Version>,
    bytes: usize,
    /// Events that leave the tail with this write.
    pub(super) chunk: Option<Chunk>,
    pub(super) index: Option<Index>,
}

#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) named: ChunkRef,
    pub(super) object: Bytes,
    pub(super) events: Vec<Arc<Stored>>,
}

#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) versions: (Version, Version),
    pub(super) object: Bytes,
}

/// How a stream's objects are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) tail_bytes_max: usize,
    pub(super) chunks_in_tail_max: usize,
}

impl Next {
    pub(super) fn of_new(header: StreamHeader, nonce: Uuid) -> Self {
        let tail = Tail::of_new(header);
        let first = tail.head.next();
        let (chunks, indexes) = (Vec::new(), Vec::new());
        Self {
            standing: Standing { write: 1, nonce, tail, first, chunks, indexes },
            events: Vec::new(),
            ids: HashMap::new(),
            bytes: 0,
            chunk: None,
            index: None,
        }
    }

    pub(super) fn find(&self, id: EventId) -> Option<Found> {
        let version = *self.ids.get(&id)?;
        let index = version.0.checked_sub(self.standing.first.0)?;
        let stored = self.events.get(usize::try_from(index).ok()?)?;
        Some(Found { version, digest: stored.event.digest })
    }

    /// Takes events that were accepted.
    pub(super) fn append(&mut self, base: Version, appended: Appended, mut events: Vec<Event>) {
        let tail = &mut self.standing.tail;
        let recorded_at = judge::raise_recorded_at(&mut events, tail.recorded_at);
        tail.append(base, appended.last, recorded_at);
        if self.events.is_empty() {
            self.standing.first = appended.first;
        }
        for (at, event) in (appended.first.0..).zip(events) {
            self.ids.insert(event.event_id, Version(at));
            let stored = Arc::new(Stored::of(event));
            self.bytes += stored.len();
            self.events.push(stored);
        }
    }

    pub(super) fn close(&mut self, base: Version, event: CloseEvent) {
        self.standing.tail.close(base, event);
        if self.events.is_empty() {
            self.standing.first = self.standing.tail.head.next();
        }
    }

    /// Drops the events; header, head and CloseEvent stay.
    pub(super) fn remove(&mut self) {
        self.standing.tail.removed = true;
        self.standing.first = self.standing.tail.head.next();
        self.standing.chunks = Vec::new();
        self.standing.indexes = Vec::new();
        (self.events, self.ids, self.bytes) = (Vec::new(), HashMap::new(), 0);
    }

    /// Makes a chunk of the events that were there before `kept`, if all together are too many.
    pub(super) fn make_room(&mut self, stream: &StreamId, cut: Cut, kept: Version) {
        let first = self.standing.first;
        let older = usize::try_from(kept.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        if self.bytes <= cut.tail_bytes_max || older == 0 || older > self.events.len() {
            return;
        }
        let newer = self.events.split_off(older);
        let older = std::mem::replace(&mut self.events, newer);
        for stored in &older {
            self.ids.remove(&stored.event.event_id);
            self.bytes -= stored.len();
        }
        let (named, object) = chunk::write(stream, first, &older);
        self.standing.first = kept;
        self.standing.chunks.push(named);
        self.chunk = Some(Chunk { named, object, events: older });
        if self.standing.chunks.len() > cut.chunks_in_tail_max {
            self.make_index(stream, cut.chunks_in_tail_max / 2);
        }
    }

    fn make_index(&mut self, stream: &StreamId, count: usize) {
        let newer = self.standing.chunks.split_off(count);
        let older = std::mem::replace(&mut self.standing.chunks, newer);
        let versions = (older[0].first, older[count - 1].last);
        self.standing.indexes.push(versions);
        self.index = Some(Index { versions, object: chunk::write_index(stream, &older) });
    }

    /// The tail object of this state.
    pub(super) fn object(&self, stream: &StreamId) -> Bytes {
        tail::write(stream, &self.standing, &self.events)
    }

    /// This state, once it was written under an etag.
    pub(super) fn written(self, etag: Etag) -> Stream {
        let Self { standing, events, ids, bytes, chunk: _, index: _ } = self;
        Stream { etag, standing, events, ids, bytes }
    }
}

/// A stream with its id and where its objects lie.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) id: StreamId,
    pub(super) keys: StreamKeys,
    pub(super) tail_key: String,
}

impl Place {
    pub(super) fn of(stream: &StreamId) -> Self {
        let keys = StreamKeys::of(stream);
        Self { id: stream.clone(), tail_key: keys.tail(), keys }
    }
}
