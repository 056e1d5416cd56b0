//! A store as clients would see it if nothing stood between: one stream an object, never moved.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Refusal, Subject};
use crate::domain::limits::{LimitExceeded, Limits};
use crate::domain::{
    Event, ExpectedVersion, Head, ObjectDocument, ObjectKey, Reason, StreamId, Version,
};
use crate::store::{Appended, EventStore, StoreError};
use crate::testing::builders;

/// The thinnest adapter from clients' words to those of the port.
pub struct InStore {
    store: Arc<dyn EventStore>,
}

impl InStore {
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }
}

fn refusal(error: StoreError) -> Refusal {
    let mut actual = None;
    let reason = match &error {
        StoreError::NotFound => Reason::ObjectNotFound,
        StoreError::WrongExpectedVersion(wrong) => {
            actual = Some(wrong.actual);
            Reason::WrongExpectedVersion
        }
        StoreError::Closed { .. } => Reason::StreamClosed,
        StoreError::Gone { .. } => Reason::StreamGone,
        StoreError::DuplicateEventId { .. } => Reason::DuplicateEventId,
        StoreError::LimitExceeded(LimitExceeded::EventTooLarge { .. }) => Reason::EventTooLarge,
        StoreError::LimitExceeded(LimitExceeded::BatchTooLarge { .. }) => Reason::BatchTooLarge,
        StoreError::Unsupported { .. } => Reason::UnsupportedByStore,
        StoreError::Contended { .. } => Reason::Contended,
        StoreError::Overloaded { .. } => Reason::TooManyInFlight,
        StoreError::RateLimited { .. } => Reason::RateLimited,
        StoreError::Unavailable { .. } | StoreError::TimedOut => Reason::StoreUnavailable,
        StoreError::OutcomeUnknown { .. } => Reason::OutcomeUnknown,
        StoreError::Corrupt { .. } => Reason::CorruptData,
        StoreError::AlreadyExists
        | StoreError::NotClosed
        | StoreError::WrongMaker { .. }
        | StoreError::Bug { .. } => Reason::Internal,
    };
    Refusal { reason, actual, detail: error.to_string() }
}

#[async_trait]
impl Subject for InStore {
    async fn append(
        &self,
        object: &ObjectKey,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<Appended, Refusal> {
        let stream = StreamId::numbered(object, 0);
        let creates = matches!(expected, ExpectedVersion::Any | ExpectedVersion::NoStream);
        if creates {
            let header = ObjectDocument::first_header(object);
            self.store.create(&stream, &header).await.map_err(refusal)?;
        }
        match self.store.append(&stream, builders::append(expected, events)).await {
            Err(error @ StoreError::NotFound) => Err(Refusal {
                reason: Reason::WrongExpectedVersion,
                actual: Some(Head::NONE),
                detail: error.to_string(),
            }),
            answer => answer.map_err(refusal),
        }
    }

    async fn read(
        &self,
        object: &ObjectKey,
        from: Version,
        events_max: Option<u64>,
    ) -> Result<Vec<(Version, Event)>, Refusal> {
        let stream = StreamId::numbered(object, 0);
        let most =
            events_max.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let mut history = Vec::new();
        let mut next = from;
        loop {
            let mut range = builders::range(next.0);
            range.events_max = most - history.len();
            let page = self.store.read(&stream, range).await.map_err(refusal)?;
            next = page.next();
            let done = page.reaches_head();
            let first = page.first;
            let events = (0..).zip(page.events);
            history.extend(events.map(|(offset, event)| (first.plus(offset), event)));
            if done || history.len() >= most {
                return Ok(history);
            }
        }
    }

    fn limits(&self) -> Limits {
        self.store.capabilities().limits
    }

    async fn finish(&self) {}
}
