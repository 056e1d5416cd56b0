//! Chunks: events that left the tail, in an object that never changes. Its content follows from
//! its key, so two writers that make the same chunk write the same bytes.
//!
//! Behind the line stand the ids of all its events, 16 bytes each, so that ids are looked up
//! without its events; then the events. Indexes name the chunks that a tail no longer names.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::layout::{self, FORMAT};
use crate::domain::canonical;
use crate::domain::{Event, EventId, StreamId, Version};

const ID_BYTES: usize = 16;

/// An event as it is stored, and what is needed of it without reading it again.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) event: Event,
    canonical: Bytes,
}

impl Stored {
    pub(super) fn of(event: Event) -> Self {
        let mut canonical = Vec::with_capacity(canonical::size_hint(&event));
        canonical::write_event(&event, &mut canonical);
        Self { event, canonical: canonical.into() }
    }

    /// Bytes that it takes in an object.
    pub(super) fn len(&self) -> usize {
        4 + self.canonical.len()
    }
}

/// Writes events with their lengths, and answers their checksum.
pub(super) fn records(events: &[Arc<Stored>]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(events.iter().map(|event| event.len()).sum());
    for event in events {
        let length = u32::try_from(event.canonical.len()).expect("limits keep events small");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&event.canonical);
    }
    let checksum = crc32fast::hash(&bytes);
    (bytes, checksum)
}

/// Reads what [`records`] wrote.
pub(super) fn read_records(
    key: &str,
    bytes: &Bytes,
    count: u64,
    checksum: u32,
) -> Result<Vec<Arc<Stored>>, Failure> {
    let damaged = |problem: &str| Failure::Damaged(format!("{key} {problem}"));
    if crc32fast::hash(bytes) != checksum {
        return Err(damaged("does not match its checksum"));
    }
    let mut events = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some((length, _)) = bytes[at..].split_first_chunk::<4>() else {
            return Err(damaged("ends within an event"));
        };
        let (start, length) = (at + 4, u32::from_be_bytes(*length) as usize);
        let end = start.saturating_add(length);
        if end > bytes.len() {
            return Err(damaged("ends within an event"));
        }
        let canonical = bytes.slice(start..end);
        let event =
            canonical::read_event(&canonical).map_err(|error| damaged(&error.to_string()))?;
        events.push(Arc::new(Stored { event, canonical }));
        at = end;
    }
    if events.len() as u64 == count { Ok(events) } else { Err(damaged("misses events")) }
}

/// Where a chunk is named: its versions, and how many bytes come before its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Version, Version, u64)", into = "(Version, Version, u64)")]
pub(super) struct ChunkRef {
    pub(super) first: Version,
    pub(super) last: Version,
    pub(super) ids_end: u64,
}

impl From<(Version, Version, u64)> for ChunkRef {
    fn from((first, last, ids_end): (Version, Version, u64)) -> Self {
        Self { first, last, ids_end }
    }
}

impl From<ChunkRef> for (Version, Version, u64) {
    fn from(chunk: ChunkRef) -> Self {
        (chunk.first, chunk.last, chunk.ids_end)
    }
}

impl ChunkRef {
    pub(super) fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

#[derive(Serialize, Deserialize)]
struct ChunkLine {
    format: u32,
    kind: String,
    stream: StreamId,
    first: Version,
    last: Version,
    ids_crc32: u32,
    crc32: u32,
}

/// The object of a chunk, and how to name it.
pub(super) fn write(
    stream: &StreamId,
    first: Version,
    events: &[Arc<Stored>],
) -> (ChunkRef, Bytes) {
    let last = Version(first.0 + events.len() as u64 - 1);
    let (records, crc32) = records(events);
    let mut ids = Vec::with_capacity(ID_BYTES * events.len());
    for event in events {
        ids.extend_from_slice(event.event.event_id.as_bytes());
    }
    let ids_crc32 = crc32fast::hash(&ids);
    let (format, kind, stream) = (FORMAT, "chunk".to_owned(), stream.clone());
    let line = ChunkLine { format, kind, stream, first, last, ids_crc32, crc32 };
    let mut object = layout::frame(&line, ids.len() + records.len());
    object.extend_from_slice(&ids);
    let ids_end = object.len() as u64;
    object.extend_from_slice(&records);
    (ChunkRef { first, last, ids_end }, object.into())
}

/// The events of a chunk.
pub(super) fn read(
    key: &str,
    chunk: ChunkRef,
    object: &Bytes,
) -> Result<Vec<Arc<Stored>>, Failure> {
    let (line, _) = layout::unframe::<ChunkLine>(key, "chunk", object)?;
    let ids_end = usize::try_from(chunk.ids_end).unwrap_or(usize::MAX);
    if line.first != chunk.first || line.last != chunk.last || ids_end > object.len() {
        return Err(Failure::Damaged(format!("{key} is not the chunk that its stream names")));
    }
    read_records(key, &object.slice(ids_end..), chunk.count(), line.crc32)
}

/// The ids of a chunk, from the start of its object.
pub(super) fn read_ids(
    key: &str,
    chunk: ChunkRef,
    start: &Bytes,
) -> Result<HashMap<EventId, Version>, Failure> {
    let (line, ids) = layout::unframe::<ChunkLine>(key, "chunk", start)?;
    if crc32fast::hash(&ids) != line.ids_crc32 {
        return Err(Failure::Damaged(format!("the ids of {key} do not match their checksum")));
    }
    let (ids, rest) = ids.as_chunks::<ID_BYTES>();
    if ids.len() as u64 != chunk.count() || !rest.is_empty() {
        return Err(Failure::Damaged(format!("{key} does not hold the ids of its events")));
    }
    let versions = chunk.first.0..;
    Ok(versions.zip(ids).map(|(at, id)| (EventId::from_bytes(*id), Version(at))).collect())
}

#[derive(Serialize, Deserialize)]
struct IndexLine {
    format: u32,
    kind: String,
    stream: StreamId,
    chunks: Vec<ChunkRef>,
}

/// The object of an index.
pub(super) fn write_index(stream: &StreamId, chunks: &[ChunkRef]) -> Bytes {
    let (format, kind, stream) = (FORMAT, "index".to_owned(), stream.clone());
    layout::frame(&IndexLine { format, kind, stream, chunks: chunks.to_vec() }, 0).into()
}

pub(super) fn read_index(key: &str, object: &Bytes) -> Result<Vec<ChunkRef>, Failure> {
    let (line, _) = layout::unframe::<IndexLine>(key, "index", object)?;
    Ok(line.chunks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders;

    #[test]
    fn a_chunk_is_read_back_and_its_ids_without_its_events() {
        let stream = StreamId::new("s").unwrap();
        let events: Vec<Arc<Stored>> =
            builders::events(0..5).into_iter().map(|event| Arc::new(Stored::of(event))).collect();
        let (chunk, object) = write(&stream, Version(7), &events);
        assert_eq!((chunk.first, chunk.last), (Version(7), Version(11)));
        assert_eq!(write(&stream, Version(7), &events).1, object, "the same bytes each time");
        let read_back = read("k", chunk, &object).unwrap();
        let same = read_back.iter().zip(&events).all(|(left, right)| left.event == right.event);
        assert!(same && read_back.len() == events.len());
        let start = object.slice(..usize::try_from(chunk.ids_end).unwrap());
        let ids = read_ids("k", chunk, &start).unwrap();
        assert_eq!(ids[&events[3].event.event_id], Version(10));
        let damaged = |at: usize| {
            let mut bytes = object.to_vec();
            bytes[at] ^= 1;
            Bytes::from(bytes)
        };
        for at in start.len()..object.len() {
            assert!(read("k", chunk, &damaged(at)).is_err(), "byte {at}");
        }
        for at in start.len() - ID_BYTES * events.len()..start.len() {
            let start = damaged(at).slice(..start.len());
            assert!(read_ids("k", chunk, &start).is_err(), "byte {at}");
        }
    }
}
