//! The logical history of an object: each version once, in order, wherever it lies.

use std::sync::Arc;

use super::{Proxy, ProxyError};
use crate::domain::{Event, Head, ObjectDocument, ObjectKey, StreamRef, Version};
use crate::store::{Page, ReadRange, StoreError};

/// Where a read starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStart {
    First,
    Version(Version),
}

/// A read as a client asked for it.
#[derive(Clone, Debug)]
pub struct ReadCommand {
    pub object: ObjectKey,
    pub start: ReadStart,
    /// None: no limit.
    pub events_max: Option<u64>,
    /// None: no limit. At least one event is read.
    pub bytes_max: Option<u64>,
}

/// Events in order without gaps.
#[derive(Clone, Debug)]
pub struct Batch {
    pub first: Version,
    pub events: Vec<Event>,
}

/// A history that is read batch by batch; what is not asked for is not fetched.
pub struct HistoryReader {
    proxy: Arc<Proxy>,
    document: Arc<ObjectDocument>,
    /// The head when the read began.
    head: Head,
    next: Version,
    events_left: Option<u64>,
    bytes_left: Option<u64>,
    fetched: Option<Page>,
    ended: bool,
}

/// Reloads of one document that a read tolerates before it takes the document for wrong.
const RELOADS_MAX: u32 = 8;

impl Proxy {
    /// Starts to read. The head is looked up first, and a close at the end is followed, so a
    /// stale route never shows an old end (I7).
    pub async fn read(self: &Arc<Self>, command: ReadCommand) -> Result<HistoryReader, ProxyError> {
        let object = &command.object;
        let document = self.route(object).await?;
        let document =
            document.ok_or_else(|| ProxyError::ObjectNotFound { object: object.clone() })?;
        let next = match command.start {
            ReadStart::First => Version::FIRST,
            ReadStart::Version(version) => version,
        };
        let mut reader = HistoryReader {
            proxy: Arc::clone(self),
            document,
            head: Head::NONE,
            next,
            events_left: command.events_max,
            bytes_left: command.bytes_max,
            fetched: None,
            ended: false,
        };
        let page = reader.fetch().await?;
        reader.head = match &page {
            Some((stream, page)) if reader.is_active(stream) && page.closed.is_none() => page.head,
            // Somewhere before the end, or at the end of a stream that others closed meanwhile.
            Some(_) | None => reader.proxy.head_of(&mut reader.document).await?,
        };
        reader.fetched = page.map(|(_, page)| page);
        Ok(reader)
    }

    /// The object's head, past any close that the document does not know of.
    pub(super) async fn head_of(
        &self,
        document: &mut Arc<ObjectDocument>,
    ) -> Result<Head, ProxyError> {
        for _ in 0..RELOADS_MAX {
            let active = &document.active;
            let tail = self.store_of(&active.address)?.tail(&active.address.stream_id).await;
            let tail = tail.map_err(|error| ProxyError::from_store(&active.address, error))?;
            match tail.closed {
                Some(close) if close.continuation.is_some() => {
                    let closed = active.address.clone();
                    *document = self.follow(&document.object, &closed, &close).await?;
                }
                Some(_) | None if tail.base.is_none() => return Ok(Head::before(active.base)),
                Some(_) | None => return Ok(tail.head),
            }
        }
        Err(moved_too_often(&document.object))
    }
}

impl HistoryReader {
    /// The version of the last event when the read began.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The object's streams as this read knows them.
    pub fn document(&self) -> &ObjectDocument {
        &self.document
    }

    /// The next events; none at the head or at a limit.
    pub async fn next_batch(&mut self) -> Result<Option<Batch>, ProxyError> {
        if self.ended || self.events_left == Some(0) || self.bytes_left == Some(0) {
            return Ok(None);
        }
        let page = match self.fetched.take() {
            Some(page) => page,
            None => match self.fetch().await? {
                Some((_, page)) => page,
                None => return Ok(None),
            },
        };
        let first = page.first;
        // At the head of an open stream the history ends; asking again would only cost a call.
        self.ended = page.reaches_head() && page.closed.is_none();
        self.next = page.next();
        if page.events.is_empty() {
            return Ok(None);
        }
        self.count(&page.events);
        Ok(Some(Batch { first, events: page.events }))
    }

    fn count(&mut self, events: &[Event]) {
        if let Some(left) = &mut self.events_left {
            *left = left.saturating_sub(events.len() as u64);
        }
        if let Some(left) = &mut self.bytes_left {
            let bytes: usize = events.iter().map(Event::size).sum();
            *left = left.saturating_sub(bytes as u64);
        }
    }

    fn range(&self) -> ReadRange {
        let options = &self.proxy.options;
        let at_most = |left: Option<u64>, max: usize| {
            left.map_or(max, |left| usize::try_from(left).unwrap_or(max).min(max)).max(1)
        };
        ReadRange {
            from: self.next,
            events_max: at_most(self.events_left, options.read_batch_events_max),
            bytes_max: at_most(self.bytes_left, options.read_batch_bytes_max),
        }
    }

    /// The next page that is not the empty end of a closed stream, and its stream; none beyond
    /// the head.
    async fn fetch(&mut self) -> Result<Option<(StreamRef, Page)>, ProxyError> {
        let range = self.range();
        for _ in 0..RELOADS_MAX {
            let stream = self.document.stream_for(self.next).clone();
            let address = &stream.address;
            let store = self.proxy.store_of(address)?;
            match store.read(&address.stream_id, range).await {
                Ok(page) if !page.events.is_empty() => return Ok(Some((stream, page))),
                Ok(page) => match &page.closed {
                    // Invariant 7: the read goes on in the continuation, at its own next version.
                    Some(close) if close.continuation.is_some() && self.is_active(&stream) => {
                        let object = &self.document.object;
                        self.document = self.proxy.follow(object, address, close).await?;
                    }
                    Some(_) | None => return Ok(Some((stream, page))),
                },
                // The stream was removed after the document was read; newer ones hold all of it.
                Err(StoreError::Gone { .. }) => self.reload(&stream).await?,
                Err(error) => return Err(ProxyError::from_store(address, error)),
            }
        }
        Err(moved_too_often(&self.document.object))
    }

    fn is_active(&self, stream: &StreamRef) -> bool {
        self.document.active.address == stream.address
    }

    async fn reload(&mut self, removed: &StreamRef) -> Result<(), ProxyError> {
        let object = self.document.object.clone();
        let document = self.proxy.reload(&object).await?;
        let document = document.ok_or(ProxyError::ObjectNotFound { object })?;
        if document.stream_for(self.next).address == removed.address {
            let detail =
                format!("version {} lies in {}, which was removed", self.next, removed.address);
            return Err(ProxyError::Corrupt { detail });
        }
        self.document = document;
        Ok(())
    }
}

fn moved_too_often(object: &ObjectKey) -> ProxyError {
    let retry_after = super::error::RETRY_AFTER;
    tracing::debug!(
        { crate::telemetry::fields::OBJECT_ID } = %object.id,
        "moved on in every round"
    );
    ProxyError::TooManyContinuations { followed: RELOADS_MAX, retry_after }
}
