//! The end of a stream as it was found, and how it is found: in one request when an earlier end
//! is known, in two when nothing is.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::AzureBlobStore;
use super::anchor::Anchor;
use super::container::Part;
use super::error::CallError;
use super::layout::{FOOTER, Footer, IndexPlace};
use super::names::BlobName;
use crate::domain::{StreamId, Version};
use crate::store::{StoreError, Tail};

/// Bytes before the end of a blob that are read to find it. A close or a move lies within.
const SIGHT_BYTES: u64 = 64 * 1024;

/// Looks at what changes under the look, before it is given up.
pub(super) const LOOKS_MAX: u32 = 8;

/// A blob that is full.
#[derive(Clone, Debug)]
pub(super) struct FullBlob {
    pub(super) name: BlobName,
    pub(super) size: u64,
}

/// Where a stream ends. An append lands nowhere but at `position` of `blob`.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) anchor: Arc<Anchor>,
    /// The blobs before this one.
    pub(super) full: Arc<Vec<FullBlob>>,
    pub(super) blob: BlobName,
    pub(super) position: u64,
    /// Blocks of this blob.
    pub(super) blocks: u32,
    pub(super) tail: Tail,
    pub(super) index: Option<IndexPlace>,
    /// The first block behind the last index, and the version of its first event.
    pub(super) segment_at: u64,
    pub(super) segment_first: Version,
}

impl End {
    /// Of a stream that has no event yet, or none any more.
    pub(super) fn of_anchor(anchor: Anchor) -> Result<Self, StoreError> {
        let named = BlobName::parse(&anchor.first);
        let damaged = || StoreError::Corrupt { detail: "an anchor names no blob".into() };
        let tail = anchor.tail();
        Ok(Self {
            anchor: Arc::new(anchor),
            full: Arc::new(Vec::new()),
            blob: named.ok_or_else(damaged)?,
            position: 0,
            blocks: 0,
            segment_at: 0,
            segment_first: tail.head.next(),
            tail,
            index: None,
        })
    }

    /// As a block left it whose bytes end with this footer.
    pub(super) fn after(&self, footer: &Footer, bytes: &Bytes) -> Result<Self, StoreError> {
        let tail = footer.tail(self.anchor.header.clone(), bytes)?;
        let mut end = Self {
            position: footer.end(),
            blocks: footer.blocks,
            tail,
            index: footer.index,
            segment_at: footer.segment_at,
            segment_first: footer.segment_first,
            ..self.clone()
        };
        if let Some(next) = footer.next_blob(bytes)? {
            let named = BlobName::parse(&next);
            let damaged = || StoreError::Corrupt { detail: "a full blob names no other".into() };
            let mut full = Vec::clone(&end.full);
            full.push(FullBlob { name: end.blob, size: end.position });
            end.full = Arc::new(full);
            end.blob = named.ok_or_else(damaged)?;
            (end.position, end.blocks, end.index) = (0, 0, None);
            (end.segment_at, end.segment_first) = (0, footer.next);
        }
        Ok(end)
    }

    /// The version behind the last event.
    pub(super) fn next(&self) -> Version {
        self.tail.head.next()
    }

    /// What only grows.
    pub(super) fn age(&self) -> (bool, u32, u64) {
        (self.tail.removed, self.blob.number, self.position)
    }
}

impl AzureBlobStore {
    pub(super) fn path(&self, stream: &StreamId, blob: &BlobName) -> String {
        format!("{}{blob}", self.names.of_stream(stream))
    }

    /// The end of a stream of which nothing is known: a listing, and the end of its newest blob.
    ///
    /// Only a blob that was named is ever written to, so the newest one with a byte in it is the
    /// stream's. If the stream moved on after the listing, it was at the start of the next blob
    /// at some moment of this look.
    pub(super) async fn find_end(&self, stream: &StreamId) -> Result<End, StoreError> {
        let folder = self.names.of_stream(stream);
        for _ in 0..LOOKS_MAX {
            let listed = self.container.list_all(&folder).await.map_err(CallError::of_read)?;
            let Some(anchor) = Anchor::among(&listed, &folder)? else {
                return Err(StoreError::NotFound);
            };
            if anchor.stream_id != *stream {
                let detail = format!("the blobs in {folder} are those of another stream");
                return Err(StoreError::Corrupt { detail });
            }
            let first = format!("{folder}{}", anchor.first);
            let mut end = End::of_anchor(anchor)?;
            if end.tail.removed {
                return Ok(end);
            }
            let is_there = listed.iter().any(|blob| blob.name == first);
            let named = |name: &str| BlobName::parse(name.strip_prefix(&folder)?);
            let mut blobs: Vec<FullBlob> = listed
                .iter()
                .filter(|blob| blob.size > 0)
                .filter_map(|blob| Some(FullBlob { name: named(&blob.name)?, size: blob.size }))
                .collect();
            blobs.sort_by(|one, other| one.name.cmp(&other.name));
            let Some(newest) = blobs.pop() else {
                if is_there {
                    return Ok(end);
                }
                // It was made, or removed, while the listing ran.
                continue;
            };
            end.full = Arc::new(blobs);
            end.blob = newest.name;
            if let Some(end) = self.end_near(stream, &end, newest.size).await? {
                return Ok(end);
            }
        }
        Err(StoreError::Corrupt { detail: format!("blobs of stream {stream} are missing") })
    }

    /// The end now, when it was this one at an earlier moment.
    pub(super) async fn renew(&self, stream: &StreamId, known: &End) -> Result<End, StoreError> {
        let mut end = known.clone();
        if end.tail.removed {
            return Ok(end);
        }
        loop {
            let path = self.path(stream, &end.blob);
            let found = match end.position {
                0 => self.container.size(&path).await.map(|size| (size, None)),
                position => {
                    let start = position - FOOTER as u64;
                    let part = self.container.get(&path, start..position + SIGHT_BYTES).await;
                    part.map(|part| (part.total, Some((start, part))))
                }
            };
            let (total, sight) = match found {
                Ok(found) => found,
                // A blob that was there goes only with its stream.
                Err(CallError::Missing) => return self.find_end(stream).await,
                Err(error) => return Err(error.of_read()),
            };
            if total == end.position {
                return Ok(end);
            }
            let next = match sight.and_then(|(start, part)| last_bytes(start, part)) {
                Some(bytes) => Some(end.after(&Footer::read(&bytes)?, &bytes)?),
                None => self.end_near(stream, &end, total).await?,
            };
            let Some(next) = next else {
                return self.find_end(stream).await;
            };
            let moved = next.blob != end.blob;
            end = next;
            if !moved {
                return Ok(end);
            }
        }
    }

    /// The end of the stream by that of a blob which was about this long; none if it is gone.
    async fn end_near(
        &self,
        stream: &StreamId,
        end: &End,
        mut size: u64,
    ) -> Result<Option<End>, StoreError> {
        let path = self.path(stream, &end.blob);
        for _ in 0..LOOKS_MAX {
            let start = size.saturating_sub(SIGHT_BYTES);
            let range: Range<u64> = start..size + SIGHT_BYTES;
            let part = match self.container.get(&path, range).await {
                Ok(part) => part,
                Err(CallError::Missing) => return Ok(None),
                Err(error) => return Err(error.of_read()),
            };
            size = part.total;
            if let Some(bytes) = last_bytes(start, part) {
                let footer = Footer::read(&bytes)?;
                if footer.end() != size {
                    let detail = format!("{path} does not end where its last block says");
                    return Err(StoreError::Corrupt { detail });
                }
                return Ok(Some(end.after(&footer, &bytes)?));
            }
        }
        Err(StoreError::Unavailable { cause: None, retry_after: None })
    }
}

/// The bytes of a part that reaches to the end of its blob.
fn last_bytes(start: u64, part: Part) -> Option<Bytes> {
    (start + part.bytes.len() as u64 == part.total).then_some(part.bytes)
}
