//! Blocks, byte for byte. Stored formats: a number here never changes its meaning, and
//! `docs/stores/azure_blob.md` shows them.
//!
//! ```text
//! block    prefix, records, footer
//! prefix   "SGA1", length of the block u32, version of its first event u64
//! record   kind u8, length of the body u32, CRC-32 of kind, length and body u32, body
//! footer   96 bytes, see [`Footer`]
//! ```
//!
//! Numbers are big-endian. Whoever knows where a block starts reads on from there; whoever knows
//! where a blob ends reads the footer before it and knows the stream's head.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::{
    CloseEvent, EventId, Head, StreamHeader, StreamId, Timestamp, Version, canonical,
};
use crate::store::{StoreError, Tail};

/// The format of anchors, blocks and records.
pub(super) const FORMAT: u32 = 1;

const BLOCK_MAGIC: &[u8; 4] = b"SGA1";
const FOOTER_MAGIC: &[u8; 4] = b"SGF1";

pub(super) const PREFIX: usize = 16;
pub(super) const RECORD_HEAD: usize = 9;
pub(super) const FOOTER: usize = 96;

/// Bytes that cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadBlock(pub(super) String);

impl From<BadBlock> for StoreError {
    fn from(bad: BadBlock) -> Self {
        Self::Corrupt { detail: bad.0 }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON, in the first block of a blob: see [`Opening`].
    Opening = 1,
    /// An event in canonical form; decision 0002.
    Event = 2,
    /// Where blocks lie and which ids are known; see [`super::index`].
    Index = 3,
    /// JSON, directly before the footer: see [`Close`].
    Close = 4,
    /// JSON, directly before the footer: see [`Moved`].
    Moved = 5,
}

impl Kind {
    fn of(byte: u8) -> Result<Self, BadBlock> {
        match byte {
            1 => Ok(Self::Opening),
            2 => Ok(Self::Event),
            3 => Ok(Self::Index),
            4 => Ok(Self::Close),
            5 => Ok(Self::Moved),
            other => Err(BadBlock(format!("a record is of the unknown kind {other}"))),
        }
    }
}

/// What a blob begins with: enough to know what it belongs to when all else is lost.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) format: u32,
    pub(super) stream_id: StreamId,
    pub(super) header: StreamHeader,
    pub(super) number: u32,
}

/// What ends a stream.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Close {
    pub(super) format: u32,
    pub(super) close: CloseEvent,
}

/// What ends a blob that is full: the stream goes on in the one it names.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    pub(super) format: u32,
    pub(super) next: String,
}

/// Where the last index of a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexPlace {
    /// Of the body of its record, from the start of the blob.
    pub(super) at: u64,
    pub(super) length: u32,
    /// Of its first part, which tells where blocks lie.
    pub(super) table: u32,
}

/// The end of every block: the end of the stream as this block left it.
///
/// ```text
///  0 "SGF1"                 4 length of the block u32
///  8 place of the block u64, from the start of the blob
/// 16 blocks of the blob u32, this one included
/// 20 flags u8: 1 base known, 2 time known, 4 closed, 8 moved, 16 index; then 3 bytes 0
/// 24 length of the last record u32, if it is a close or a move; else 0
/// 28 length of the last index u32      32 length of its first part u32
/// 36 base u64                          44 head + 1 u64
/// 52 recorded_at of the last event i64, in nanoseconds
/// 60 place of the last index u64
/// 68 place of the first block behind it u64
/// 76 version of that block's first event u64
/// 84 eight bytes 0                     92 CRC-32 of all before u32
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) length: u32,
    pub(super) at: u64,
    pub(super) blocks: u32,
    pub(super) closed: bool,
    pub(super) moved: bool,
    pub(super) last_record: u32,
    pub(super) index: Option<IndexPlace>,
    pub(super) base: Option<Version>,
    pub(super) next: Version,
    pub(super) recorded_at: Option<Timestamp>,
    pub(super) segment_at: u64,
    pub(super) segment_first: Version,
}

impl Footer {
    pub(super) fn end(&self) -> u64 {
        self.at + u64::from(self.length)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let index = self.index.unwrap_or(IndexPlace { at: 0, length: 0, table: 0 });
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.base.is_some(), 1)
            | flag(self.recorded_at.is_some(), 2)
            | flag(self.closed, 4)
            | flag(self.moved, 8)
            | flag(self.index.is_some(), 16);
        out.extend_from_slice(FOOTER_MAGIC);
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.blocks.to_be_bytes());
        out.extend_from_slice(&[flags, 0, 0, 0]);
        out.extend_from_slice(&self.last_record.to_be_bytes());
        out.extend_from_slice(&index.length.to_be_bytes());
        out.extend_from_slice(&index.table.to_be_bytes());
        out.extend_from_slice(&self.base.unwrap_or_default().0.to_be_bytes());
        out.extend_from_slice(&self.next.0.to_be_bytes());
        out.extend_from_slice(&self.recorded_at.unwrap_or_default().nanos().to_be_bytes());
        out.extend_from_slice(&index.at.to_be_bytes());
        out.extend_from_slice(&self.segment_at.to_be_bytes());
        out.extend_from_slice(&self.segment_first.0.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        let checksum = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    /// The footer that these bytes end with.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadBlock> {
        let bad = |problem: &str| BadBlock(format!("a footer {problem}"));
        let Some(bytes) = bytes.last_chunk::<FOOTER>() else {
            return Err(bad("is cut short"));
        };
        if &bytes[..4] != FOOTER_MAGIC {
            return Err(bad("does not begin as one"));
        }
        if u32_at(bytes, 92) != crc32fast::hash(&bytes[..92]) {
            return Err(bad("does not match its checksum"));
        }
        let flags = bytes[20];
        let flagged = |bit: u8| flags & bit != 0;
        let place = IndexPlace {
            at: u64_at(bytes, 60),
            length: u32_at(bytes, 28),
            table: u32_at(bytes, 32),
        };
        let recorded_at = Timestamp::from_nanos(u64_at(bytes, 52).cast_signed());
        Ok(Self {
            length: u32_at(bytes, 4),
            at: u64_at(bytes, 8),
            blocks: u32_at(bytes, 16),
            closed: flagged(4),
            moved: flagged(8),
            last_record: u32_at(bytes, 24),
            index: flagged(16).then_some(place),
            base: flagged(1).then(|| Version(u64_at(bytes, 36))),
            next: Version(u64_at(bytes, 44)),
            recorded_at: flagged(2).then_some(recorded_at),
            segment_at: u64_at(bytes, 68),
            segment_first: Version(u64_at(bytes, 76)),
        })
    }

    /// The end of the stream; `bytes` ends with this footer.
    pub(super) fn tail(&self, header: StreamHeader, bytes: &Bytes) -> Result<Tail, BadBlock> {
        let closed = match self.closed {
            true => Some(json::<Close>(&self.last_body(bytes, Kind::Close)?)?.close),
            false => None,
        };
        Ok(Tail {
            header,
            base: self.base,
            head: self.base.map_or(Head::NONE, |_| Head::before(self.next)),
            recorded_at: self.recorded_at,
            closed,
            removed: false,
        })
    }

    /// The name of the blob in which the stream goes on.
    pub(super) fn next_blob(&self, bytes: &Bytes) -> Result<Option<String>, BadBlock> {
        match self.moved {
            true => Ok(Some(json::<Moved>(&self.last_body(bytes, Kind::Moved)?)?.next)),
            false => Ok(None),
        }
    }

    fn last_body(&self, bytes: &Bytes, kind: Kind) -> Result<Bytes, BadBlock> {
        let end = bytes.len() - FOOTER;
        let start = end.checked_sub(self.last_record as usize);
        let start = start.ok_or_else(|| BadBlock("the last record is out of sight".into()))?;
        match record(&bytes.slice(start..end))? {
            Some((found, body)) if found == kind => Ok(body),
            Some(_) | None => Err(BadBlock("the last record is not what the footer says".into())),
        }
    }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("the range has 8 bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("the range has 4 bytes"))
}

pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadBlock> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |error: serde_json::Error| BadBlock(format!("a record: {error}"));
    let Format { format } = serde_json::from_slice(body).map_err(unreadable)?;
    if format > FORMAT {
        let problem = format!("has format {format}, this release knows up to {FORMAT}");
        return Err(BadBlock(format!("a record {problem}")));
    }
    serde_json::from_slice(body).map_err(unreadable)
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are plain data")
}

/// The record that these bytes begin with; none if it is not whole.
fn record(bytes: &Bytes) -> Result<Option<(Kind, Bytes)>, BadBlock> {
    if bytes.len() < RECORD_HEAD {
        return Ok(None);
    }
    let kind = Kind::of(bytes[0])?;
    let end = RECORD_HEAD + u32_at(bytes, 1) as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let body = bytes.slice(RECORD_HEAD..end);
    if u32_at(bytes, 5) != record_checksum(&bytes[..5], &body) {
        return Err(BadBlock("a record does not match its checksum".into()));
    }
    Ok(Some((kind, body)))
}

fn record_checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// A block in the making.
pub(super) struct BlockWriter {
    bytes: Vec<u8>,
    last_record: u32,
}

impl BlockWriter {
    pub(super) fn new(first: Version) -> Self {
        let mut bytes = Vec::with_capacity(1_024);
        bytes.extend_from_slice(BLOCK_MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&first.0.to_be_bytes());
        Self { bytes, last_record: 0 }
    }

    /// Appends a record whose body `write` appends. Answers where the body lies in the block.
    pub(super) fn record(&mut self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
        write(&mut self.bytes);
        let body = start + RECORD_HEAD;
        let length = length_of(self.bytes.len() - body);
        self.bytes[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        let checksum = record_checksum(&self.bytes[start..start + 5], &self.bytes[body..]);
        self.bytes[start + 5..body].copy_from_slice(&checksum.to_be_bytes());
        self.last_record = match kind {
            Kind::Close | Kind::Moved => length_of(self.bytes.len() - start),
            Kind::Opening | Kind::Event | Kind::Index => 0,
        };
        body as u64
    }

    /// Bytes up to now.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the block has if no further record is added.
    pub(super) fn whole(&self) -> u64 {
        (self.bytes.len() + FOOTER) as u64
    }

    /// The block, with a footer in which only its lengths are missing.
    pub(super) fn finish(mut self, mut footer: Footer) -> Bytes {
        let length = length_of(self.bytes.len() + FOOTER);
        self.bytes[4..8].copy_from_slice(&length.to_be_bytes());
        footer.length = length;
        footer.last_record = self.last_record;
        footer.write(&mut self.bytes);
        self.bytes.into()
    }
}

pub(super) fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("limits keep a block far below 4 GiB")
}

/// What comes next in a blob.
#[derive(Debug)]
pub(super) enum Step {
    Block {
        at: u64,
        first: Version,
    },
    Record {
        at: u64,
        kind: Kind,
        body: Bytes,
    },
    Footer(Footer),
    /// Nothing more is whole.
    Short,
}

/// Walks through the bytes of a blob, from the start of a block on.
pub(super) struct Walk {
    bytes: Bytes,
    /// Place of the first of these bytes.
    at: u64,
    /// Where the block that was entered starts, and how long it is.
    block: Option<(u64, u32)>,
}

impl Walk {
    pub(super) fn from(at: u64, bytes: Bytes) -> Self {
        Self { bytes, at, block: None }
    }

    /// Bytes that come directly behind those that are there.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.bytes = match self.bytes.is_empty() {
            true => bytes,
            false => [&self.bytes[..], &bytes[..]].concat().into(),
        };
    }

    /// Where the bytes end that are there.
    pub(super) fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// Whether the walk stands between two blocks.
    pub(super) fn is_between(&self) -> bool {
        self.block.is_none()
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.at += count as u64;
        self.bytes.split_to(count)
    }

    pub(super) fn step(&mut self) -> Result<Step, BadBlock> {
        let Some((start, length)) = self.block else {
            if self.bytes.len() < PREFIX {
                return Ok(Step::Short);
            }
            let at = self.at;
            let prefix = self.take(PREFIX);
            let length = u32_at(&prefix, 4);
            if &prefix[..4] != BLOCK_MAGIC || (length as usize) < PREFIX + FOOTER {
                return Err(BadBlock(format!("no block starts at {at}")));
            }
            self.block = Some((at, length));
            return Ok(Step::Block { at, first: Version(u64_at(&prefix, 8)) });
        };
        let footer_at = start + u64::from(length) - FOOTER as u64;
        if self.at < footer_at {
            let room = usize::try_from(footer_at - self.at).unwrap_or(usize::MAX);
            let seen = self.bytes.slice(..room.min(self.bytes.len()));
            let Some((kind, body)) = record(&seen)? else {
                return match seen.len() == room {
                    true => Err(BadBlock(format!("a record is cut short in the block at {start}"))),
                    false => Ok(Step::Short),
                };
            };
            let at = self.at + RECORD_HEAD as u64;
            self.take(RECORD_HEAD + body.len());
            return Ok(Step::Record { at, kind, body });
        }
        if self.bytes.len() < FOOTER {
            return Ok(Step::Short);
        }
        let footer = Footer::read(&self.take(FOOTER))?;
        if footer.at != start || footer.length != length {
            return Err(BadBlock(format!("the block at {start} ends with another's footer")));
        }
        self.block = None;
        Ok(Step::Footer(footer))
    }

    /// The next whole block; none between blocks when no byte is left.
    pub(super) fn block(&mut self) -> Result<Option<Block>, BadBlock> {
        if self.is_between() && self.bytes.is_empty() {
            return Ok(None);
        }
        let mut block: Option<(u64, Version)> = None;
        let (mut ids, mut index) = (Vec::new(), None);
        let bytes = self.bytes.clone();
        loop {
            match self.step()? {
                Step::Block { at, first } => block = Some((at, first)),
                Step::Record { kind: Kind::Event, body, .. } => ids.push(event_id(&body)?),
                Step::Record { at, kind: Kind::Index, body } => index = Some((at, body)),
                Step::Record { kind: Kind::Opening | Kind::Close | Kind::Moved, .. } => {}
                Step::Footer(footer) => {
                    let (at, first) =
                        block.ok_or_else(|| BadBlock("a block has no start".into()))?;
                    let seen = bytes.len() - self.bytes.len();
                    let bytes = bytes.slice(..seen);
                    return Ok(Some(Block { at, first, ids, index, footer, bytes }));
                }
                Step::Short => return Err(BadBlock("a block is cut short".into())),
            }
        }
    }
}

fn event_id(body: &[u8]) -> Result<EventId, BadBlock> {
    let id = body.first_chunk::<16>().ok_or_else(|| BadBlock("an event is cut short".into()))?;
    Ok(EventId::from_bytes(*id))
}

pub(super) fn event(body: &Bytes) -> Result<crate::domain::Event, BadBlock> {
    canonical::read_event(body).map_err(|error| BadBlock(error.to_string()))
}

/// A block that was read, without its payloads.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) at: u64,
    pub(super) first: Version,
    /// Of its events, in order.
    pub(super) ids: Vec<EventId>,
    /// Its index, and where that lies.
    pub(super) index: Option<(u64, Bytes)>,
    pub(super) footer: Footer,
    /// The whole block.
    pub(super) bytes: Bytes,
}

#[cfg(test)]
mod tests;
