//! The port EventStore: reads here, changes of a stream's end in `commit` and `removal`.

use async_trait::async_trait;
use azure_data_cosmos::Query;
use azure_data_cosmos::feed::FeedScope;
use serde_json::Value;

use super::CosmosStore;
use super::error::{Failure, Refusal};
use super::items::Pages;
use super::layout::{self, EventItem, HEAD_ID, HEAD_PLACE, Head, HeadItem};
use super::options;
use crate::domain::limits::Limits;
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId, Version};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail, judge,
};
use crate::telemetry::calls::Operation;

/// Items in one answer of the service; a page of ours may take several.
const ANSWER_ITEMS_MAX: usize = 1_000;

impl CosmosStore {
    fn limits(&self) -> Limits {
        self.options.limits.and(options::LIMITS)
    }

    /// None when an event below the head is not there: it went while we looked, or is lost.
    async fn read_once(
        &self,
        stream: &StreamId,
        range: ReadRange,
    ) -> Result<Option<Page>, StoreError> {
        let mut pages = self.query_from(stream, range).await?;
        let mut items = some(&mut pages).await?.unwrap_or_default().into_iter();
        let Some(first) = items.next() else {
            return Err(StoreError::NotFound);
        };
        let Head { tail, .. } = HeadItem::read(first)?;
        check_not_removed(&tail)?;
        let from = tail.base.map_or(range.from, |base| range.from.max(base));
        let mut page =
            Page { first: from, events: Vec::new(), head: tail.head, closed: tail.closed };
        let mut bytes = 0;
        // A full page asks for nothing more. Events beyond the head came after we looked at it.
        let is_full = |page: &Page| page.events.len() >= range.events_max.max(1);
        while tail.base.is_some() && !page.reaches_head() && !is_full(&page) {
            let Some(item) = items.next() else {
                match some(&mut pages).await? {
                    Some(more) => items = more.into_iter(),
                    None => return Ok(None),
                }
                continue;
            };
            let (version, event) = EventItem::read(item)?;
            if version != page.next() {
                return Ok(None);
            }
            if !range.has_room(page.events.len(), bytes, event.size()) {
                break;
            }
            bytes += event.size();
            page.events.push(event);
        }
        Ok(Some(page))
    }

    /// The head, then the events from a version on, in order.
    async fn query_from(
        &self,
        stream: &StreamId,
        range: ReadRange,
    ) -> Result<Pages<'_>, StoreError> {
        let query = Query::from(format!(
            "SELECT * FROM c WHERE c.place = '{HEAD_PLACE}' OR c.place >= @from ORDER BY c.place"
        ));
        let query = query.with_parameter("@from", layout::place(range.from));
        let query = query.map_err(|error| StoreError::Bug { detail: error.to_string() })?;
        let scope = FeedScope::partition(layout::stream_partition(stream));
        let most = range.events_max.saturating_add(1).min(ANSWER_ITEMS_MAX);
        self.items.query(Operation::Read, query, scope, most).await.map_err(Failure::of_read)
    }
}

/// The next answer that holds something; none at the end.
async fn some(pages: &mut Pages<'_>) -> Result<Option<Vec<Value>>, StoreError> {
    loop {
        match pages.next().await.map_err(Failure::of_read)? {
            Some(items) if items.is_empty() => {}
            answer => return Ok(answer),
        }
    }
}

fn check_not_removed(tail: &Tail) -> Result<(), StoreError> {
    match &tail.closed {
        Some(close) if tail.removed => {
            Err(StoreError::Gone { head: tail.head, close: Box::new(close.clone()) })
        }
        Some(_) | None => Ok(()),
    }
}

#[async_trait]
impl EventStore for CosmosStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let partition = layout::stream_partition(stream);
        let tail = Tail::of_new(header.clone());
        let item = HeadItem::of(&partition, &tail);
        match self.items.create(Operation::Create, &partition, HEAD_ID, item).await {
            Ok(Some(etag)) => {
                self.heads.learn(stream, Head { tail, etag });
                Ok(())
            }
            Ok(None) => Ok(()),
            // Also when it was our own try before the last: the header tells.
            Err(Failure { refusal: Refusal::Exists, .. }) => {
                let taken = self.read_head(Operation::Create, stream).await?;
                judge::create_again(&taken.tail, header)
            }
            Err(failure) => Err(failure.of_write()),
        }
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.limits().check(&append.events)?;
        let _turn = self.turns.take(stream).await;
        self.append_at_head(stream, append).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        // A second look tells a removal that passed by from damage.
        for _ in 0..2 {
            if let Some(page) = self.read_once(stream, range).await? {
                return Ok(page);
            }
        }
        let from: Version = range.from;
        let detail = format!("events from version {from} on are missing below the stream's head");
        Err(StoreError::Corrupt { detail })
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        Ok(self.read_head(Operation::Tail, stream).await?.tail.clone())
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let look = self.look(Operation::Find, stream, ids).await?;
        check_not_removed(&look.head.tail)?;
        Ok(ids.iter().map(|id| look.found.get(id).copied()).collect())
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let _turn = self.turns.take(stream).await;
        self.close_at_head(stream, &close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.remove_events(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "cosmos",
            limits: self.limits(),
            condition: "the head item replaced under its etag in one transactional batch",
            event_id_window: None,
            durable: true,
            poll_interval: Some(self.options.poll_interval),
        }
    }
}
