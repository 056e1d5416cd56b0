//! How events are read: from the block that holds the first of them on, and nothing before it
//! but what lies in its segment, when the block is not known.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::AzureBlobStore;
use super::append::CallErrorOr;
use super::end::{End, LOOKS_MAX};
use super::error::CallError;
use super::index::{BlockPlace, Table};
use super::layout::{self, IndexPlace, Kind, Step, Walk};
use super::names::BlobName;
use super::streams::Entry;
use crate::domain::{Event, EventId, StreamId, Version};
use crate::store::{Found, Page, ReadRange, StoreError};

/// Bytes of one request.
const REQUEST_BYTES_MIN: u64 = 16 * 1024;
const REQUEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of one page, whatever its caller would take.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the first event of a page lies.
struct Place {
    blob: BlobName,
    /// The start of a block before it.
    at: u64,
    /// Whether more may be appended to this blob.
    is_newest: bool,
    /// Bytes to ask for first.
    bytes: u64,
}

/// Events that were read, and how long their blob was.
struct Events {
    events: Vec<Event>,
    total: u64,
    is_newest: bool,
}

impl AzureBlobStore {
    pub(super) async fn page(
        &self,
        stream: &StreamId,
        range: ReadRange,
    ) -> Result<Page, StoreError> {
        let entry = self.streams.entry(stream);
        let (mut end, mut is_fresh) = match entry.end() {
            Some(end) => (end, false),
            None => (entry.saw(self.find_end(stream).await?), true),
        };
        for _ in 0..LOOKS_MAX {
            check_not_removed(&end)?;
            let from = end.tail.base.map_or(range.from, |base| range.from.max(base));
            let is_behind = end.tail.base.is_none() || from >= end.next();
            if is_behind && is_fresh {
                return Ok(page(&end, from, Vec::new()));
            }
            if !is_behind {
                match self.events(stream, &entry, &end, from, range).await {
                    Ok(read) => {
                        let reached_end = read.is_newest && read.total == end.position;
                        if !is_fresh && !reached_end {
                            end = entry.saw(self.renew(stream, &end).await?);
                            check_not_removed(&end)?;
                        }
                        return Ok(page(&end, from, read.events));
                    }
                    // A blob that was there goes only with its stream, and not the newest first.
                    Err(CallErrorOr::Call(CallError::Missing)) => {
                        end = entry.saw(self.find_end(stream).await?);
                        is_fresh = true;
                        continue;
                    }
                    Err(CallErrorOr::Call(error)) => return Err(error.of_read()),
                    Err(CallErrorOr::Store(error)) => return Err(error),
                }
            }
            end = entry.saw(self.renew(stream, &end).await?);
            is_fresh = true;
        }
        Err(StoreError::Corrupt { detail: format!("blobs of stream {stream} are missing") })
    }

    /// Digests of events whose versions are known.
    pub(super) async fn digests(
        &self,
        stream: &StreamId,
        end: &End,
        known: &[(EventId, Version)],
    ) -> Result<HashMap<EventId, Found>, CallErrorOr> {
        let entry = self.streams.entry(stream);
        let mut wanted: Vec<Version> = known.iter().map(|(_, version)| *version).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = HashMap::new();
        let mut next = 0;
        while let Some(from) = wanted.get(next).copied() {
            let together = wanted[next..].iter().zip(0..);
            let together = together.take_while(|(version, offset)| **version == from.plus(*offset));
            let (events_max, bytes_max) = (together.count(), PAGE_BYTES_MAX);
            let range = ReadRange { from, events_max, bytes_max };
            let read = self.events(stream, &entry, end, from, range).await?;
            if read.events.is_empty() {
                let detail = format!("version {from} of stream {stream} is missing");
                return Err(StoreError::Corrupt { detail }.into());
            }
            next += read.events.len();
            for (version, event) in (0..).map(|offset| from.plus(offset)).zip(read.events) {
                found.insert(event.event_id, Found { version, digest: event.digest });
            }
        }
        Ok(found)
    }

    /// At least one event from this version on, which is before the end.
    async fn events(
        &self,
        stream: &StreamId,
        entry: &Arc<Entry>,
        end: &End,
        from: Version,
        range: ReadRange,
    ) -> Result<Events, CallErrorOr> {
        let place = self.place(stream, entry, end, from, range.events_max).await?;
        let path = self.path(stream, &place.blob);
        let mut walk = Walk::from(place.at, Bytes::new());
        let mut scan = Scan { from, range, events: Vec::new(), bytes: 0, next: None };
        let mut request = place.bytes;
        loop {
            let part = self.container.get(&path, walk.end()..walk.end() + request).await?;
            walk.push(part.bytes);
            let is_done = scan.run(&mut walk, |block| {
                if place.is_newest {
                    entry.saw_block(&place.blob, block);
                }
            })?;
            if is_done || walk.end() >= part.total {
                if scan.events.is_empty() {
                    let detail = format!("version {from} of stream {stream} is missing");
                    return Err(StoreError::Corrupt { detail }.into());
                }
                let is_newest = place.is_newest;
                return Ok(Events { events: scan.events, total: part.total, is_newest });
            }
            request = (request * 2).min(REQUEST_BYTES_MAX);
        }
    }

    async fn place(
        &self,
        stream: &StreamId,
        entry: &Arc<Entry>,
        end: &End,
        from: Version,
        events: usize,
    ) -> Result<Place, CallErrorOr> {
        let older = end.full.iter().rev().find(|blob| blob.name.first <= from);
        let is_newest = end.full.is_empty() || from >= end.blob.first;
        let (blob, size, versions) = match older.or(end.full.first()) {
            Some(full) if !is_newest => {
                let behind = end.full.iter().find(|blob| blob.name.number > full.name.number);
                let next = behind.map_or(end.blob.first, |blob| blob.name.first);
                (&full.name, full.size, next.0.saturating_sub(full.name.first.0))
            }
            Some(_) | None => {
                let first = end.blob.first.max(end.tail.base.unwrap_or_default());
                (&end.blob, end.position, end.next().0.saturating_sub(first.0))
            }
        };
        let path = self.path(stream, blob);
        let (at, skipped) = if is_newest && from >= end.segment_first {
            let known = entry.block_before(blob, from).filter(|known| known.at >= end.segment_at);
            let unknown = BlockPlace { first: end.segment_first, at: end.segment_at };
            let BlockPlace { first, at } = known.unwrap_or(unknown);
            (at, from.0 - first.0)
        } else {
            let last = match end.index.filter(|_| is_newest) {
                Some(place) => place,
                None => self.last_index(&path, size).await?,
            };
            let mut table = self.table(&path, last).await?;
            if let Some(earlier) = table.earlier_of(from) {
                table = self.table(&path, earlier).await?;
            }
            let missing = || StoreError::Corrupt { detail: format!("{path} lacks {from}") };
            (table.block_of(from).ok_or_else(missing)?, 0)
        };
        let wanted = u64::try_from(events).unwrap_or(u64::MAX).saturating_add(skipped);
        // An eighth more than events of this blob take on average, and room for a footer or two.
        let bytes = wanted.saturating_mul(size / versions.max(1) + 1);
        let bytes = bytes.saturating_add(bytes / 8).saturating_add(1_024);
        let bytes = bytes.clamp(REQUEST_BYTES_MIN, REQUEST_BYTES_MAX);
        Ok(Place { blob: blob.clone(), at, is_newest, bytes })
    }

    /// The first part of an index. It never changes.
    async fn table(&self, path: &str, place: IndexPlace) -> Result<Arc<Table>, CallErrorOr> {
        let key = (path.to_owned(), place.at);
        if let Some(table) = self.tables.get(&key) {
            return Ok(table);
        }
        let part = self.container.get(path, place.at..place.at + u64::from(place.table)).await?;
        let table = Arc::new(Table::read(&part.bytes)?);
        self.tables.insert(key, Arc::clone(&table));
        Ok(table)
    }
}

impl CallErrorOr {
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::Call(error) => error.of_read(),
            Self::Store(error) => error,
        }
    }
}

/// Gathers events of one page.
struct Scan {
    from: Version,
    range: ReadRange,
    events: Vec<Event>,
    bytes: usize,
    /// Version of the next event in the block that was entered.
    next: Option<Version>,
}

impl Scan {
    /// Takes what is whole; says whether the page is full.
    fn run(
        &mut self,
        walk: &mut Walk,
        mut saw: impl FnMut(BlockPlace),
    ) -> Result<bool, CallErrorOr> {
        loop {
            match walk.step()? {
                Step::Short => return Ok(false),
                Step::Footer(_) => {}
                Step::Block { at, first } => {
                    saw(BlockPlace { first, at });
                    if self.next.is_some_and(|next| next != first) {
                        let detail = format!("the block at {at} does not go on with its version");
                        return Err(StoreError::Corrupt { detail }.into());
                    }
                    self.next = Some(first);
                }
                Step::Record { kind: Kind::Event, body, .. } => {
                    let version = self.next.ok_or_else(|| StoreError::Corrupt {
                        detail: "an event lies outside of blocks".into(),
                    })?;
                    self.next = Some(version.next());
                    if version < self.from {
                        continue;
                    }
                    let event = layout::event(&body)?;
                    let (count, size) = (self.events.len(), event.size());
                    let is_full = count > 0 && self.bytes + size > PAGE_BYTES_MAX;
                    if is_full || !self.range.has_room(count, self.bytes, size) {
                        return Ok(true);
                    }
                    self.bytes += size;
                    self.events.push(event);
                    if self.events.len() >= self.range.events_max {
                        return Ok(true);
                    }
                }
                Step::Record { .. } => {}
            }
        }
    }
}

pub(super) fn check_not_removed(end: &End) -> Result<(), StoreError> {
    match &end.tail.closed {
        Some(close) if end.tail.removed => {
            Err(StoreError::Gone { head: end.tail.head, close: Box::new(close.clone()) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Nothing is shown that lies behind the end that is told.
fn page(end: &End, first: Version, mut events: Vec<Event>) -> Page {
    let most = end.next().0.saturating_sub(first.0);
    events.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Page { first, events, head: end.tail.head, closed: end.tail.closed.clone() }
}
