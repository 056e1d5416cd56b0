//! One change of a stream's end: look, judge, replace the head under its etag, and once more if
//! somebody else came first.

use std::collections::HashMap;
use std::sync::Arc;

use azure_core::http::Etag;
use azure_data_cosmos::Query;
use azure_data_cosmos::error::CosmosError;
use azure_data_cosmos::feed::FeedScope;
use azure_data_cosmos::models::TransactionalBatch;
use azure_data_cosmos::options::{BatchReplaceOptions, Precondition};
use serde_json::Value;

use super::CosmosStore;
use super::error::{Failure, Refusal};
use super::layout::{self, EventItem, EventPlace, HEAD_ID, Head, HeadItem};
use crate::domain::{CloseEvent, Event, EventId, StreamId};
use crate::store::judge::{self, AppendVerdict, CloseVerdict};
use crate::store::{Append, Appended, Close, Found, StoreError, Tail};
use crate::telemetry::calls::Operation;

/// Rounds that an append or close may lose before it is told that it is contended.
pub(super) const ROUNDS_MAX: u32 = 16;
/// Ids that are asked for in one query.
const IDS_PER_QUERY: usize = 99;

/// A stream's end, and where it holds the ids that were asked for.
pub(super) struct Look {
    pub(super) head: Arc<Head>,
    pub(super) found: HashMap<EventId, Found>,
}

impl CosmosStore {
    /// The head as it is now.
    pub(super) async fn read_head(
        &self,
        operation: Operation,
        stream: &StreamId,
    ) -> Result<Arc<Head>, StoreError> {
        let partition = layout::stream_partition(stream);
        let item = self.items.read(operation, &partition, HEAD_ID).await;
        match item.map_err(Failure::of_read)? {
            Some(item) => Ok(self.heads.learn(stream, HeadItem::read(item)?)),
            None => {
                self.heads.forget(stream);
                Err(StoreError::NotFound)
            }
        }
    }

    /// The head as it is now and the places of these ids at that moment, in one request for up
    /// to 99 ids.
    pub(super) async fn look(
        &self,
        operation: Operation,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Look, StoreError> {
        let mut look: Option<Look> = None;
        let mut parts = ids.chunks(IDS_PER_QUERY);
        let first = parts.next().unwrap_or_default();
        for ids in std::iter::once(first).chain(parts) {
            let items = self.query_ids(operation, stream, ids).await?;
            let (heads, events): (Vec<Value>, Vec<Value>) =
                items.into_iter().partition(layout::is_head);
            let Some(head) = heads.into_iter().next() else {
                self.heads.forget(stream);
                return Err(StoreError::NotFound);
            };
            if look.is_none() {
                let head = self.heads.learn(stream, HeadItem::read(head)?);
                look = Some(Look { head, found: HashMap::new() });
            }
            let Some(Look { found, .. }) = &mut look else { continue };
            for event in events {
                let event = EventPlace::read(event)?;
                let version = event.version()?;
                found.insert(event.id, Found { version, digest: event.digest });
            }
        }
        look.ok_or(StoreError::NotFound)
    }

    async fn query_ids(
        &self,
        operation: Operation,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Value>, StoreError> {
        let names: Vec<String> = (0..ids.len()).map(|number| format!("@id{number}")).collect();
        let listed: String = names.iter().map(|name| format!(", {name}")).collect();
        let mut query = Query::from(format!(
            "SELECT c.id, c._etag, c.format, c.place, c.digest, c.header, c.base, c.head, \
             c.recorded_at, c.closed, c.removed FROM c WHERE c.id IN ('{HEAD_ID}'{listed})"
        ));
        for (name, id) in names.into_iter().zip(ids) {
            query = query.with_parameter(name, id.to_string()).map_err(unsayable)?;
        }
        let scope = FeedScope::partition(layout::stream_partition(stream));
        let pages = self.items.query(operation, query, scope, ids.len() + 1).await;
        let pages = pages.map_err(Failure::of_read)?;
        pages.all().await.map_err(Failure::of_read)
    }

    /// First at the head that was seen last, as if no id were known: the service refuses a known
    /// one. Whatever else than success comes of that is judged again on all there is to see.
    pub(super) async fn append_at_head(
        &self,
        stream: &StreamId,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let ids: Vec<EventId> = append.events.iter().map(|event| event.event_id).collect();
        let known = match self.heads.get(stream) {
            Some(head) => head,
            None => self.read_head(Operation::Append, stream).await?,
        };
        let mut look = Look { head: known, found: HashMap::new() };
        let mut seen_whole = false;
        for _ in 0..ROUNDS_MAX {
            let find = |id| Ok(look.found.get(&id).copied());
            match judge::append(&look.head.tail, &append, find) {
                Ok(AppendVerdict::Accept { appended, base }) => {
                    let mut tail = look.head.tail.clone();
                    let mut events = append.events.clone();
                    let recorded_at = judge::raise_recorded_at(&mut events, tail.recorded_at);
                    tail.append(base, appended.last, recorded_at);
                    let etag = &look.head.etag;
                    if self.write_events(stream, tail, etag, &appended, &events).await? {
                        return Ok(appended);
                    }
                }
                Ok(AppendVerdict::Replay(appended)) => return Ok(appended),
                Err(refusal) if seen_whole => return Err(refusal),
                Err(_) => {}
            }
            look = self.look(Operation::Append, stream, &ids).await?;
            seen_whole = true;
        }
        Err(StoreError::Contended { attempts: ROUNDS_MAX })
    }

    /// One transactional batch. False: the head was not in that state any more, or an id is known.
    async fn write_events(
        &self,
        stream: &StreamId,
        tail: Tail,
        etag: &str,
        appended: &Appended,
        events: &[Event],
    ) -> Result<bool, StoreError> {
        let partition = layout::stream_partition(stream);
        let condition = Precondition::IfMatch(Etag::from(etag.to_owned()));
        let options = BatchReplaceOptions::default().with_precondition(condition);
        // Order: the head comes first, so that its condition is judged before any id. A batch
        // that fails it was not done, and no earlier try of it will be: the state is gone.
        let head = HeadItem::of(&partition, &tail);
        let batch = TransactionalBatch::new(partition.clone());
        let mut batch = batch.replace_item(HEAD_ID, head, Some(options)).map_err(unsayable)?;
        for (offset, event) in (0..).zip(events) {
            let item = EventItem::of(&partition, appended.first.plus(offset), event);
            batch = batch.create_item(item).map_err(unsayable)?;
        }
        let written = self.items.batch(Operation::Append, batch).await;
        self.settle(stream, tail, written)
    }

    /// Ends the stream at exactly the head that the CloseEvent names.
    pub(super) async fn close_at_head(
        &self,
        stream: &StreamId,
        close: &Close,
    ) -> Result<CloseEvent, StoreError> {
        let mut fresh = false;
        let mut head = match self.heads.get(stream) {
            Some(head) => head,
            None => {
                fresh = true;
                self.read_head(Operation::Close, stream).await?
            }
        };
        for _ in 0..ROUNDS_MAX {
            match judge::close(&head.tail, close) {
                Ok(CloseVerdict::Accept { event, base }) => {
                    let mut tail = head.tail.clone();
                    tail.close(base, event.clone());
                    let operation = Operation::Close;
                    if self.replace_head(operation, stream, tail, &head.etag).await? {
                        return Ok(event);
                    }
                }
                Ok(CloseVerdict::Replay(stored)) => return Ok(stored),
                Err(refusal) if fresh => return Err(refusal),
                Err(_) => {}
            }
            head = self.read_head(Operation::Close, stream).await?;
            fresh = true;
        }
        Err(StoreError::Contended { attempts: ROUNDS_MAX })
    }

    /// False: the head was not in that state any more.
    pub(super) async fn replace_head(
        &self,
        operation: Operation,
        stream: &StreamId,
        tail: Tail,
        etag: &str,
    ) -> Result<bool, StoreError> {
        let partition = layout::stream_partition(stream);
        let head = HeadItem::of(&partition, &tail);
        let written = self.items.replace(operation, &partition, HEAD_ID, head, etag).await;
        self.settle(stream, tail, written)
    }

    /// What a change of the head came to.
    fn settle(
        &self,
        stream: &StreamId,
        tail: Tail,
        written: Result<Option<String>, Failure>,
    ) -> Result<bool, StoreError> {
        match written {
            Ok(etag) => {
                match etag {
                    Some(etag) => drop(self.heads.learn(stream, Head { tail, etag })),
                    None => self.heads.forget(stream),
                }
                Ok(true)
            }
            Err(failure) => {
                self.heads.forget(stream);
                match failure.refusal {
                    Refusal::Changed | Refusal::Exists | Refusal::NotFound => Ok(false),
                    Refusal::Throttled { .. } | Refusal::Other => Err(failure.of_write()),
                }
            }
        }
    }
}

/// What we write and ask is plain data, which the client library can always put into JSON.
fn unsayable(error: CosmosError) -> StoreError {
    StoreError::Bug { detail: error.to_string() }
}
