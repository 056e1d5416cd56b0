//! The port EventStore over the tails and chunks of one bucket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::S3Store;
use super::bucket::Put;
use super::error::Failure;
use super::stream::{Next, Place, Stream};
use super::window::WINDOW;
use crate::domain::{CloseEvent, Event, EventId, StreamHeader, StreamId};
use crate::runtime::Backoff;
use crate::store::judge::{self, CloseVerdict};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

#[async_trait]
impl EventStore for S3Store {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let place = Place::of(stream);
        let next = Next::of_new(header.clone(), self.nonce());
        let put = self.bucket.create(&place.tail_key, next.object(stream).into()).await;
        match put {
            Ok(Put::Done(etag)) => {
                self.cache.keep_stream(&place, &Arc::new(next.written(etag)));
                Ok(())
            }
            Ok(Put::Lost) | Err(Failure::Unsettled { .. }) => match self.load(&place).await {
                // It is there for good, so the write can only have been this one or come too late.
                Ok(Some(taken)) => judge::create_again(taken.tail(), header),
                Ok(None) => Err(StoreError::OutcomeUnknown { cause: None }),
                Err(failure) => Err(StoreError::unknown(failure)),
            },
            Err(failure) => Err(failure.of_write()),
        }
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.options.limits.check(&append.events)?;
        self.append_in_turn(&Place::of(stream), append).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let place = Place::of(stream);
        let stream = self.at_hand(&place).await?;
        check_not_removed(&stream)?;
        match self.page(&place, &stream, range).await {
            Ok(page) => Ok(page),
            // Its chunks may have gone since: a removal says so in the tail first.
            Err(failure @ Failure::Damaged(_)) => {
                check_not_removed(&*self.at_hand(&place).await?)?;
                Err(failure.of_read())
            }
            Err(failure) => Err(failure.of_read()),
        }
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        Ok(self.at_hand(&Place::of(stream)).await?.tail().clone())
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let place = Place::of(stream);
        let stream = self.at_hand(&place).await?;
        check_not_removed(&stream)?;
        let known = self.known(&place, &stream, ids.iter().copied()).await;
        let known = known.map_err(Failure::of_read)?;
        Ok(ids.iter().map(|id| known.get(id).copied()).collect())
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let place = Place::of(stream);
        let lane = self.lanes.of(&place.tail_key);
        let _turn = lane.turn.lock().await;
        self.change(&place, |stream, next| match judge::close(stream.tail(), &close)? {
            CloseVerdict::Replay(stored) => Ok(Change::Nothing(stored)),
            CloseVerdict::Accept { event, base } => {
                next.close(base, event.clone());
                Ok(Change::Write(event))
            }
        })
        .await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let place = Place::of(stream);
        let lane = self.lanes.of(&place.tail_key);
        let _turn = lane.turn.lock().await;
        // Order: the tail says that the events are gone before the first of them goes. It stays,
        // with header, head and CloseEvent, so that no old state of it ever fits again (I2).
        let removed = self.change(&place, |stream, next| {
            let tail = stream.tail();
            if tail.closed.is_none() {
                return Err(StoreError::NotClosed);
            }
            if tail.removed {
                return Ok(Change::Nothing(Removed { events: 0 }));
            }
            next.remove();
            Ok(Change::Write(Removed { events: tail.event_count() }))
        });
        let removed = removed.await?;
        // Whoever repeats a removal that ended here deletes the rest.
        self.delete_history(&place).await.map_err(StoreError::unknown)?;
        Ok(removed)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "s3",
            limits: self.options.limits,
            condition: "the tail object is replaced under If-Match",
            event_id_window: Some(WINDOW),
            durable: true,
            poll_interval: Some(self.options.poll_interval),
        }
    }
}

/// What a change makes of a state, with the answer that goes with it.
enum Change<T> {
    Nothing(T),
    Write(T),
}

const WAIT_FIRST: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(250);

impl S3Store {
    async fn at_hand(&self, place: &Place) -> Result<Arc<Stream>, StoreError> {
        self.load(place).await.map_err(Failure::of_read)?.ok_or(StoreError::NotFound)
    }

    /// Replaces the tail as `judge` says of the state that is there, and says it of the next state
    /// if somebody else was faster.
    async fn change<T>(
        &self,
        place: &Place,
        judge: impl Fn(&Stream, &mut Next) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        let attempts = self.options.append_attempts_max;
        for _ in 0..attempts {
            let stream = self.at_hand(place).await?;
            let mut next = stream.next(self.nonce());
            let nonce = next.standing.nonce;
            let answer = match judge(&stream, &mut next)? {
                Change::Nothing(answer) => return Ok(answer),
                Change::Write(answer) => answer,
            };
            match self.replace(place, &stream, next).await {
                Ok(true) => return Ok(answer),
                Ok(false) => self.wait(&mut backoff).await,
                Err(failure @ Failure::Unsettled { .. }) => {
                    let now = self.load(place).await;
                    let done =
                        now.is_ok_and(|now| now.is_some_and(|now| now.standing.nonce == nonce));
                    return if done { Ok(answer) } else { Err(failure.of_write()) };
                }
                Err(failure) => return Err(failure.of_write()),
            }
        }
        Err(StoreError::Contended { attempts })
    }

    async fn page(
        &self,
        place: &Place,
        stream: &Stream,
        range: ReadRange,
    ) -> Result<Page, Failure> {
        let tail = stream.tail();
        let mut page = Page {
            first: tail.base.map_or(range.from, |base| range.from.max(base)),
            events: Vec::new(),
            head: tail.head,
            closed: tail.closed.clone(),
        };
        let mut bytes = 0;
        let mut take = |page: &mut Page, event: &Event| {
            let room = range.has_room(page.events.len(), bytes, event.size());
            if room {
                bytes += event.size();
                page.events.push(event.clone());
            }
            room
        };
        while page.next() < stream.standing.first && tail.base.is_some() {
            let chunk = self.chunk_of(place, stream, page.next()).await?;
            let events = self.events_of(place, chunk).await?;
            let skipped = usize::try_from(page.next().0 - chunk.first.0).unwrap_or(usize::MAX);
            for stored in events.iter().skip(skipped) {
                if !take(&mut page, &stored.event) {
                    return Ok(page);
                }
            }
        }
        while let Some(event) = stream.event(page.next()) {
            if !take(&mut page, event) {
                break;
            }
        }
        Ok(page)
    }
}

fn check_not_removed(stream: &Stream) -> Result<(), StoreError> {
    let Tail { head, closed, removed, .. } = stream.tail();
    match closed {
        Some(close) if *removed => {
            Err(StoreError::Gone { head: *head, close: Box::new(close.clone()) })
        }
        Some(_) | None => Ok(()),
    }
}
