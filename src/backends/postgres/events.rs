//! The port EventStore: one statement a call.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::PostgresStore;
use super::error::damaged;
use super::layout::{self, column};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId, Version};
use crate::store::judge::{self, CloseVerdict};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

/// A page never holds more, whatever was asked for.
const PAGE_EVENTS_MAX: usize = 10_000;
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that one transaction of a removal deletes.
const DELETED_AT_ONCE: i64 = 10_000;

#[async_trait]
impl EventStore for PostgresStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let text = layout::json_text(header);
        let base = header.base.map(layout::signed).transpose()?;
        let created = self
            .connections
            .execute(
                &self.statements.create,
                &[
                    (&stream.as_str(), Type::TEXT),
                    (&text, Type::TEXT),
                    (&layout::maker(header.made_by), Type::UUID),
                    (&base, Type::INT8),
                ],
            )
            .await;
        if created.map_err(|failure| failure.of_write())? == 1 {
            return Ok(());
        }
        judge::create_again(&self.tail(stream).await?, header)
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.options.limits.check(&append.events)?;
        judge::check_alone(&append)?;
        layout::signed(append.base.plus(append.events.len() as u64))?;
        self.committer.append(stream, append).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let from = i64::try_from(range.from.0).unwrap_or(i64::MAX);
        let events_max = range.events_max.clamp(1, PAGE_EVENTS_MAX) as i64;
        let bytes_max = range.bytes_max.min(PAGE_BYTES_MAX) as i64;
        let rows = self
            .connections
            .query(
                &self.statements.read,
                &[
                    (&stream.as_str(), Type::TEXT),
                    (&from, Type::INT8),
                    (&events_max, Type::INT8),
                    (&bytes_max, Type::INT8),
                ],
            )
            .await;
        let rows = rows.map_err(|failure| failure.of_read())?;
        let (end, events) = rows.split_first().ok_or(StoreError::NotFound)?;
        page(range.from, end, events)
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        let parameters = [(&stream.as_str() as _, Type::TEXT)];
        let rows = self.connections.query(&self.statements.tail, &parameters).await;
        let rows = rows.map_err(|failure| failure.of_read())?;
        let row = rows.first().ok_or(StoreError::NotFound)?;
        layout::tail(row)?.ok_or_else(|| damaged("a stream without header"))
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let wanted: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = self
            .connections
            .query(
                &self.statements.find,
                &[(&stream.as_str(), Type::TEXT), (&wanted, Type::UUID_ARRAY)],
            )
            .await;
        let rows = rows.map_err(|failure| failure.of_read())?;
        check_not_removed(rows.first().ok_or(StoreError::NotFound)?)?;
        let mut found = vec![None; ids.len()];
        for row in &rows {
            let version: Option<i64> = column(row, "version")?;
            let (Some(version), Some(place)) = (version, column::<Option<i64>>(row, "place")?)
            else {
                continue;
            };
            let place = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place));
            *place.ok_or_else(|| damaged("an id that nobody asked for"))? =
                Some(layout::found(version, column(row, "digest")?)?);
        }
        Ok(found)
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let next = layout::signed(close.event.head.next())?;
        let text = layout::json_text(&close.event);
        let rows = self
            .connections
            .query(
                &self.statements.close,
                &[
                    (&self.channel(), Type::TEXT),
                    (&stream.as_str(), Type::TEXT),
                    (&layout::maker(close.made_by), Type::UUID),
                    (&next, Type::INT8),
                    (&text, Type::TEXT),
                ],
            )
            .await;
        let rows = rows.map_err(|failure| failure.of_write())?;
        let row = rows.first().ok_or(StoreError::NotFound)?;
        // What the server decided, said by the judge that all backends share.
        let tail = layout::tail(row)?.ok_or_else(|| damaged("a stream without header"))?;
        match (judge::close(&tail, &close), column::<bool>(row, "done")?) {
            (Ok(CloseVerdict::Accept { event, .. }), true) => Ok(event),
            (Ok(CloseVerdict::Replay(event)), false) => Ok(event),
            (Err(error), false) => Err(error),
            (Ok(CloseVerdict::Accept { .. }), false)
            | (Ok(CloseVerdict::Replay(_)) | Err(_), true) => {
                Err(StoreError::unknown("server and judge disagree about a close"))
            }
        }
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let parameters = [(&stream.as_str() as _, Type::TEXT)];
        let rows = self.connections.query(&self.statements.mark_removed, &parameters).await;
        let rows = rows.map_err(|failure| failure.of_write())?;
        if !column::<bool>(rows.first().ok_or(StoreError::NotFound)?, "is_closed")? {
            return Err(StoreError::NotClosed);
        }
        // Order: gone first, then deleted, a bounded part at a time. Whoever repeats a removal
        // that was cut short goes on where it ended.
        let parameters = [(&stream.as_str() as _, Type::TEXT), (&DELETED_AT_ONCE as _, Type::INT8)];
        let mut events = 0;
        loop {
            let deleted = self.connections.execute(&self.statements.delete_events, &parameters);
            // It is marked, so it is no longer certainly not done.
            let unknown = |failure: super::error::Failure| StoreError::unknown(failure.of_read());
            let deleted = deleted.await.map_err(unknown)?;
            events += deleted;
            if deleted < DELETED_AT_ONCE.cast_unsigned() {
                return Ok(Removed { events });
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "postgres",
            limits: self.options.limits,
            condition: "a lock on the stream's row",
            event_id_window: None,
            durable: true,
            poll_interval: match self.options.listen_url {
                Some(_) => None,
                None => Some(self.options.poll_interval),
            },
        }
    }
}

/// The columns `tail_next`, `tail_closed` and `tail_removed` of a stream that may be removed.
fn check_not_removed(row: &Row) -> Result<Option<CloseEvent>, StoreError> {
    let closed = column::<Option<&str>>(row, "tail_closed")?;
    let closed = closed.map(layout::close_event).transpose()?;
    match closed {
        Some(close) if column(row, "tail_removed")? => {
            let head = layout::head_before(column(row, "tail_next")?)?;
            Err(StoreError::Gone { head, close: Box::new(close) })
        }
        other => Ok(other),
    }
}

fn page(from: Version, end: &Row, events: &[Row]) -> Result<Page, StoreError> {
    let closed = check_not_removed(end)?;
    let base = column::<Option<i64>>(end, "tail_base")?.map(layout::unsigned).transpose()?;
    let mut page = Page {
        first: base.map_or(from, |base| from.max(base)),
        events: Vec::with_capacity(events.len()),
        head: layout::head_before(column(end, "tail_next")?)?,
        closed,
    };
    for row in events {
        // Invariant 1: versions have no gap, so one that is not there was taken by somebody else.
        if layout::version(row)? != Some(page.next()) {
            return Err(damaged(format!("version {} is missing", page.next())));
        }
        page.events.push(layout::event(row)?);
    }
    if page.events.is_empty() && base.is_some() && !page.reaches_head() {
        return Err(damaged(format!("version {} is missing", page.first)));
    }
    Ok(page)
}
