//! How a block is appended: one conditional request, and the truth about it whatever the answer.
//!
//! The condition is the exact byte position, so that of all who know a position one wins. An
//! answer that says *lost*, and one that never came, are both checked against what now stands at
//! that position: it may be this very block.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::MutexGuard;

use super::AzureBlobStore;
use super::end::{End, LOOKS_MAX};
use super::error::CallError;
use super::index;
use super::layout::{FOOTER, Footer, Walk};
use super::names::BlobName;
use super::streams::Entry;
use super::window::Window;
use super::writer::Writer;
use crate::domain::{CloseEvent, EventId, StreamId, Version};
use crate::store::judge::{self, AppendVerdict, CloseVerdict};
use crate::store::{Append, Appended, Close, Found, StoreError};

/// Rounds that one call loses against others before it is given up, certainly not done.
const ROUNDS_MAX: u32 = 32;
/// Bytes of new blocks that are read at once.
const CATCH_UP_BYTES: u64 = 1024 * 1024;
/// A writer that is further behind starts over from an index.
const CATCH_UP_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A writer whose turn it is.
pub(super) struct Turn<'a> {
    store: &'a AzureBlobStore,
    stream: &'a StreamId,
    entry: &'a Arc<Entry>,
    writer: MutexGuard<'a, Option<Writer>>,
    /// What the writer knows was looked at since the call began. Only then is anything refused.
    is_fresh: bool,
    /// A blob that was made for the stream to go on in, and that no block names yet.
    spare: Option<BlobName>,
}

/// What became of a block.
enum Written {
    Done,
    /// Another block stands there. This one never will.
    Lost,
}

impl AzureBlobStore {
    pub(super) async fn turn<'a>(
        &'a self,
        stream: &'a StreamId,
        entry: &'a Arc<Entry>,
    ) -> Result<Turn<'a>, StoreError> {
        let writer = entry.turn.lock().await;
        let mut turn = Turn { store: self, stream, entry, writer, is_fresh: false, spare: None };
        if turn.writer.is_none() {
            turn.start_over().await?;
        }
        Ok(turn)
    }
}

impl Turn<'_> {
    fn end(&self) -> &End {
        &self.writer().end
    }

    fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("a turn begins with a writer and replaces it whole")
    }

    fn writer_mut(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("a turn begins with a writer and replaces it whole")
    }

    pub(super) async fn append(mut self, append: Append) -> Result<Appended, StoreError> {
        let appended = self.append_in_rounds(append).await;
        self.discard_spare().await;
        appended
    }

    async fn append_in_rounds(&mut self, append: Append) -> Result<Appended, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let known = self.find(append.events.iter().map(|event| event.event_id));
            // Invariant 8: the ids are looked up to the very position at which the append lands.
            if !known.is_empty() && !self.is_fresh {
                self.catch_up(None).await?;
                continue;
            }
            let found = match self.digests(&known).await {
                Ok(found) => found,
                // A blob that was there goes only with its stream.
                Err(CallErrorOr::Call(CallError::Missing)) => {
                    self.start_over().await?;
                    continue;
                }
                Err(error) => return Err(error.of_read()),
            };
            let tail = &self.end().tail;
            let verdict = judge::append(tail, &append, |id| Ok(found.get(&id).copied()));
            let (appended, base) = match verdict {
                Ok(AppendVerdict::Replay(appended)) => return Ok(appended),
                Ok(AppendVerdict::Accept { appended, base }) => (appended, base),
                Err(refusal) if self.is_fresh => return Err(refusal),
                Err(_) => {
                    self.catch_up(None).await?;
                    continue;
                }
            };
            let mut events = append.events.clone();
            judge::raise_recorded_at(&mut events, tail.recorded_at);
            let is_last = self.prepare_next_blob(appended.last.next()).await?;
            let (next, options) = (self.spare.as_ref().filter(|_| is_last), &self.store.options);
            let block = self.writer().events_block(appended, base, &events, next, options);
            if let Written::Done = self.write(block).await? {
                return Ok(appended);
            }
        }
        Err(StoreError::Contended { attempts: ROUNDS_MAX })
    }

    pub(super) async fn close(mut self, close: Close) -> Result<CloseEvent, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let verdict = judge::close(&self.end().tail, &close);
            let (event, base) = match verdict {
                Ok(CloseVerdict::Replay(stored)) => return Ok(stored),
                Ok(CloseVerdict::Accept { event, base }) => (event, base),
                Err(refusal) if self.is_fresh => return Err(refusal),
                Err(_) => {
                    self.catch_up(None).await?;
                    continue;
                }
            };
            let block = self.writer().close_block(base, &event);
            if let Written::Done = self.write(block).await? {
                return Ok(event);
            }
        }
        Err(StoreError::Contended { attempts: ROUNDS_MAX })
    }

    /// Where the stream holds these ids now.
    pub(super) async fn look_up(
        mut self,
        ids: &[EventId],
    ) -> Result<(Vec<(EventId, Version)>, End), StoreError> {
        if !self.is_fresh {
            self.catch_up(None).await?;
        }
        let known = self.find(ids.iter().copied());
        Ok((known, self.end().clone()))
    }

    /// The ids that are known. On a removed stream nothing is looked up.
    fn find(&self, ids: impl Iterator<Item = EventId>) -> Vec<(EventId, Version)> {
        if self.end().tail.removed {
            return Vec::new();
        }
        let window = &self.writer().window;
        ids.filter_map(|id| Some((id, window.find(id)?))).collect()
    }

    async fn digests(
        &self,
        known: &[(EventId, Version)],
    ) -> Result<HashMap<EventId, Found>, CallErrorOr> {
        if known.is_empty() {
            return Ok(HashMap::new());
        }
        self.store.digests(self.stream, self.end(), known).await
    }

    /// Whether the newest blob is full, so that the stream goes on in another behind this append.
    /// That is there before a block names it, so that the stream can be written at every moment.
    async fn prepare_next_blob(&mut self, first: Version) -> Result<bool, StoreError> {
        if !self.writer().is_full(&self.store.options) {
            return Ok(false);
        }
        let number = self.end().blob.number + 1;
        let fits = |spare: &BlobName| spare.number == number && spare.first == first;
        if !self.spare.as_ref().is_some_and(fits) {
            self.discard_spare().await;
            let name = BlobName::new(number, first, &*self.store.runtime.entropy);
            let path = self.store.path(self.stream, &name);
            // Not the write itself: whatever becomes of it, the append was not done.
            self.store.container.create(&path).await.map_err(CallError::of_read)?;
            self.spare = Some(name);
        }
        Ok(true)
    }

    /// Deletes a blob that no block names. One that stays takes no room and does no harm.
    async fn discard_spare(&mut self) {
        if let Some(spare) = self.spare.take()
            && self.end().blob != spare
            && !self.end().full.iter().any(|blob| blob.name == spare)
        {
            let path = self.store.path(self.stream, &spare);
            let _ = self.store.container.delete(&path, None).await;
        }
    }

    async fn write(&mut self, block: Bytes) -> Result<Written, StoreError> {
        let position = self.end().position;
        let path = self.store.path(self.stream, &self.end().blob);
        match self.store.container.append(&path, position, block.clone()).await {
            Ok(()) => {
                self.take_own(position, block)?;
                Ok(Written::Done)
            }
            Err(CallError::Condition | CallError::Missing) => {
                let mine = self.catch_up(Some(&block)).await?;
                Ok(if mine { Written::Done } else { Written::Lost })
            }
            Err(unknown @ CallError::Unknown { .. }) => {
                // Invariant 8: only what stands at the position proves anything. A blob that is
                // gone proves nothing: the block may have stood in it.
                match self.stands_at(&path, position, &block).await {
                    Some(true) => {
                        self.take_own(position, block)?;
                        Ok(Written::Done)
                    }
                    Some(false) => {
                        self.catch_up(None).await?;
                        Ok(Written::Lost)
                    }
                    None => {
                        self.spare = None;
                        Err(unknown.of_write())
                    }
                }
            }
            Err(error) => Err(error.of_write()),
        }
    }

    /// Whether this very block stands at this position; none if nothing can be seen there.
    async fn stands_at(&self, path: &str, position: u64, block: &Bytes) -> Option<bool> {
        let range = position..position + block.len() as u64;
        let part = self.store.container.get(path, range).await.ok()?;
        (part.total > position).then(|| part.bytes.starts_with(block))
    }

    /// Takes note of a block that was written at the end.
    fn take_own(&mut self, position: u64, block: Bytes) -> Result<(), StoreError> {
        let mut walk = Walk::from(position, block);
        while let Some(block) = walk.block()? {
            self.writer_mut().take(&block)?;
        }
        self.publish();
        Ok(())
    }

    /// Shows what this writer knows to the readers of this process.
    fn publish(&self) {
        let writer = self.writer();
        if let Some(place) = writer.newest_block() {
            self.entry.saw_block(&writer.end.blob, place);
        }
        self.entry.saw(writer.end.clone());
        self.store.streams.weigh(self.stream, self.entry, writer.window.len());
    }

    /// Reads what was appended since this writer looked. Says whether `mine` was the first of it.
    async fn catch_up(&mut self, mine: Option<&Bytes>) -> Result<bool, StoreError> {
        let mut mine_is_there = false;
        let mut is_first = true;
        loop {
            let End { position, blob, .. } = self.end();
            let (position, path) = (*position, self.store.path(self.stream, blob));
            if self.end().tail.removed {
                break;
            }
            let start = position.saturating_sub(FOOTER as u64);
            let read = match position {
                0 => match self.store.container.size(&path).await {
                    Ok(0) => break,
                    Ok(size) if size > CATCH_UP_BYTES_MAX => {
                        self.start_over().await?;
                        break;
                    }
                    Ok(size) => self.store.container.get(&path, 0..size).await,
                    Err(error) => Err(error),
                },
                _ => self.store.container.get(&path, start..position + CATCH_UP_BYTES).await,
            };
            let part = match read {
                Ok(part) => part,
                // A blob that was there goes only with its stream.
                Err(CallError::Missing) => {
                    self.start_over().await?;
                    break;
                }
                Err(error) => return Err(error.of_read()),
            };
            if part.total == position {
                break;
            }
            if part.total - position > CATCH_UP_BYTES_MAX {
                mine_is_there |= is_first && self.starts_with(mine, position, &part.bytes, start);
                self.start_over().await?;
                break;
            }
            let seen = usize::try_from(position - start).expect("a footer is short");
            let mut walk = Walk::from(position, part.bytes.slice(seen..));
            if walk.end() < part.total {
                let rest = self.store.container.get(&path, walk.end()..part.total).await;
                walk.push(rest.map_err(CallError::of_read)?.bytes);
            }
            while let Some(block) = walk.block()? {
                if is_first && mine.is_some_and(|mine| *mine == block.bytes) {
                    mine_is_there = true;
                }
                is_first = false;
                self.writer_mut().take(&block)?;
            }
            if self.end().position != 0 {
                break;
            }
        }
        self.is_fresh = true;
        self.publish();
        Ok(mine_is_there)
    }

    fn starts_with(&self, mine: Option<&Bytes>, position: u64, bytes: &Bytes, start: u64) -> bool {
        let seen = usize::try_from(position - start).expect("a footer is short");
        mine.is_some_and(|mine| bytes[seen..].starts_with(mine))
    }

    /// Finds the stream anew and reads what a writer must know of it.
    async fn start_over(&mut self) -> Result<(), StoreError> {
        // Order: what was known stays until the new is there, also when the look fails.
        let writer = self.store.load_writer(self.stream).await?;
        *self.writer = Some(writer);
        self.is_fresh = true;
        self.publish();
        Ok(())
    }
}

impl AzureBlobStore {
    /// What a writer must know, from the service.
    async fn load_writer(&self, stream: &StreamId) -> Result<Writer, StoreError> {
        for _ in 0..LOOKS_MAX {
            let end = self.find_end(stream).await?;
            match self.load_writer_at(stream, end).await {
                Ok(writer) => return Ok(writer),
                // It was removed under this look.
                Err(CallErrorOr::Call(CallError::Missing)) => {}
                Err(CallErrorOr::Call(error)) => return Err(error.of_read()),
                Err(CallErrorOr::Store(error)) => return Err(error),
            }
        }
        Err(StoreError::Corrupt { detail: format!("blobs of stream {stream} are missing") })
    }

    async fn load_writer_at(&self, stream: &StreamId, end: End) -> Result<Writer, CallErrorOr> {
        let path = self.path(stream, &end.blob);
        if end.tail.removed {
            return Ok(Writer::at_start(end, Window::default()));
        }
        if end.position == 0 {
            let Some(full) = end.full.last() else {
                let window = Window::from(end.tail.base.unwrap_or_default());
                return Ok(Writer::at_start(end, window));
            };
            let path = self.path(stream, &full.name);
            let place = self.last_index(&path, full.size).await?;
            let index = self.container.get(&path, place.at..place.at + u64::from(place.length));
            let (_, window) = index::read(&index.await?.bytes, place.table)?;
            return Ok(Writer::at_start(end, window));
        }
        let from = end.index.map_or(0, |place| place.at);
        let bytes = self.container.get(&path, from..end.position).await?.bytes;
        let mut writer = match end.index {
            None => Writer::at_start(end.clone(), Window::default()),
            Some(place) => {
                let body = bytes.slice(..bytes.len().min(place.length as usize));
                Writer::behind_index(end.clone(), place, &body)?
            }
        };
        let behind = usize::try_from(end.segment_at - from).unwrap_or(usize::MAX);
        let mut walk = Walk::from(end.segment_at, bytes.slice(bytes.len().min(behind)..));
        while let Some(block) = walk.block()? {
            writer.remember(&block)?;
        }
        Ok(writer)
    }

    /// Where the last index lies of a blob that is full.
    pub(super) async fn last_index(
        &self,
        path: &str,
        size: u64,
    ) -> Result<super::layout::IndexPlace, CallErrorOr> {
        if let Some(place) = self.last_indexes.get(path) {
            return Ok(place);
        }
        let footer = self.container.get(path, size.saturating_sub(FOOTER as u64)..size).await?;
        let place = Footer::read(&footer.bytes)?.index;
        let place = place.ok_or_else(|| StoreError::Corrupt {
            detail: format!("{path} is full and has no index"),
        })?;
        self.last_indexes.insert(path.to_owned(), place);
        Ok(place)
    }
}

/// A request that failed, or what it brought was wrong.
pub(super) enum CallErrorOr {
    Call(CallError),
    Store(StoreError),
}

impl From<CallError> for CallErrorOr {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<StoreError> for CallErrorOr {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<super::layout::BadBlock> for CallErrorOr {
    fn from(bad: super::layout::BadBlock) -> Self {
        Self::Store(bad.into())
    }
}
