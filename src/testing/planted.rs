//! Planted bugs at the ports: a store and a document store that break their contract in one way
//! each, or in none. The conformance suite must find every one of them, or it is no suite.
//!
//! [`super::lying`] has the bugs that take a migration to show.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::backends::memory::MemoryStore;
use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::domain::{
    CloseEvent, Digest, Event, EventId, ExpectedVersion, Head, StreamHeader, StreamId,
};
use crate::store::judge::{self, AppendVerdict, CloseVerdict};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

/// A way to break the contract of an event store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreBug {
    /// The close succeeds at whatever head the stream has.
    CloseAtAnyHead,
    /// Ids are looked up before the append and not in it.
    IdsOutsideTheAppend,
    /// An `exact` append is judged by its position before its ids are looked at.
    PositionBeforeIds,
    /// An `any` append goes in behind the CloseEvent.
    AnyBehindTheClose,
    /// The CloseEvent takes a place, and the one behind it is free.
    PlaceBehindTheClose,
    /// A removed stream can be written again from its first place on.
    RemovalFreesThePlaces,
    /// A removed stream is gone altogether.
    RemovalFreesTheId,
    /// The events of a batch go in one after the other.
    BatchInPieces,
    /// Whoever knows the stream's id may write to it.
    AnyMaker,
    /// `recorded_at` is what the clock said.
    TimeFalls,
    /// An append is answered before it is durable.
    AnswerBeforeSync,
}

impl StoreBug {
    /// Those that a store shows while it runs.
    pub const WHILE_IT_RUNS: [Self; 10] = [
        Self::CloseAtAnyHead,
        Self::IdsOutsideTheAppend,
        Self::PositionBeforeIds,
        Self::AnyBehindTheClose,
        Self::PlaceBehindTheClose,
        Self::RemovalFreesThePlaces,
        Self::RemovalFreesTheId,
        Self::BatchInPieces,
        Self::AnyMaker,
        Self::TimeFalls,
    ];
}

/// An event store with one bug or none, on a disk that forgets at a crash what was not synced.
#[derive(Default)]
pub struct PlantedStore {
    bug: Option<StoreBug>,
    disk: Mutex<Disk>,
}

#[derive(Default)]
struct Disk {
    streams: HashMap<StreamId, Stream>,
    /// What would be there after a crash.
    synced: HashMap<StreamId, Stream>,
}

#[derive(Clone)]
struct Stream {
    tail: Tail,
    events: Vec<Event>,
}

impl Disk {
    fn stream(&mut self, stream: &StreamId) -> Result<&mut Stream, StoreError> {
        self.streams.get_mut(stream).ok_or(StoreError::NotFound)
    }

    fn sync(&mut self, stream: &StreamId) {
        match self.streams.get(stream) {
            Some(held) => self.synced.insert(stream.clone(), held.clone()),
            None => self.synced.remove(stream),
        };
    }
}

impl Stream {
    fn find(&self, id: EventId) -> Option<Found> {
        let place = self.events.iter().position(|event| event.event_id == id)?;
        let version = self.tail.base?.plus(place as u64);
        Some(Found { version, digest: self.events[place].digest })
    }

    fn append(&mut self, append: Append, bug: Option<StoreBug>) -> Result<Appended, StoreError> {
        let mut append = append;
        let mut tail = self.tail.clone();
        let behind_the_close =
            ExpectedVersion::Exact(tail.head.next()) == append.expected && tail.closed.is_some();
        match bug {
            Some(StoreBug::PositionBeforeIds) => append.expected.judge(tail.head)?,
            Some(StoreBug::AnyMaker) => append.made_by = tail.header.made_by,
            Some(StoreBug::AnyBehindTheClose) if append.expected == ExpectedVersion::Any => {
                tail.closed = None;
            }
            Some(StoreBug::PlaceBehindTheClose) if behind_the_close => {
                tail.closed = None;
                append.expected = ExpectedVersion::Any;
            }
            Some(StoreBug::RemovalFreesThePlaces) if tail.removed => {
                tail.closed = None;
                tail.head = Head::NONE;
            }
            Some(_) | None => {}
        }
        let knows_ids = bug != Some(StoreBug::IdsOutsideTheAppend);
        let find = |id| Ok(self.find(id).filter(|_| knows_ids));
        let (appended, base) = match judge::append(&tail, &append, find)? {
            AppendVerdict::Replay(appended) => return Ok(appended),
            AppendVerdict::Accept { appended, base } => (appended, base),
        };
        let mut events = append.events;
        let recorded_at = match bug {
            Some(StoreBug::TimeFalls) => events.last().map(|event| event.recorded_at),
            Some(_) | None => judge::raise_recorded_at(&mut events, tail.recorded_at),
        };
        self.events.extend(events);
        self.tail.append(base, appended.last, recorded_at);
        Ok(appended)
    }

    fn check_not_removed(&self) -> Result<(), StoreError> {
        match &self.tail.closed {
            Some(close) if self.tail.removed => {
                Err(StoreError::Gone { head: self.tail.head, close: Box::new(close.clone()) })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl PlantedStore {
    pub fn new(bug: Option<StoreBug>) -> Self {
        Self { bug, disk: Mutex::default() }
    }

    /// The machine loses power, and comes back.
    pub fn crash(&self) {
        let mut disk = self.disk();
        disk.streams = disk.synced.clone();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no holder panics")
    }

    /// One write as the disk sees it: done, synced, answered.
    fn write<T>(
        &self,
        stream: &StreamId,
        write: impl FnOnce(&mut Disk) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut disk = self.disk();
        let answer = write(&mut disk);
        if self.bug != Some(StoreBug::AnswerBeforeSync) {
            disk.sync(stream);
        }
        answer
    }

    fn append_at_once(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.write(stream, |disk| disk.stream(stream)?.append(append, self.bug))
    }

    /// The first answer, if all ids are there; looked up in a step of its own.
    fn look(&self, stream: &StreamId, append: &Append) -> Result<Option<Appended>, StoreError> {
        let mut disk = self.disk();
        let held = disk.stream(stream)?;
        let judged = judge::append(&held.tail, append, |id| Ok(held.find(id)));
        match judged {
            Ok(AppendVerdict::Replay(appended)) => Ok(Some(appended)),
            Err(error @ StoreError::DuplicateEventId { .. }) => Err(error),
            Ok(AppendVerdict::Accept { .. }) | Err(_) => Ok(None),
        }
    }

    async fn append_in_pieces(
        &self,
        stream: &StreamId,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let Append { made_by, base, mut expected, events } = append;
        let mut whole: Option<Appended> = None;
        for event in events {
            let piece = Append { made_by, base, expected, events: vec![event] };
            let Appended { first, last, replay } = self.append_at_once(stream, piece)?;
            expected = ExpectedVersion::Any;
            let begun = whole.map_or(first, |whole| whole.first);
            whole = Some(Appended { first: begun, last, replay });
            tokio::task::yield_now().await;
        }
        whole.ok_or_else(|| StoreError::Bug { detail: "an append without events".into() })
    }
}

#[async_trait]
impl EventStore for PlantedStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.write(stream, |disk| match disk.streams.get(stream) {
            Some(taken) => judge::create_again(&taken.tail, header),
            None => {
                let tail = Tail::of_new(header.clone());
                disk.streams.insert(stream.clone(), Stream { tail, events: Vec::new() });
                Ok(())
            }
        })
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.capabilities().limits.check(&append.events)?;
        match self.bug {
            Some(StoreBug::IdsOutsideTheAppend) => {
                if let Some(replay) = self.look(stream, &append)? {
                    return Ok(replay);
                }
                tokio::task::yield_now().await;
                self.append_at_once(stream, append)
            }
            Some(StoreBug::BatchInPieces) => self.append_in_pieces(stream, append).await,
            Some(_) | None => self.append_at_once(stream, append),
        }
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let mut disk = self.disk();
        let held = disk.stream(stream)?;
        held.check_not_removed()?;
        let base = held.tail.base.unwrap_or(range.from);
        let first = range.from.max(base);
        let skipped = usize::try_from(first.0 - base.0).unwrap_or(usize::MAX);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for event in held.events.iter().skip(skipped) {
            if !range.has_room(events.len(), bytes, event.size()) {
                break;
            }
            bytes += event.size();
            events.push(event.clone());
        }
        let (head, closed) = (held.tail.head, held.tail.closed.clone());
        Ok(Page { first, events, head, closed })
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        Ok(self.disk().stream(stream)?.tail.clone())
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let mut disk = self.disk();
        let held = disk.stream(stream)?;
        held.check_not_removed()?;
        Ok(ids.iter().map(|id| held.find(*id)).collect())
    }

    async fn close(&self, stream: &StreamId, mut close: Close) -> Result<CloseEvent, StoreError> {
        self.write(stream, |disk| {
            let held = disk.stream(stream)?;
            if self.bug == Some(StoreBug::CloseAtAnyHead) && held.tail.closed.is_none() {
                close.event.head = held.tail.head;
            }
            match judge::close(&held.tail, &close)? {
                CloseVerdict::Replay(stored) => Ok(stored),
                CloseVerdict::Accept { event, base } => {
                    held.tail.close(base, event.clone());
                    Ok(event)
                }
            }
        })
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.write(stream, |disk| {
            let held = disk.stream(stream)?;
            if held.tail.closed.is_none() {
                return Err(StoreError::NotClosed);
            }
            let events = std::mem::take(&mut held.events).len() as u64;
            held.tail.removed = true;
            if self.bug == Some(StoreBug::RemovalFreesTheId) {
                disk.streams.remove(stream);
            }
            Ok(Removed { events })
        })
    }

    fn capabilities(&self) -> Capabilities {
        MemoryStore::new().capabilities()
    }
}

/// A way to break the contract of a document store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentBug {
    /// Documents are overwritten, whatever they were changed to meanwhile.
    NoCompareAndSet,
    /// The precondition is looked at before the write and not in it.
    CheckThenPut,
    /// Equal bodies have equal etags.
    EtagOfTheBody,
    /// The last document of a page is the first of the next one as well.
    PagesOverlap,
}

impl DocumentBug {
    pub const ALL: [Self; 4] =
        [Self::NoCompareAndSet, Self::CheckThenPut, Self::EtagOfTheBody, Self::PagesOverlap];
}

/// A document store with one bug or none.
#[derive(Default)]
pub struct PlantedDocuments {
    bug: Option<DocumentBug>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    documents: BTreeMap<DocumentKey, Document>,
    etags_given: u64,
}

impl Kept {
    fn check(&self, key: &DocumentKey, precondition: &Precondition) -> Result<(), DocumentError> {
        let etag = self.documents.get(key).map(|document| &document.etag);
        let held = match precondition {
            Precondition::Absent => etag.is_none(),
            Precondition::Matches(expected) => etag == Some(expected),
        };
        if held { Ok(()) } else { Err(DocumentError::Conflict) }
    }
}

impl PlantedDocuments {
    pub fn new(bug: Option<DocumentBug>) -> Self {
        Self { bug, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder panics")
    }

    fn etag(&self, kept: &mut Kept, body: &Bytes) -> Etag {
        if self.bug == Some(DocumentBug::EtagOfTheBody) {
            let mut event = super::builders::event(0);
            event.payload = body.clone();
            return Etag(Digest::of(&event).to_string());
        }
        kept.etags_given += 1;
        Etag(kept.etags_given.to_string())
    }
}

#[async_trait]
impl DocumentStore for PlantedDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        Ok(self.kept().documents.get(key).cloned())
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        if self.bug == Some(DocumentBug::CheckThenPut) {
            self.kept().check(key, &precondition)?;
            tokio::task::yield_now().await;
        }
        let mut kept = self.kept();
        match self.bug {
            Some(DocumentBug::NoCompareAndSet | DocumentBug::CheckThenPut) => {}
            Some(DocumentBug::EtagOfTheBody | DocumentBug::PagesOverlap) | None => {
                kept.check(key, &precondition)?;
            }
        }
        let etag = self.etag(&mut kept, &body);
        let document = Document { key: key.clone(), etag: etag.clone(), body };
        kept.documents.insert(key.clone(), document);
        Ok(etag)
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let overlaps = self.bug == Some(DocumentBug::PagesOverlap) && limit > 1;
        let kept = self.kept();
        let found = kept.documents.values().filter(|document| {
            let comes = after.is_none_or(|after| match overlaps {
                true => document.key >= *after,
                false => document.key > *after,
            });
            comes && document.key.as_str().starts_with(prefix.as_str())
        });
        let mut documents: Vec<Document> = found.take(limit + 1).cloned().collect();
        let more = documents.len() > limit;
        documents.truncate(limit);
        let next = documents.last().filter(|_| more).map(|last| last.key.clone());
        Ok(ListedDocuments { documents, next })
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        let mut kept = self.kept();
        kept.check(key, &Precondition::Matches(etag.clone()))?;
        kept.documents.remove(key);
        Ok(())
    }
}
