//! Streams as vectors of events, each with an index of its ids.

use std::collections::HashMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::{CloseEvent, Event, EventId, StreamHeader, StreamId, Version};
use crate::store::judge::{self, AppendVerdict, CloseVerdict};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

#[derive(Default)]
pub(super) struct Streams {
    streams: HashMap<StreamId, Stream>,
}

struct Stream {
    tail: Tail,
    /// From the base to the head; empty once removed.
    events: Vec<Event>,
    versions: HashMap<EventId, Version>,
}

impl Streams {
    fn get(&self, stream: &StreamId) -> Result<&Stream, StoreError> {
        self.streams.get(stream).ok_or(StoreError::NotFound)
    }

    fn get_mut(&mut self, stream: &StreamId) -> Result<&mut Stream, StoreError> {
        self.streams.get_mut(stream).ok_or(StoreError::NotFound)
    }
}

impl Stream {
    fn of_new(header: StreamHeader) -> Self {
        Self { tail: Tail::of_new(header), events: Vec::new(), versions: HashMap::new() }
    }

    fn append(&mut self, append: Append) -> Result<Appended, StoreError> {
        let verdict = judge::append(&self.tail, &append, |id| Ok(self.find(id)))?;
        let (appended, base) = match verdict {
            AppendVerdict::Replay(appended) => return Ok(appended),
            AppendVerdict::Accept { appended, base } => (appended, base),
        };
        let mut events = append.events;
        let recorded_at = judge::raise_recorded_at(&mut events, self.tail.recorded_at);
        for (offset, event) in (0..).zip(events) {
            self.versions.insert(event.event_id, appended.first.plus(offset));
            self.events.push(event);
        }
        self.tail.append(base, appended.last, recorded_at);
        Ok(appended)
    }

    fn find(&self, id: EventId) -> Option<Found> {
        let version = *self.versions.get(&id)?;
        let digest = self.event(version)?.digest;
        Some(Found { version, digest })
    }

    fn event(&self, version: Version) -> Option<&Event> {
        let index = version.0.checked_sub(self.tail.base?.0)?;
        self.events.get(usize::try_from(index).ok()?)
    }

    fn check_not_removed(&self) -> Result<(), StoreError> {
        match &self.tail.closed {
            Some(close) if self.tail.removed => {
                Err(StoreError::Gone { head: self.tail.head, close: Box::new(close.clone()) })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn read(&self, range: ReadRange) -> Result<Page, StoreError> {
        self.check_not_removed()?;
        let from = self.tail.base.map_or(range.from, |base| range.from.max(base));
        let mut page = Page {
            first: from,
            events: Vec::new(),
            head: self.tail.head,
            closed: self.tail.closed.clone(),
        };
        let mut bytes = 0;
        while let Some(event) = self.event(page.next()) {
            if !range.has_room(page.events.len(), bytes, event.size()) {
                break;
            }
            bytes += event.size();
            page.events.push(event.clone());
        }
        Ok(page)
    }

    fn close(&mut self, close: &Close) -> Result<CloseEvent, StoreError> {
        match judge::close(&self.tail, close)? {
            CloseVerdict::Replay(stored) => Ok(stored),
            CloseVerdict::Accept { event, base } => {
                self.tail.close(base, event.clone());
                Ok(event)
            }
        }
    }

    fn remove(&mut self) -> Result<Removed, StoreError> {
        if self.tail.closed.is_none() {
            return Err(StoreError::NotClosed);
        }
        let events = self.events.len() as u64;
        // Header, head and CloseEvent stay, so that the id is never free again (I2).
        self.events = Vec::new();
        self.versions = HashMap::new();
        self.tail.removed = true;
        Ok(Removed { events })
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let streams = &mut self.state().streams.streams;
        if let Some(taken) = streams.get(stream) {
            return judge::create_again(&taken.tail, header);
        }
        streams.insert(stream.clone(), Stream::of_new(header.clone()));
        Ok(())
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.options.limits.check(&append.events)?;
        self.state().streams.get_mut(stream)?.append(append)
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.state().streams.get(stream)?.read(range)
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        Ok(self.state().streams.get(stream)?.tail.clone())
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let state = self.state();
        let stream = state.streams.get(stream)?;
        stream.check_not_removed()?;
        Ok(ids.iter().map(|id| stream.find(*id)).collect())
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        self.state().streams.get_mut(stream)?.close(&close)
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.state().streams.get_mut(stream)?.remove()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "memory",
            limits: self.options.limits,
            condition: "a mutex over all streams",
            event_id_window: None,
            durable: false,
            poll_interval: None,
        }
    }
}
