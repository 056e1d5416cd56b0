//! The logical history of an object: each version once, in order, wherever it lies.

use std::sync::Arc;

use super::pages::{Fetched, Pages, Source};
use super::{
    Batch, Direction, Position, ReadCommand, ReadLimits, ReadStart, Recorded, ResumeToken,
};
use crate::domain::{Event, Head, ObjectDocument, Version};
use crate::proxy::{Proxy, ProxyError};
use crate::store::{Page, ReadRange};

/// A history that is read batch by batch; what is not asked for is not fetched, and never more
/// than one page is held.
pub struct HistoryReader {
    pub(super) pages: Pages,
    pub(super) range: ReadLimits,
    /// The newest head that this read has seen.
    head: Head,
    next: Position,
    fetched: Option<Fetched>,
    /// Events that a backward read takes at once.
    window: usize,
    is_end: bool,
}

/// Times that the object may move on while its head is looked for.
const MOVES_MAX: u32 = 8;

impl Proxy {
    /// Starts to read. The head is looked up first, and a close at the end is followed, so a
    /// stale route never shows an old end (I7).
    pub async fn read(self: &Arc<Self>, command: ReadCommand) -> Result<HistoryReader, ProxyError> {
        let ReadCommand { object, range } = command;
        let document = self.route(&object).await?;
        let document = document.ok_or(ProxyError::ObjectNotFound { object })?;
        let pages = Pages { proxy: Arc::clone(self), source: Source::Chain(document) };
        HistoryReader::start(pages, range).await
    }

    /// The object's head, past any close that the document does not know of.
    pub(in crate::proxy) async fn head_of(
        &self,
        document: &mut Arc<ObjectDocument>,
    ) -> Result<Head, ProxyError> {
        for _ in 0..MOVES_MAX {
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
        Err(ProxyError::moved_too_often(MOVES_MAX))
    }
}

impl HistoryReader {
    pub(super) async fn start(pages: Pages, range: ReadLimits) -> Result<Self, ProxyError> {
        let window = pages.proxy.options.read_batch_events_max;
        let next = Position::At(pages.first());
        let (head, fetched, is_end) = (Head::NONE, None, false);
        let mut reader = Self { pages, range, head, next, fetched, window, is_end };
        match (reader.range.direction, reader.range.start) {
            (Direction::Forward, ReadStart::Outset) => reader.look_ahead().await?,
            (Direction::Forward, ReadStart::Version(version)) => {
                reader.next = Position::At(version.max(reader.pages.first()));
                reader.look_ahead().await?;
            }
            (_, ReadStart::Resume(token)) => {
                reader.head = reader.pages.head().await?;
                reader.next = token.next;
            }
            (direction, start) => {
                reader.head = reader.pages.head().await?;
                reader.next = reader.position_of(direction, start).await?;
            }
        }
        if reader.range.direction == Direction::Backward {
            reader.clip_to_head();
        }
        Ok(reader)
    }

    /// The version of the last event when the read began, or when it last looked.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The object's streams as this read knows them; none of a single stream.
    pub fn document(&self) -> Option<&ObjectDocument> {
        match &self.pages.source {
            Source::Chain(document) => Some(document),
            Source::Stream { .. } => None,
        }
    }

    /// Where this read stands: hand it to a later one of the same object.
    pub fn resume_token(&self) -> Option<ResumeToken> {
        let object = &self.document()?.object;
        Some(ResumeToken::new(object, self.range.direction, self.next))
    }

    /// The next events; none at the end or at a limit. A batch is empty when the filter matched
    /// nothing of a page.
    ///
    /// Cancellation: a dropped call has taken nothing; the next one starts at the same place.
    pub async fn next_batch(&mut self) -> Result<Option<Batch>, ProxyError> {
        if self.is_end || self.is_at_limit() {
            return Ok(None);
        }
        match self.range.direction {
            Direction::Forward => self.next_forward().await,
            Direction::Backward => self.next_backward().await,
        }
    }

    /// Whether everything up to the end was read, and no limit came first.
    pub fn is_at_end(&self) -> bool {
        self.is_end && self.range.direction == Direction::Forward && !self.is_at_limit()
    }

    pub(super) fn is_at_limit(&self) -> bool {
        self.range.events_max == Some(0) || self.range.bytes_max == Some(0)
    }

    /// Whether more than what was delivered is known to be there.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self.next, Position::At(next) if next < self.head.next())
    }

    /// Looks again after the end was reached.
    pub(super) fn look_again(&mut self) {
        self.is_end = false;
    }

    async fn next_forward(&mut self) -> Result<Option<Batch>, ProxyError> {
        let Position::At(from) = self.next else { return Ok(None) };
        let Fetched { page, is_end } = match self.fetched.take() {
            Some(fetched) => fetched,
            None => self.pages.forward(self.forward_range(from)).await?,
        };
        // At the head of an open stream the history ends; asking again would only cost a call.
        self.is_end = is_end;
        if page.events.is_empty() {
            return Ok(None);
        }
        self.head = self.head.max(page.head);
        self.next = Position::At(page.next());
        let Page { first, events, .. } = page;
        let events = (first.0..).map(Version).zip(events);
        Ok(Some(self.take_matching(events)))
    }

    async fn next_backward(&mut self) -> Result<Option<Batch>, ProxyError> {
        let first = self.pages.first();
        let Position::At(last) = self.next else { return Ok(None) };
        if last < first {
            return Ok(None);
        }
        let options = &self.pages.proxy.options;
        let (events_max, bytes_max) = (options.read_batch_events_max, options.read_batch_bytes_max);
        let mut window = self.window.min(self.events_wanted(events_max));
        let page = self.pages.backward(last, &mut window, bytes_max).await?;
        // Small events let the window grow again.
        self.window = (window.saturating_mul(2)).min(events_max);
        let (from, wanted) = (page.first, last.0 - page.first.0 + 1);
        self.next = Position::before(from);
        self.is_end = from <= first;
        let mut events = page.events;
        events.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        let versions = (from.0..=last.0).map(Version).rev();
        Ok(Some(self.take_matching(versions.zip(events.into_iter().rev()))))
    }

    /// What the filter wants of these events, cut at the limits.
    fn take_matching(&mut self, events: impl Iterator<Item = (Version, Event)>) -> Batch {
        let filters = !self.range.filter.matches_all();
        let mut taken = Vec::with_capacity(if filters { 0 } else { events.size_hint().0 });
        for (version, event) in events {
            if filters && !self.range.filter.matches(&event.event_type) {
                continue;
            }
            if let Some(left) = &mut self.range.events_max {
                *left -= 1;
            }
            if let Some(left) = &mut self.range.bytes_max {
                *left = left.saturating_sub(event.size() as u64);
            }
            taken.push(Recorded { version, event });
            if self.is_at_limit() {
                // Whoever goes on from here meets the next event, matching or not.
                self.next = match self.range.direction {
                    Direction::Forward => Position::At(version.plus(1)),
                    Direction::Backward => Position::before(version),
                };
                break;
            }
        }
        Batch { events: taken, next: self.next }
    }

    fn forward_range(&self, from: Version) -> ReadRange {
        let options = &self.pages.proxy.options;
        // What a filter passes over is no part of what was asked for.
        let bytes_left = self.range.bytes_max.filter(|_| self.range.filter.matches_all());
        let bytes_max = bytes_left.map_or(options.read_batch_bytes_max, |left| {
            usize::try_from(left).unwrap_or(usize::MAX).min(options.read_batch_bytes_max).max(1)
        });
        ReadRange { from, events_max: self.events_wanted(options.read_batch_events_max), bytes_max }
    }

    fn events_wanted(&self, most: usize) -> usize {
        let left = self.range.events_max.filter(|_| self.range.filter.matches_all());
        left.map_or(most, |left| usize::try_from(left).unwrap_or(most).min(most)).max(1)
    }

    /// Fetches the first page, which tells the head as well if it reaches the end.
    async fn look_ahead(&mut self) -> Result<(), ProxyError> {
        let Position::At(from) = self.next else { return Ok(()) };
        let fetched = self.pages.forward(self.forward_range(from)).await?;
        self.head = match fetched.is_end {
            true if self.page_tells_head(&fetched.page) => fetched.page.head,
            // Somewhere before the end, or at the end of a stream that others closed meanwhile.
            true | false => self.pages.head().await?,
        };
        self.fetched = Some(fetched);
        Ok(())
    }

    /// A stream that has no event yet does not know where it begins.
    fn page_tells_head(&self, page: &Page) -> bool {
        !page.events.is_empty() && page.closed.is_none()
    }

    async fn position_of(
        &mut self,
        direction: Direction,
        start: ReadStart,
    ) -> Result<Position, ProxyError> {
        let head = self.head;
        match (direction, start) {
            (Direction::Forward, ReadStart::Time(moment)) => {
                Ok(Position::At(self.pages.first_since(moment, head).await?))
            }
            (Direction::Backward, ReadStart::Time(moment)) => {
                self.pages.last_until(moment, head).await
            }
            (_, ReadStart::Version(version)) => Ok(Position::At(version)),
            (_, ReadStart::Resume(token)) => Ok(token.next),
            (Direction::Forward, ReadStart::End | ReadStart::Outset) => {
                Ok(Position::At(head.next()))
            }
            (Direction::Backward, ReadStart::End | ReadStart::Outset) => {
                Ok(Position::before(head.next()))
            }
        }
    }

    fn clip_to_head(&mut self) {
        if let Position::At(version) = self.next
            && version >= self.head.next()
        {
            self.next = Position::before(self.head.next());
        }
    }
}
