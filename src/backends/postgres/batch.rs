//! Appends of several callers as the parameters of one statement that judges each by itself, and
//! its answer as theirs.

use std::collections::{HashMap, HashSet};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::connections::Connections;
use super::error::{Failure, damaged};
use super::layout;
use super::statements::Statements;
use crate::domain::{EventId, StreamId};
use crate::store::judge::{self, AppendVerdict};
use crate::store::{Append, Appended, Found, StoreError};

/// The most that PostgreSQL takes with a notification.
pub(super) const HEARD_BYTES_MAX: usize = 7_999;

/// An append that waits to be part of a transaction.
pub(super) struct Queued {
    pub(super) stream: StreamId,
    pub(super) append: Append,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Appended, StoreError>>,
    /// Its share of the bytes that may wait.
    pub(super) _room: OwnedSemaphorePermit,
}

impl Queued {
    pub(super) fn answer(self, answer: Result<Appended, StoreError>) {
        // A caller that waits no longer learns the outcome when it asks again.
        let _ = self.answer.send(answer);
    }
}

/// What one transaction may hold. An append alone may be larger.
#[derive(Clone, Copy)]
pub(super) struct BatchBounds {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

/// What goes together in one transaction.
pub(super) struct Batch {
    bounds: BatchBounds,
    pub(super) appends: Vec<Queued>,
    bytes: usize,
    ids: HashSet<EventId>,
}

impl Batch {
    pub(super) fn new(bounds: BatchBounds) -> Self {
        Self { bounds, appends: Vec::new(), bytes: 0, ids: HashSet::new() }
    }

    /// Takes one more, or gives it back.
    pub(super) fn push(&mut self, next: Queued) -> Result<(), Queued> {
        let is_full = self.appends.len() >= self.bounds.requests
            || self.bytes + next.bytes > self.bounds.bytes;
        let ids = || next.append.events.iter().map(|event| event.event_id);
        // The server looks for ids in what was appended before, so a repetition of an append
        // goes behind it and not beside it (I8).
        let repeats = ids().any(|id| self.ids.contains(&id));
        if (is_full || repeats) && !self.appends.is_empty() {
            return Err(next);
        }
        self.ids.extend(ids());
        self.bytes += next.bytes;
        self.appends.push(next);
        Ok(())
    }
}

/// How the server is asked to lock streams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Wait for whoever holds a stream, as long as the function's `lock_timeout` lets it.
    Wait,
    /// Pass over streams that others hold: nobody in the transaction waits for a neighbour's
    /// stream, and two transactions never wait for each other.
    PassOver,
}

/// What the server said of one append.
pub(super) enum Told {
    Answer(Result<Appended, StoreError>),
    /// There is no such stream, or it was passed over.
    Absent,
}

/// Asks once. Answers one entry for each append, in their order.
pub(super) async fn ask(
    connections: &Connections,
    statements: &Statements,
    channel: Option<&str>,
    patience: Patience,
    batch: &[Queued],
) -> Result<Vec<Told>, Failure> {
    let columns = Columns::of(batch);
    let heard = channel.map(|_| heard(&columns.streams));
    let patient = patience == Patience::Wait;
    let rows = connections
        .query(
            &statements.append,
            &[
                (&patient, Type::BOOL),
                (&channel, Type::TEXT),
                (&heard, Type::TEXT),
                (&columns.streams, Type::TEXT_ARRAY),
                (&columns.append_streams, Type::INT4_ARRAY),
                (&columns.makers, Type::UUID_ARRAY),
                (&columns.bases, Type::INT8_ARRAY),
                (&columns.expected, Type::INT8_ARRAY),
                (&columns.counts, Type::INT4_ARRAY),
                (&columns.last_recorded, Type::INT8_ARRAY),
                (&columns.event_appends, Type::INT4_ARRAY),
                (&columns.event_offsets, Type::INT4_ARRAY),
                (&columns.event_ids, Type::UUID_ARRAY),
                (&columns.digests, Type::BYTEA_ARRAY),
                (&columns.event_types, Type::TEXT_ARRAY),
                (&columns.schema_versions, Type::INT8_ARRAY),
                (&columns.content_types, Type::TEXT_ARRAY),
                (&columns.metadatas, Type::TEXT_ARRAY),
                (&columns.payloads, Type::BYTEA_ARRAY),
                (&columns.occurred, Type::INT8_ARRAY),
                (&columns.recorded, Type::INT8_ARRAY),
                (&columns.sizes, Type::INT4_ARRAY),
            ],
        )
        .await?;
    // What is damaged in the answer came behind the commit.
    let told = read(batch, &columns, &rows);
    told.map_err(|error| Failure::Lost(error.into()))
}

/// The appends and their events, column by column. All counts lie far below 2^31: limits see to it.
#[derive(Default)]
pub(super) struct Columns<'a> {
    streams: Vec<&'a str>,
    append_streams: Vec<i32>,
    makers: Vec<Option<Uuid>>,
    bases: Vec<i64>,
    expected: Vec<Option<i64>>,
    counts: Vec<i32>,
    pub(super) last_recorded: Vec<i64>,
    event_appends: Vec<i32>,
    event_offsets: Vec<i32>,
    pub(super) event_ids: Vec<Uuid>,
    pub(super) digests: Vec<&'a [u8]>,
    pub(super) event_types: Vec<&'a str>,
    pub(super) schema_versions: Vec<i64>,
    pub(super) content_types: Vec<&'a str>,
    pub(super) metadatas: Vec<Option<String>>,
    pub(super) payloads: Vec<&'a [u8]>,
    pub(super) occurred: Vec<Option<i64>>,
    pub(super) recorded: Vec<i64>,
    pub(super) sizes: Vec<i32>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a [Queued]) -> Self {
        let mut columns = Self::default();
        let mut places = HashMap::new();
        for (place, Queued { stream, append, .. }) in (1..).zip(batch) {
            let known = *places.entry(stream.as_str()).or_insert_with(|| {
                columns.streams.push(stream.as_str());
                int4(columns.streams.len())
            });
            columns.append_streams.push(known);
            columns.makers.push(layout::maker(append.made_by));
            // Whoever queued it has looked.
            columns.bases.push(append.base.0.cast_signed());
            columns.expected.push(layout::expected_next(append.expected));
            columns.counts.push(int4(append.events.len()));
            // The server raises each to that of the stream; within an append it is done already.
            let last = append.events.last().map_or(i64::MIN, |last| last.recorded_at.nanos());
            columns.last_recorded.push(last);
            columns.push_events(place, append);
        }
        columns
    }

    fn push_events(&mut self, place: i32, append: &'a Append) {
        for (offset, event) in (0..).zip(&append.events) {
            self.event_appends.push(place);
            self.event_offsets.push(offset);
            self.event_ids.push(event.event_id.0);
            self.digests.push(event.digest.as_bytes());
            self.event_types.push(&event.event_type);
            self.schema_versions.push(event.schema_version.into());
            self.content_types.push(&event.content_type);
            self.metadatas.push(layout::metadata_text(&event.metadata));
            self.payloads.push(&event.payload);
            self.occurred.push(event.occurred_at.map(|moment| moment.nanos()));
            self.recorded.push(event.recorded_at.nanos());
            self.sizes.push(int4(event.size()));
        }
    }
}

/// The streams for whoever listens, nothing when they are too many to name. Their ids hold no line
/// break.
pub(super) fn heard(streams: &[&str]) -> String {
    let bytes: usize = streams.iter().map(|stream| stream.len() + 1).sum();
    if bytes <= HEARD_BYTES_MAX { streams.join("\n") } else { String::new() }
}

pub(super) fn int4(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn read(batch: &[Queued], columns: &Columns<'_>, rows: &[Row]) -> Result<Vec<Told>, StoreError> {
    let (last, refused) = rows.split_last().ok_or_else(|| damaged("no answer to an append"))?;
    let firsts: Vec<Option<i64>> = layout::column(last, "firsts")?;
    if firsts.len() != batch.len() {
        return Err(damaged("not one answer for each append"));
    }
    let mut told: Vec<Option<Told>> = Vec::with_capacity(batch.len());
    for (Queued { append, .. }, first) in batch.iter().zip(firsts) {
        told.push(match first {
            Some(first) => {
                let first = layout::unsigned(first)?;
                let last = first.plus(append.events.len() as u64 - 1);
                Some(Told::Answer(Ok(Appended { first, last, replay: false })))
            }
            None => None,
        });
    }
    for row in refused {
        let place: i32 = layout::column(row, "append")?;
        let place = usize::try_from(place - 1).map_err(|_| damaged("an append without place"))?;
        let (queued, told) = batch
            .get(place)
            .zip(told.get_mut(place))
            .ok_or_else(|| damaged("an answer to no append"))?;
        *told = Some(refusal(place, queued, columns, row)?);
    }
    let whole = told.into_iter().map(|told| told.ok_or_else(|| damaged("an append unanswered")));
    whole.collect()
}

/// Why the server did not take an append. The judge that all backends share says it, from what the
/// server saw behind its lock.
fn refusal(
    place: usize,
    queued: &Queued,
    columns: &Columns<'_>,
    row: &Row,
) -> Result<Told, StoreError> {
    let Some(tail) = layout::tail(row)? else { return Ok(Told::Absent) };
    let known = known(place, queued, columns, row)?;
    let verdict = judge::append(&tail, &queued.append, |id| Ok(known.get(&id.0).copied()));
    Ok(Told::Answer(match verdict {
        Ok(AppendVerdict::Replay(appended)) => Ok(appended),
        Ok(AppendVerdict::Accept { .. }) => {
            Err(StoreError::Bug { detail: "the server refused what the judge accepts".into() })
        }
        Err(error) => Err(error),
    }))
}

fn known(
    place: usize,
    queued: &Queued,
    columns: &Columns<'_>,
    row: &Row,
) -> Result<HashMap<Uuid, Found>, StoreError> {
    let places: Option<Vec<i64>> = layout::column(row, "known_places")?;
    let versions: Option<Vec<i64>> = layout::column(row, "known_versions")?;
    let digests: Option<Vec<&[u8]>> = layout::column(row, "known_digests")?;
    let (Some(places), Some(versions), Some(digests)) = (places, versions, digests) else {
        return Ok(HashMap::new());
    };
    // The places of events count over the whole batch, from 1.
    let mine = int4(place + 1);
    let first = columns.event_appends.partition_point(|append| *append < mine) as i64 + 1;
    let mut known = HashMap::new();
    for ((event, version), digest) in places.into_iter().zip(versions).zip(digests) {
        let event = usize::try_from(event - first).ok();
        let event = event.and_then(|offset| queued.append.events.get(offset));
        let event = event.ok_or_else(|| damaged("an id that nobody asked for"))?;
        known.insert(event.event_id.0, layout::found(version, digest)?);
    }
    Ok(known)
}

/// An append to be put into a line, whose answer nobody hears.
#[cfg(test)]
pub(super) fn unheard(stream: &str, append: Append, bytes: usize) -> Queued {
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let room = room.try_acquire_owned().expect("its one permit is free");
    let stream = crate::testing::builders::stream_id(stream);
    Queued { stream, append, bytes, answer: oneshot::channel().0, _room: room }
}
