//! One commit in the making: each request is judged on the heads as the requests before it in
//! the same commit leave them, and its writes are collected.
//!
//! Nothing here is visible or durable before [`Batch::commit`]. A request that is refused, or
//! meets an error, has written nothing: it is judged first, and written when nothing can fail.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use fjall::OwnedWriteBatch;

use super::engine::Engine;
use super::error::ReadError;
use super::heads::Head;
use super::layout::{self, Commit, EndRecord, HeaderRecord, Record};
use super::purge::{Purge, Purges};
use super::request::{Prepared, Reply, Request, Settled};
use crate::documents::{DocumentError, DocumentKey, Etag, Precondition};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::store::judge::{self, AppendVerdict, CloseVerdict};
use crate::store::{Appended, Close, Found, Removed, StoreError, Tail};

pub(super) struct Batch<'a> {
    engine: &'a Engine,
    writes: Writes<'a>,
    sequence: u64,
    next_stream: u64,
    before: Commit,
    /// Streams that this commit touched or read, as it leaves them.
    heads: HashMap<StreamId, Head>,
    /// Events that this commit appends.
    ids: HashMap<(u64, EventId), Found>,
    /// Documents that this commit touched or read, by their etags.
    documents: HashMap<DocumentKey, Option<u64>>,
    etags: u64,
    events: u64,
    settled: Vec<Settled>,
}

/// Records on their way into the engine, and the checksum over them.
struct Writes<'a> {
    engine: &'a Engine,
    batch: OwnedWriteBatch,
    checksum: crc32fast::Hasher,
}

impl Writes<'_> {
    fn put<K: AsRef<[u8]> + Into<fjall::UserKey>>(&mut self, key: K, record: Record) {
        let (checksum, value) = record.seal(key.as_ref());
        self.checksum.update(&checksum.to_be_bytes());
        self.batch.insert(&self.engine.records, key, value);
    }

    fn remove<K: AsRef<[u8]> + Into<fjall::UserKey>>(&mut self, key: K) {
        let checksum = layout::checksum(key.as_ref(), &[]);
        self.checksum.update(&checksum.to_be_bytes());
        self.batch.remove(&self.engine.records, key);
    }
}

impl<'a> Batch<'a> {
    pub(super) fn after(before: Commit, engine: &'a Engine, requests: usize) -> Self {
        let writes = Writes {
            engine,
            batch: engine.writes(2 * requests + 1),
            checksum: crc32fast::Hasher::new(),
        };
        Self {
            engine,
            writes,
            sequence: before.sequence + 1,
            next_stream: before.next_stream,
            before,
            heads: HashMap::with_capacity(requests),
            ids: HashMap::with_capacity(requests),
            documents: HashMap::new(),
            etags: 0,
            events: 0,
            settled: Vec::with_capacity(requests),
        }
    }

    pub(super) fn judge(&mut self, request: Request, purges: &mut Purges) {
        let settled = match request {
            Request::Create { stream, header, answer } => {
                let result = self.create(stream, header);
                Settled::Created(Reply { answer, result })
            }
            Request::Append { stream, prepared, answer } => {
                let result = self.append(&stream, prepared);
                Settled::Appended(Reply { answer, result })
            }
            Request::Close { stream, close, answer } => {
                let result = self.close(&stream, &close);
                Settled::Closed(Reply { answer, result })
            }
            Request::Remove { stream, answer } => {
                let result = match self.remove(&stream, purges) {
                    Ok((removed, Some(purge))) => return purge.answer_to(answer, removed),
                    Ok((removed, None)) => Ok(removed),
                    Err(error) => Err(error),
                };
                Settled::Removed(Reply { answer, result })
            }
            Request::Put { key, body, held, answer } => {
                let result = self.put_document(key, &body, &held);
                Settled::Put(Reply { answer, result })
            }
            Request::Delete { key, etag, answer } => {
                let result = self.delete_document(key, etag);
                Settled::Deleted(Reply { answer, result })
            }
        };
        self.settled.push(settled);
    }

    fn create(&mut self, stream: StreamId, header: StreamHeader) -> Result<(), StoreError> {
        if let Some(taken) = head_of(self.engine, &mut self.heads, &stream)? {
            return judge::create_again(&taken.tail, &header);
        }
        let number = self.next_stream;
        self.next_stream += 1;
        let key = layout::header_key(&stream);
        self.writes.put(key, HeaderRecord::record(number, header.clone()));
        self.heads.insert(stream, Head { number, tail: Tail::of_new(header) });
        Ok(())
    }

    fn append(&mut self, stream: &StreamId, prepared: Prepared) -> Result<Appended, StoreError> {
        let Prepared { mut append, records, unseen_at } = prepared;
        let (engine, ids) = (self.engine, &self.ids);
        let head = head_of(engine, &mut self.heads, stream)?.ok_or(StoreError::NotFound)?;
        let number = head.number;
        // Invariant 8: while the head is where it was when the ids were looked up, nothing was
        // appended since, and what was not there then is not there now.
        let unseen = unseen_at == Some(head.tail.head);
        let verdict = judge::append(&head.tail, &append, |id| {
            if unseen {
                return Ok(None);
            }
            match ids.get(&(number, id)) {
                Some(found) => Ok(Some(*found)),
                None => Ok(engine.find(number, id)?),
            }
        })?;
        let (appended, base) = match verdict {
            AppendVerdict::Replay(appended) => return Ok(appended),
            AppendVerdict::Accept { appended, base } => (appended, base),
        };
        let last = judge::raise_recorded_at(&mut append.events, head.tail.recorded_at);
        head.tail.append(base, appended.last, last);
        self.events += records.len() as u64;
        let mut version = appended.first;
        for (event, record) in append.events.iter().zip(records) {
            let record = record.at(event.recorded_at);
            self.writes.put(layout::event_key(number, version), record);
            let key = layout::event_id_key(number, event.event_id);
            self.writes.put(key, layout::event_id_record(version));
            self.ids.insert((number, event.event_id), Found { version, digest: event.digest });
            version = version.next();
        }
        Ok(appended)
    }

    fn close(&mut self, stream: &StreamId, close: &Close) -> Result<CloseEvent, StoreError> {
        let head = head_of(self.engine, &mut self.heads, stream)?.ok_or(StoreError::NotFound)?;
        match judge::close(&head.tail, close)? {
            CloseVerdict::Replay(stored) => Ok(stored),
            CloseVerdict::Accept { event, base } => {
                head.tail.close(base, event.clone());
                let record = EndRecord::record(event.clone(), base, head.tail.recorded_at, false);
                self.writes.put(layout::end_key(head.number), record);
                Ok(event)
            }
        }
    }

    /// Marks the stream as removed; its events are deleted bit by bit, and the answer waits for
    /// that purge. Readers see the mark first, so none takes a half-deleted stream for a damaged
    /// one.
    fn remove<'p>(
        &mut self,
        stream: &StreamId,
        purges: &'p mut Purges,
    ) -> Result<(Removed, Option<&'p mut Purge>), StoreError> {
        let head = head_of(self.engine, &mut self.heads, stream)?.ok_or(StoreError::NotFound)?;
        let number = head.number;
        if head.tail.removed {
            return Ok((Removed { events: 0 }, purges.of(number)));
        }
        let (Some(close), Some(base)) = (head.tail.closed.clone(), head.tail.base) else {
            return Err(StoreError::NotClosed);
        };
        head.tail.removed = true;
        let removed = Removed { events: head.tail.event_count() };
        let record = EndRecord::record(close, base, head.tail.recorded_at, true);
        self.writes.put(layout::end_key(number), record);
        self.writes.put(layout::purge_key(number), layout::purge_record());
        Ok((removed, Some(purges.begin(number))))
    }

    /// Deletes the next events of a removed stream.
    pub(super) fn purge(&mut self, purges: &mut Purges) {
        let Some(purge) = purges.next() else {
            return;
        };
        match purge.step(&self.engine.records) {
            Ok(keys) if keys.is_empty() => {
                self.writes.remove(layout::purge_key(purge.number()));
                self.settled.extend(purges.end());
            }
            Ok(keys) => keys.into_iter().for_each(|key| self.writes.remove(key)),
            // The stream stays removed; the next opening tries again.
            Err(error) => self.settled.extend(purges.fail(&error)),
        }
    }

    fn put_document(
        &mut self,
        key: DocumentKey,
        body: &[u8],
        held: &Precondition,
    ) -> Result<Etag, DocumentError> {
        self.check_document(&key, held)?;
        self.etags += 1;
        // Never the same for two states: the sequence only grows, and a commit has fewer writes.
        let etag = (self.sequence << 16) + self.etags;
        self.writes.put(layout::document_key(&key), layout::document_record(etag, body));
        self.documents.insert(key, Some(etag));
        Ok(Etag(etag.to_string()))
    }

    fn delete_document(&mut self, key: DocumentKey, etag: Etag) -> Result<(), DocumentError> {
        self.check_document(&key, &Precondition::Matches(etag))?;
        self.writes.remove(layout::document_key(&key));
        self.documents.insert(key, None);
        Ok(())
    }

    fn check_document(
        &mut self,
        key: &DocumentKey,
        held: &Precondition,
    ) -> Result<(), DocumentError> {
        let current = match self.documents.get(key) {
            Some(current) => *current,
            None => {
                let stored = self.engine.document(key);
                let stored = stored.map_err(|error| error.of_document(key.as_str()))?;
                let current = stored.map(|(etag, _)| etag);
                self.documents.insert(key.clone(), current);
                current
            }
        };
        let holds = match (held, current) {
            (Precondition::Absent, current) => current.is_none(),
            (Precondition::Matches(Etag(expected)), Some(etag)) => *expected == etag.to_string(),
            (Precondition::Matches(_), None) => false,
        };
        if holds { Ok(()) } else { Err(DocumentError::Conflict) }
    }

    /// Makes the writes durable. Answers the commit, and what is to be told and shown after it.
    pub(super) fn commit(self) -> (Result<Commit, fjall::Error>, Outcome) {
        let Writes { engine, mut batch, checksum } = self.writes;
        let outcome = Outcome { heads: self.heads, events: self.events, settled: self.settled };
        if batch.is_empty() {
            return (Ok(self.before), outcome);
        }
        let records = checksum.finalize();
        let commit = Commit {
            sequence: self.sequence,
            records,
            chain: self.before.chain_to(self.sequence, records),
            next_stream: self.next_stream,
        };
        let key = layout::commit_key(commit.sequence);
        let (_, value) = commit.record().seal(&key);
        batch.insert(&engine.records, key, value);
        (batch.commit().map(|()| commit), outcome)
    }

    /// Takes what is to be told before anything is durable: the planted bug.
    #[cfg(feature = "testing")]
    pub(super) fn tell_too_early(&mut self) {
        self.settled.drain(..).for_each(Settled::tell);
    }
}

/// What a commit changed in the eyes of readers, and whom it answers.
pub(super) struct Outcome {
    pub(super) heads: HashMap<StreamId, Head>,
    pub(super) events: u64,
    pub(super) settled: Vec<Settled>,
}

/// The stream as this commit leaves it so far; read from the engine the first time.
fn head_of<'h>(
    engine: &Engine,
    heads: &'h mut HashMap<StreamId, Head>,
    stream: &StreamId,
) -> Result<Option<&'h mut Head>, ReadError> {
    match heads.entry(stream.clone()) {
        Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
        Entry::Vacant(entry) => match engine.head(stream)? {
            Some(head) => Ok(Some(entry.insert(Head::clone(&head)))),
            None => Ok(None),
        },
    }
}
