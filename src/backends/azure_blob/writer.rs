//! What a writer must know of a stream to append to it: its end, the ids of its newest events,
//! and where its blocks lie, for the next index.

use bytes::Bytes;

use super::end::End;
use super::index::{self, BlockPlace, INDEXES_MAX, IndexEntry, Table};
use super::layout::{
    Block, BlockWriter, Close, FORMAT, Footer, IndexPlace, Kind, Moved, Opening, length_of, to_json,
};
use super::names::BlobName;
use super::options::AzureBlobOptions;
use super::window::Window;
use crate::domain::{CloseEvent, Event, Timestamp, Version, canonical};
use crate::store::{Appended, StoreError};

pub(super) struct Writer {
    pub(super) end: End,
    pub(super) window: Window,
    /// The blocks of the newest blob behind its last index.
    segment: Vec<BlockPlace>,
    /// The indexes of the newest blob.
    indexes: Vec<IndexEntry>,
}

impl Writer {
    /// Of an end whose blob is empty.
    pub(super) fn at_start(end: End, window: Window) -> Self {
        Self { end, window, segment: Vec::new(), indexes: Vec::new() }
    }

    /// Behind an index, which stands in a block of which the rest follows.
    pub(super) fn behind_index(
        end: End,
        place: IndexPlace,
        body: &Bytes,
    ) -> Result<Self, StoreError> {
        let (table, window) = index::read(body, place.table)?;
        let first = table.blocks.first().map_or(Version::FIRST, |block| block.first);
        let mut indexes = table.earlier;
        indexes.push(IndexEntry { first, place });
        Ok(Self { end, window, segment: Vec::new(), indexes })
    }

    /// Goes on behind a block that was read, or written, at the end.
    pub(super) fn take(&mut self, block: &Block) -> Result<(), StoreError> {
        if block.at != self.end.position || block.footer.blocks != self.end.blocks + 1 {
            let detail = format!("a block of {} stands in another's place", self.end.blob);
            return Err(StoreError::Corrupt { detail });
        }
        self.remember(block)?;
        self.end = self.end.after(&block.footer, &block.bytes)?;
        if self.end.position == 0 {
            (self.segment, self.indexes) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    /// Takes note of a block that lies before the end.
    pub(super) fn remember(&mut self, block: &Block) -> Result<(), StoreError> {
        if self.window.len() == 0 {
            self.window = Window::from(block.first);
        }
        if self.window.next() != block.first && !block.ids.is_empty() {
            let detail = format!("version {} of {} is missing", self.window.next(), self.end.blob);
            return Err(StoreError::Corrupt { detail });
        }
        block.ids.iter().for_each(|id| self.window.push(*id));
        self.segment.push(BlockPlace { first: block.first, at: block.at });
        if block.index.is_some()
            && let Some(place) = block.footer.index
        {
            let first = self.segment.first().map_or(block.first, |block| block.first);
            self.indexes.push(IndexEntry { first, place });
            self.segment.clear();
        }
        Ok(())
    }

    /// The last block behind the last index.
    pub(super) fn newest_block(&self) -> Option<BlockPlace> {
        self.segment.last().copied()
    }

    /// Whether the next block of events must be the last of its blob.
    pub(super) fn is_full(&self, options: &AzureBlobOptions) -> bool {
        self.end.blocks + 1 >= options.blob_blocks_max || self.indexes.len() + 1 >= INDEXES_MAX
    }

    /// A block of events, and in it whatever is due: an opening, an index, the next blob's name.
    pub(super) fn events_block(
        &self,
        appended: Appended,
        base: Version,
        events: &[Event],
        next: Option<&BlobName>,
        options: &AzureBlobOptions,
    ) -> Bytes {
        let mut block = self.begin(appended.first);
        for event in events {
            block.record(Kind::Event, |out| canonical::write_event(event, out));
        }
        let segment = self.end.position - self.end.segment_at + block.len() as u64;
        let inherits = self.end.position == 0 && !self.end.full.is_empty();
        let is_due = next.is_some() || inherits || segment >= options.index_bytes;
        let index = is_due.then(|| self.write_index(&mut block, appended.first, events));
        if let Some(next) = next {
            let moved = Moved { format: FORMAT, next: next.to_string() };
            block.record(Kind::Moved, |out| out.extend(to_json(&moved)));
        }
        let recorded_at = events.last().map(|event| event.recorded_at);
        let footer = self.footer(appended.first, base, appended.last.next(), recorded_at);
        let footer = match index {
            Some(place) => Footer {
                index: Some(place),
                segment_at: footer.at + block.whole(),
                segment_first: appended.last.next(),
                ..footer
            },
            None => footer,
        };
        block.finish(Footer { moved: next.is_some(), ..footer })
    }

    pub(super) fn close_block(&self, base: Version, event: &CloseEvent) -> Bytes {
        let next = event.head.next();
        let mut block = self.begin(next);
        let close = Close { format: FORMAT, close: event.clone() };
        block.record(Kind::Close, |out| out.extend(to_json(&close)));
        let footer = self.footer(next, base, next, self.end.tail.recorded_at);
        block.finish(Footer { closed: true, ..footer })
    }

    fn begin(&self, first: Version) -> BlockWriter {
        let mut block = BlockWriter::new(first);
        if self.end.position == 0 {
            let opening = Opening {
                format: FORMAT,
                stream_id: self.end.anchor.stream_id.clone(),
                header: self.end.anchor.header.clone(),
                number: self.end.blob.number,
            };
            block.record(Kind::Opening, |out| out.extend(to_json(&opening)));
        }
        block
    }

    fn write_index(&self, block: &mut BlockWriter, first: Version, events: &[Event]) -> IndexPlace {
        let mut blocks = self.segment.clone();
        blocks.push(BlockPlace { first, at: self.end.position });
        let table = Table { blocks, earlier: self.indexes.clone() };
        let mut window = self.window.clone();
        if window.len() == 0 {
            window = Window::from(first);
        }
        events.iter().for_each(|event| window.push(event.event_id));
        let (mut table_length, mut length) = (0, 0);
        let at = block.record(Kind::Index, |out| {
            let start = out.len();
            table_length = table.write(out);
            index::write_ids(&window, out);
            length = length_of(out.len() - start);
        });
        IndexPlace { at: self.end.position + at, length, table: table_length }
    }

    fn footer(
        &self,
        first: Version,
        base: Version,
        next: Version,
        recorded_at: Option<Timestamp>,
    ) -> Footer {
        let starts = self.end.position == 0;
        Footer {
            length: 0,
            at: self.end.position,
            blocks: self.end.blocks + 1,
            closed: false,
            moved: false,
            last_record: 0,
            index: self.end.index,
            base: Some(base),
            next,
            recorded_at,
            segment_at: if starts { 0 } else { self.end.segment_at },
            segment_first: if starts { first } else { self.end.segment_first },
        }
    }
}
