//! The tail object of a stream, byte for byte: a line that says how the stream stands, then its
//! newest events.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunk::{self, ChunkRef, Stored};
use super::error::Failure;
use super::layout::{self, FORMAT};
use crate::domain::{CloseEvent, Head, StreamHeader, StreamId, Timestamp, Version};
use crate::store::Tail;

/// All that the tail object says but its events.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Counts the writes of this object, from 1.
    pub(super) write: u64,
    /// Of this write alone: no two states of a tail are equal, so no two have one etag.
    pub(super) nonce: Uuid,
    pub(super) tail: Tail,
    /// Version of the first event in the tail object; head + 1 when there is none.
    pub(super) first: Version,
    /// The newest chunks, side by side up to `first`.
    pub(super) chunks: Vec<ChunkRef>,
    /// First and last version of what each index names, side by side up to the first chunk.
    pub(super) indexes: Vec<(Version, Version)>,
}

#[derive(Serialize, Deserialize)]
struct TailLine {
    format: u32,
    kind: String,
    stream: StreamId,
    write: u64,
    nonce: Uuid,
    header: StreamHeader,
    base: Option<Version>,
    head: Head,
    recorded_at: Option<Timestamp>,
    closed: Option<CloseEvent>,
    removed: bool,
    first: Version,
    events: u64,
    chunks: Vec<ChunkRef>,
    indexes: Vec<(Version, Version)>,
    crc32: u32,
}

pub(super) fn write(stream: &StreamId, standing: &Standing, events: &[Arc<Stored>]) -> Bytes {
    let (records, crc32) = chunk::records(events);
    let Standing { write, nonce, tail, first, chunks, indexes } = standing.clone();
    let line = TailLine {
        format: FORMAT,
        kind: "tail".to_owned(),
        stream: stream.clone(),
        write,
        nonce,
        header: tail.header,
        base: tail.base,
        head: tail.head,
        recorded_at: tail.recorded_at,
        closed: tail.closed,
        removed: tail.removed,
        first,
        events: events.len() as u64,
        chunks,
        indexes,
        crc32,
    };
    let mut object = layout::frame(&line, records.len());
    object.extend_from_slice(&records);
    object.into()
}

pub(super) fn read(
    key: &str,
    stream: &StreamId,
    object: &Bytes,
) -> Result<(Standing, Vec<Arc<Stored>>), Failure> {
    let (line, records) = layout::unframe::<TailLine>(key, "tail", object)?;
    if line.stream != *stream {
        return Err(Failure::Damaged(format!("{key} belongs to another stream")));
    }
    let events = chunk::read_records(key, &records, line.events, line.crc32)?;
    let tail = Tail {
        header: line.header,
        base: line.base,
        head: line.head,
        recorded_at: line.recorded_at,
        closed: line.closed,
        removed: line.removed,
    };
    let (write, nonce, first) = (line.write, line.nonce, line.first);
    let standing =
        Standing { write, nonce, tail, first, chunks: line.chunks, indexes: line.indexes };
    Ok((standing, events))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders;

    #[test]
    fn a_tail_is_read_back_and_belongs_to_one_stream() {
        let (stream, other) = (StreamId::new("s").unwrap(), StreamId::new("t").unwrap());
        let mut tail = Tail::of_new(builders::header(&builders::object("1")));
        tail.append(Version(3), Version(9), Some(builders::RECORDED_AT));
        tail.close(Version(3), builders::close_event(builders::migration(1), tail.head));
        let standing = Standing {
            write: 4,
            nonce: Uuid::from_u128(1),
            tail: tail.clone(),
            first: Version(8),
            chunks: vec![ChunkRef { first: Version(6), last: Version(7), ids_end: 300 }],
            indexes: vec![(Version(3), Version(5))],
        };
        let events: Vec<Arc<Stored>> =
            builders::events(8..10).into_iter().map(|event| Arc::new(Stored::of(event))).collect();
        let object = write(&stream, &standing, &events);
        let (read_back, events_back) = read("k", &stream, &object).unwrap();
        assert_eq!(read_back.tail, tail);
        assert_eq!((read_back.first, read_back.write), (Version(8), 4));
        assert_eq!((read_back.chunks, read_back.indexes), (standing.chunks, standing.indexes));
        assert_eq!(events_back[1].event, events[1].event);
        assert!(read("k", &other, &object).is_err());
        assert!(read("k", &stream, &object.slice(..object.len() - 1)).is_err());
    }
}
