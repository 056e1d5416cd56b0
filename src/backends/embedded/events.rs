//! The port EventStore: reads go to the engine, writes to the committer.
//!
//! A short read runs on the calling task: warm, it takes microseconds, and a hop to another thread
//! would cost more than the read. A long one goes to the runtime's blocking threads, for a page of
//! a thousand events is half a millisecond of work, and more when it comes from disk. So does the
//! preparation of a long append.

use std::sync::Arc;

use async_trait::async_trait;

use super::EmbeddedStore;
use super::engine::Engine;
use super::error::ReadError;
use super::heads::Head;
use super::layout::{self, EventRecord};
use super::request::{Prepared, Request};
use crate::domain::{self, CloseEvent, EventId, StreamHeader, StreamId, Version};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

/// Events that are worth a hop to a blocking thread.
const LONG_EVENTS: u64 = 256;

#[async_trait]
impl EventStore for EmbeddedStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let (stream, header) = (stream.clone(), header.clone());
        let bytes = 2 * stream.as_str().len() + 1_024;
        self.ask(bytes, |answer| Request::Create { stream, header, answer }).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.options.limits.check(&append.events)?;
        let head = existing(&self.engine, stream)?;
        let prepared = if append.events.len() as u64 > LONG_EVENTS {
            let engine = Arc::clone(&self.engine);
            long(move || prepare(&engine, &head, append)).await?
        } else {
            prepare(&self.engine, &head, append)?
        };
        let bytes = prepared.records.iter().map(EventRecord::len).sum();
        let stream = stream.clone();
        self.ask(bytes, |answer| Request::Append { stream, prepared, answer }).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let head = existing(&self.engine, stream)?;
        let read = PageRead::of(stream, &head, range)?;
        if read.last_offset() >= LONG_EVENTS {
            let engine = Arc::clone(&self.engine);
            return long(move || read.run(&engine)).await;
        }
        read.run(&self.engine)
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        Ok(existing(&self.engine, stream)?.tail.clone())
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let head = existing(&self.engine, stream)?;
        check_not_removed(&head)?;
        let found: Result<Vec<Option<Found>>, ReadError> =
            ids.iter().map(|id| self.engine.find(head.number, *id)).collect();
        found.map_err(|error| gone_or(&self.engine, stream, error))
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let stream = stream.clone();
        self.ask(2_048, |answer| Request::Close { stream, close, answer }).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let stream = stream.clone();
        self.ask(2_048, |answer| Request::Remove { stream, answer }).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "embedded",
            limits: self.options.limits,
            condition: "one committer thread",
            event_id_window: None,
            durable: true,
            poll_interval: None,
        }
    }
}

/// Runs on a blocking thread. Nobody stops it midway, so it is for work that ends by itself.
async fn long<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Bug { detail: error.to_string() }))
}

fn existing(engine: &Engine, stream: &StreamId) -> Result<Arc<Head>, StoreError> {
    engine.head(stream)?.ok_or(StoreError::NotFound)
}

/// Everything about an append that needs no order among appends: it is done by whoever asks, so
/// that the committer is left with what only it can do.
fn prepare(engine: &Engine, head: &Head, append: Append) -> Result<Prepared, StoreError> {
    let mut unseen = true;
    if head.tail.event_count() > 0 && !head.tail.removed {
        for event in &append.events {
            if engine.holds(head.number, event.event_id).map_err(StoreError::from)? {
                unseen = false;
                break;
            }
        }
    }
    let records = append.events.iter().map(EventRecord::of).collect();
    Ok(Prepared { append, records, unseen_at: unseen.then_some(head.tail.head) })
}

fn check_not_removed(head: &Head) -> Result<(), StoreError> {
    match &head.tail.closed {
        Some(close) if head.tail.removed => {
            Err(StoreError::Gone { head: head.tail.head, close: Box::new(close.clone()) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Records that were missing: the stream was removed meanwhile, or is damaged.
fn gone_or(engine: &Engine, stream: &StreamId, error: ReadError) -> StoreError {
    match engine.load_head(stream) {
        Ok(Some(head)) => check_not_removed(&head).err().unwrap_or_else(|| error.into()),
        Ok(None) | Err(_) => error.into(),
    }
}

/// A page that is about to be read: the end is fixed before the first event is looked at, and
/// every event up to it is there.
struct PageRead {
    stream: StreamId,
    number: u64,
    range: ReadRange,
    /// The first version that there is.
    from: Version,
    head: domain::Head,
    closed: Option<CloseEvent>,
}

impl PageRead {
    fn of(stream: &StreamId, head: &Head, range: ReadRange) -> Result<Self, StoreError> {
        check_not_removed(head)?;
        let Tail { base, head: end, closed, .. } = &head.tail;
        Ok(Self {
            stream: stream.clone(),
            number: head.number,
            range,
            from: base.map_or(range.from, |base| range.from.max(base)),
            head: *end,
            closed: closed.clone(),
        })
    }

    /// How far behind the first version the page may reach.
    fn last_offset(&self) -> u64 {
        let left = self.head.next().0.saturating_sub(self.from.0);
        left.min(self.range.events_max as u64).saturating_sub(1)
    }

    fn run(self, engine: &Engine) -> Result<Page, StoreError> {
        let mut events = Vec::new();
        if self.from < self.head.next() {
            let read = self.read_events(engine, &mut events);
            read.map_err(|error| gone_or(engine, &self.stream, error))?;
        }
        Ok(Page { first: self.from, events, head: self.head, closed: self.closed })
    }

    fn read_events(
        &self,
        engine: &Engine,
        events: &mut Vec<domain::Event>,
    ) -> Result<(), ReadError> {
        let last = self.from.plus(self.last_offset());
        events.reserve(usize::try_from(self.last_offset() + 1).unwrap_or(0).min(1_024));
        let (mut next, mut bytes) = (self.from, 0);
        let keys = layout::event_key(self.number, self.from)..=layout::event_key(self.number, last);
        for entry in engine.records.range(keys) {
            let (key, value) = entry.into_inner()?;
            // Invariant 1: no version is missing.
            if layout::version_of(&key) != Some(next) {
                break;
            }
            let event = EventRecord::read(&key, value)?;
            let size = event.size();
            if !events.is_empty() && bytes + size > self.range.bytes_max {
                return Ok(());
            }
            bytes += size;
            events.push(event);
            next = next.next();
        }
        if next <= last {
            let problem = format!("version {next} of stream {} is missing", self.stream);
            return Err(ReadError::Missing(problem));
        }
        Ok(())
    }
}
