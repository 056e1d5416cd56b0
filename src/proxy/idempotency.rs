//! Ids across a chain: an append to a stream that does not reach back to version 0 is first looked
//! up in the streams that hold what is before it (I8).
//!
//! A store looks at the ids of its own stream in one step with the append. What lies before that
//! stream's base lies in streams that are closed, for the document names a stream only after its
//! predecessor was closed. A closed stream never changes, so looking there first and appending then
//! is one step as well: what is not found there will not come to be there in between.
//!
//! An object whose active stream holds its whole history pays nothing for this.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::try_join_all;

use super::{Proxy, ProxyError};
use crate::domain::object_document::TerminatedStream;
use crate::domain::{CloseEvent, Event, EventId, ObjectDocument, StreamAddress, StreamRef};
use crate::store::{Appended, Found, StoreError, judge};

/// What the streams before the active one say of an append.
pub(super) enum LookedBefore {
    /// None of its ids is there, nor ever will be.
    Nothing,
    /// The object holds all of it: the first answer.
    Replay(Appended),
    /// The route is old: the object has moved on since, and one of the streams was removed.
    Moved(Arc<ObjectDocument>),
    /// The route is old: its active stream is closed.
    Closed(Box<CloseEvent>),
}

/// Where ids were found.
type Known = HashMap<EventId, Found>;

enum LookUp {
    Done(Known),
    Removed,
}

impl Proxy {
    /// Looks for the ids of `events` in the streams before the active one.
    pub(super) async fn look_before(
        &self,
        route: &ObjectDocument,
        events: &[Event],
    ) -> Result<LookedBefore, ProxyError> {
        let ids: Vec<EventId> = events.iter().map(|event| event.event_id).collect();
        let look_ups = route.inherited().map(|listed| self.look_up(listed, &ids));
        let mut known = Known::new();
        for look_up in try_join_all(look_ups).await? {
            match look_up {
                LookUp::Done(found) => known.extend(found),
                LookUp::Removed => return self.after_removal(route).await,
            }
        }
        if known.is_empty() {
            return Ok(LookedBefore::Nothing);
        }
        if known.len() < ids.len() {
            // Some are new, or lie behind: only then the active stream is asked as well.
            let active = &route.active;
            let store = self.store_of(&active.address)?;
            let tail = store.tail(&active.address.stream_id).await;
            let tail = tail.map_err(|error| ProxyError::from_store(&active.address, error))?;
            if let Some(close) = tail.closed {
                return Ok(LookedBefore::Closed(Box::new(close)));
            }
            let found = self.find(active, &ids).await;
            let found = found.map_err(|error| ProxyError::from_store(&active.address, error))?;
            known.extend(found);
        }
        let find = |id: EventId| Ok(known.get(&id).copied());
        let judged = judge::replayed(events, find);
        let replay =
            judged.map_err(|error| ProxyError::from_store(&route.active.address, error))?;
        Ok(replay.map_or(LookedBefore::Nothing, LookedBefore::Replay))
    }

    async fn look_up(
        &self,
        listed: &TerminatedStream,
        ids: &[EventId],
    ) -> Result<LookUp, ProxyError> {
        match self.find(&listed.stream, ids).await {
            Ok(found) => Ok(LookUp::Done(found)),
            Err(StoreError::Gone { .. }) => Ok(LookUp::Removed),
            Err(error) => Err(ProxyError::from_store(&listed.stream.address, error)),
        }
    }

    async fn find(&self, stream: &StreamRef, ids: &[EventId]) -> Result<Known, StoreError> {
        let StreamAddress { store, stream_id } = &stream.address;
        let unknown = |unknown: crate::store::UnknownStore| StoreError::Corrupt {
            detail: format!("the object document names {}, but {unknown}", stream.address),
        };
        let found = self.stores.get(store).map_err(unknown)?.find(stream_id, ids).await?;
        let found = ids.iter().copied().zip(found);
        Ok(found.filter_map(|(id, found)| Some((id, found?))).collect())
    }

    /// A stream is removed only once newer ones hold all of it, so the document knows of those.
    async fn after_removal(&self, route: &ObjectDocument) -> Result<LookedBefore, ProxyError> {
        match self.reload(&route.object).await? {
            Some(document) if document.active != route.active => Ok(LookedBefore::Moved(document)),
            Some(_) | None => {
                let active = &route.active.address;
                let detail = format!("a stream before {active} was removed, and none holds it");
                Err(ProxyError::Corrupt { detail })
            }
        }
    }
}
