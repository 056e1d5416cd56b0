//! Keys and records, byte for byte. Stored formats: a number here never changes its meaning, and
//! decision 0003 shows them.
//!
//! Every key starts with one byte that tells its kind; numbers in keys are big-endian, so that
//! the order of bytes is that of versions. Every record starts with a CRC-32 over its key and the
//! rest, so that a record that was mangled, or stands under another key, is not taken for good.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::documents::DocumentKey;
use crate::domain::canonical;
use crate::domain::{
    CloseEvent, Digest, Event, EventId, StreamHeader, StreamId, Timestamp, Version,
};

/// The format of the folder and of every record in it.
pub(super) const FORMAT: u32 = 1;

const COMMIT: u8 = 1;
const HEADER: u8 = 2;
const END: u8 = 3;
const EVENT: u8 = 4;
const EVENT_ID: u8 = 5;
const DOCUMENT: u8 = 6;
const PURGE: u8 = 7;

/// Commits that are remembered one by one; see [`super::integrity`].
pub(super) const COMMITS_KEPT: u64 = 1 << 19;

/// A record that cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub(super) struct BadRecord {
    pub(super) what: &'static str,
    pub(super) problem: String,
}

impl BadRecord {
    fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into() }
    }
}

// Keys.

pub(super) fn commit_key(sequence: u64) -> [u8; 5] {
    let slot = u32::try_from(sequence % COMMITS_KEPT).expect("the remainder has 19 bits");
    joined([&[COMMIT], &slot.to_be_bytes()])
}

pub(super) fn commits() -> [u8; 1] {
    [COMMIT]
}

pub(super) fn header_key(stream: &StreamId) -> Vec<u8> {
    [&[HEADER], stream.as_str().as_bytes()].concat()
}

pub(super) fn end_key(number: u64) -> [u8; 9] {
    numbered(END, number)
}

pub(super) fn event_key(number: u64, version: Version) -> [u8; 17] {
    joined([&numbered::<9>(EVENT, number), &version.0.to_be_bytes()])
}

/// The start of the keys of all events of a stream.
pub(super) fn events_of(number: u64) -> [u8; 9] {
    numbered(EVENT, number)
}

/// The version that an event's key names.
pub(super) fn version_of(key: &[u8]) -> Option<Version> {
    let version = key.get(9..17)?.try_into().ok()?;
    (key[0] == EVENT && key.len() == 17).then(|| Version(u64::from_be_bytes(version)))
}

pub(super) fn event_id_key(number: u64, id: EventId) -> [u8; 25] {
    joined([&numbered::<9>(EVENT_ID, number), id.as_bytes()])
}

/// The start of the keys of all event ids of a stream.
pub(super) fn event_ids_of(number: u64) -> [u8; 9] {
    numbered(EVENT_ID, number)
}

pub(super) fn document_key(key: &DocumentKey) -> Vec<u8> {
    [&[DOCUMENT], key.as_str().as_bytes()].concat()
}

/// The document's key that a stored key stands for.
pub(super) fn document_of(key: &[u8]) -> Option<DocumentKey> {
    let text = std::str::from_utf8(key.strip_prefix(&[DOCUMENT])?).ok()?;
    Some(DocumentKey::from_raw(text))
}

pub(super) fn purge_key(number: u64) -> [u8; 9] {
    numbered(PURGE, number)
}

pub(super) fn purges() -> [u8; 1] {
    [PURGE]
}

/// The stream whose purge is unfinished.
pub(super) fn purge_of(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(&[PURGE])?.try_into().ok()?;
    Some(u64::from_be_bytes(number))
}

fn numbered<const N: usize>(kind: u8, number: u64) -> [u8; N] {
    joined([&[kind], &number.to_be_bytes()])
}

fn joined<const N: usize>(parts: [&[u8]; 2]) -> [u8; N] {
    let mut key = [0; N];
    let (first, second) = key.split_at_mut(parts[0].len());
    first.copy_from_slice(parts[0]);
    second.copy_from_slice(parts[1]);
    key
}

// Records.

/// A record on its way into the engine: room for the checksum, then the body.
pub(super) struct Record(Vec<u8>);

impl Record {
    fn with_capacity(body: usize) -> Self {
        let mut bytes = Vec::with_capacity(4 + body);
        bytes.extend_from_slice(&[0; 4]);
        Self(bytes)
    }

    fn of(body: &[u8]) -> Self {
        let mut record = Self::with_capacity(body.len());
        record.0.extend_from_slice(body);
        record
    }

    fn of_json(value: &impl Serialize) -> Self {
        let mut record = Self::with_capacity(512);
        serde_json::to_writer(&mut record.0, value).expect("records are plain data");
        record
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts the checksum in; answers it too.
    pub(super) fn seal(mut self, key: &[u8]) -> (u32, Vec<u8>) {
        let checksum = checksum(key, &self.0[4..]);
        self.0[..4].copy_from_slice(&checksum.to_be_bytes());
        (checksum, self.0)
    }
}

/// The checksum of a record, and of the removal of one (an empty body).
pub(super) fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

fn body<'a>(what: &'static str, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], BadRecord> {
    let Some((stored, body)) = value.split_first_chunk::<4>() else {
        return Err(BadRecord::new(what, "is cut short"));
    };
    if u32::from_be_bytes(*stored) != checksum(key, body) {
        return Err(BadRecord::new(what, "does not match its checksum"));
    }
    Ok(body)
}

fn json<'a, T: Deserialize<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, BadRecord> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |error: serde_json::Error| BadRecord::new(what, error.to_string());
    let Format { format } = serde_json::from_slice(body).map_err(unreadable)?;
    if format > FORMAT {
        let problem = format!("has format {format}, this release knows up to {FORMAT}");
        return Err(BadRecord::new(what, problem));
    }
    serde_json::from_slice(body).map_err(unreadable)
}

/// What one commit leaves in the ring of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// Counts the commits of the store, from 1.
    pub(super) sequence: u64,
    /// Over the checksums of all records of this commit, in order.
    pub(super) records: u32,
    /// Over the chain of the commit before, the sequence and `records`.
    pub(super) chain: u32,
    /// The number that the next new stream takes.
    pub(super) next_stream: u64,
}

impl Commit {
    /// Before the first commit.
    pub(super) const NONE: Self = Self { sequence: 0, records: 0, chain: 0, next_stream: 1 };

    /// The chain value of a commit that follows this one.
    pub(super) fn chain_to(&self, sequence: u64, records: u32) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.chain);
        hasher.update(&sequence.to_be_bytes());
        hasher.update(&records.to_be_bytes());
        hasher.finalize()
    }

    pub(super) fn record(&self) -> Record {
        let mut record = Record::with_capacity(24);
        record.0.extend_from_slice(&self.sequence.to_be_bytes());
        record.0.extend_from_slice(&self.records.to_be_bytes());
        record.0.extend_from_slice(&self.chain.to_be_bytes());
        record.0.extend_from_slice(&self.next_stream.to_be_bytes());
        record
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, BadRecord> {
        let what = "the record of a commit";
        let body: &[u8; 24] =
            body(what, key, value)?.try_into().map_err(|_| BadRecord::new(what, "is cut short"))?;
        let commit = Self {
            sequence: u64_at(body, 0),
            records: u32_at(body, 8),
            chain: u32_at(body, 12),
            next_stream: u64_at(body, 16),
        };
        if key != commit_key(commit.sequence) {
            return Err(BadRecord::new(what, "stands in another's place"));
        }
        Ok(commit)
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("the range has 8 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("the range has 4 bytes"))
}

/// What creating a stream writes. It never changes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeaderRecord {
    format: u32,
    /// Stands for the stream in the keys of its events.
    pub(super) number: u64,
    pub(super) header: StreamHeader,
}

impl HeaderRecord {
    pub(super) fn record(number: u64, header: StreamHeader) -> Record {
        Record::of_json(&Self { format: FORMAT, number, header })
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, BadRecord> {
        let what = "the header of a stream";
        json(what, body(what, key, value)?)
    }
}

/// What ends a stream. Never removed: it is what refuses every later append (I2).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndRecord {
    format: u32,
    pub(super) close: CloseEvent,
    pub(super) base: Version,
    /// That of the last event.
    pub(super) recorded_at: Option<Timestamp>,
    pub(super) removed: bool,
}

impl EndRecord {
    pub(super) fn record(
        close: CloseEvent,
        base: Version,
        recorded_at: Option<Timestamp>,
        removed: bool,
    ) -> Record {
        Record::of_json(&Self { format: FORMAT, close, base, recorded_at, removed })
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, BadRecord> {
        let what = "the end of a stream";
        json(what, body(what, key, value)?)
    }
}

/// An event in canonical form, encoded before its version is known.
pub(super) struct EventRecord(Record);

/// The canonical form ends in `recorded_at` (8 bytes) and the digest (32 bytes).
const RECORDED_AT_FROM_END: usize = 40;
const DIGEST_FROM_END: usize = 32;
const EVENT_WHAT: &str = "an event";

impl EventRecord {
    pub(super) fn of(event: &Event) -> Self {
        let mut record = Record::with_capacity(canonical::size_hint(event));
        canonical::write_event(event, &mut record.0);
        Self(record)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The record with the time that the store decided on.
    pub(super) fn at(mut self, recorded_at: Timestamp) -> Record {
        let start = self.0.0.len() - RECORDED_AT_FROM_END;
        self.0.0[start..start + 8].copy_from_slice(&recorded_at.nanos().to_be_bytes());
        self.0
    }

    /// The event; its payload shares the memory of `value`.
    pub(super) fn read(key: &[u8], value: fjall::UserValue) -> Result<Event, BadRecord> {
        let value = Bytes::from_owner(value);
        body(EVENT_WHAT, key, &value)?;
        let event = canonical::read_event(&value.slice(4..));
        event.map_err(|error| BadRecord::new(EVENT_WHAT, error.to_string()))
    }

    pub(super) fn read_recorded_at(key: &[u8], value: &[u8]) -> Result<Timestamp, BadRecord> {
        let body = Self::body_with_end(key, value)?;
        let nanos = u64_at(body, body.len() - RECORDED_AT_FROM_END);
        Ok(Timestamp::from_nanos(nanos.cast_signed()))
    }

    pub(super) fn read_digest(key: &[u8], value: &[u8]) -> Result<Digest, BadRecord> {
        let body = Self::body_with_end(key, value)?;
        let digest = body[body.len() - DIGEST_FROM_END..].try_into().expect("32 bytes are left");
        Ok(Digest::from_bytes(digest))
    }

    fn body_with_end<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], BadRecord> {
        let body = body(EVENT_WHAT, key, value)?;
        let whole = body.len() >= RECORDED_AT_FROM_END;
        if whole { Ok(body) } else { Err(BadRecord::new(EVENT_WHAT, "is cut short")) }
    }
}

pub(super) fn event_id_record(version: Version) -> Record {
    Record::of(&version.0.to_be_bytes())
}

pub(super) fn read_event_id(key: &[u8], value: &[u8]) -> Result<Version, BadRecord> {
    let what = "the place of an event id";
    let version = body(what, key, value)?.try_into();
    let version = version.map_err(|_| BadRecord::new(what, "has a wrong length"))?;
    Ok(Version(u64::from_be_bytes(version)))
}

/// A document: its etag's number, then its body.
pub(super) fn document_record(etag: u64, body: &[u8]) -> Record {
    let mut record = Record::with_capacity(8 + body.len());
    record.0.extend_from_slice(&etag.to_be_bytes());
    record.0.extend_from_slice(body);
    record
}

pub(super) fn read_document(key: &[u8], value: &[u8]) -> Result<(u64, Bytes), BadRecord> {
    let what = "a document";
    let body = body(what, key, value)?;
    if body.len() < 8 {
        return Err(BadRecord::new(what, "is cut short"));
    }
    Ok((u64_at(body, 0), Bytes::copy_from_slice(&body[8..])))
}

pub(super) fn purge_record() -> Record {
    Record::of(&[])
}

#[cfg(test)]
mod tests;
