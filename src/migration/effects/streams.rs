//! Streams: creating, copying, closing, sealing, removing.

use std::sync::Arc;

use super::{Performed, Performer, failed, store_trouble};
use crate::domain::reason::Reason;
use crate::domain::{
    Checksum, CloseEvent, Continuation, Event, ExpectedVersion, Head, StreamAddress, StreamHeader,
    StreamRef, Version,
};
use crate::migration::machine::Machine;
use crate::migration::record::Failure;
use crate::migration::steps::{Copied, Outcome};
use crate::store::{Append, Close, EventStore, Page, ReadRange, StoreError};

impl Performer {
    pub(super) async fn create_target(&mut self, machine: &Machine) -> Performed {
        let (store, target) = self.target(machine)?;
        let header = StreamHeader {
            object: self.record().object.clone(),
            predecessor: Some(self.record().source.address.clone()),
            made_by: Some(machine.plan().migration),
            base: self.record().target_base,
        };
        match store.create(&target.stream_id, &header).await {
            Ok(()) => Ok(Outcome::Created),
            Err(StoreError::AlreadyExists) => {
                let message = format!("{target} exists already and is not this migration's");
                Err(failed(Reason::TargetNotEmpty, message))
            }
            Err(error) => store_trouble(error),
        }
    }

    pub(super) async fn read_target_tail(&mut self, machine: &Machine) -> Performed {
        let (store, target) = self.target(machine)?;
        match store.tail(&target.stream_id).await {
            Ok(tail) => {
                let head =
                    tail.base.map_or_else(|| Head::before(Self::base(machine)), |_| tail.head);
                Ok(Outcome::TargetTail { head, closed: tail.closed.map(Box::new) })
            }
            Err(error) => store_trouble(error),
        }
    }

    pub(super) async fn read_source_tail(&mut self) -> Performed {
        let (store, source) = self.source()?;
        match store.tail(&source.address.stream_id).await {
            Ok(tail) => {
                let closed = tail.closed.map(Box::new);
                Ok(Outcome::SourceTail { head: tail.head, closed })
            }
            Err(error) => store_trouble(error),
        }
    }

    pub(super) async fn read_source(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (store, source) = self.source()?;
        let range = self.page_range(machine, at.next)?;
        let mut page = match store.read(&source.address.stream_id, range).await {
            Ok(page) => page,
            Err(error) => return store_trouble(error),
        };
        cut_to_fit(&mut page.events, range.bytes_max);
        let closed = page.closed.take().map(Box::new);
        let head = page.head;
        let after = at.source.chain_all(page.first, &page.events);
        self.page = page.events;
        Ok(Outcome::SourcePage { count: self.page.len() as u64, after, head, closed })
    }

    /// A page is one append to the target, so it keeps to the target's limits.
    pub(super) fn page_range(
        &self,
        machine: &Machine,
        from: Version,
    ) -> Result<ReadRange, Failure> {
        let (target, _) = self.target(machine)?;
        let limits = target.capabilities().limits;
        let options = &self.record().options;
        let events_max = options.page_events_max.min(limits.batch_events_max);
        Ok(ReadRange {
            from,
            events_max: self.throttle.page_events_max(events_max).max(1),
            bytes_max: options.page_bytes_max.min(limits.batch_bytes_max).max(1),
        })
    }

    pub(super) async fn append_target(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (store, target) = self.target(machine)?;
        let clock = Arc::clone(&self.world.runtime.clock);
        let events = self.page.len() as u64;
        let wait = self.throttle.spend(&*clock, events, self.page_bytes());
        if !wait.is_zero() && !self.holds_source() {
            clock.sleep(wait).await;
        }
        // Invariant 5: at the exact position, so that a second migrator wastes work and no more.
        let append = Append {
            made_by: Some(machine.plan().migration),
            base: Self::base(machine),
            expected: ExpectedVersion::exactly(Head::before(at.next)),
            events: self.page.clone(),
        };
        let began = clock.monotonic();
        let answer = store.append(&target.stream_id, append).await;
        let rest = self.throttle.after_page(clock.monotonic().saturating_sub(began));
        if !rest.is_zero() && !self.holds_source() {
            clock.sleep(rest).await;
        }
        match answer {
            Ok(appended) if appended.first == at.next => Ok(Outcome::Appended),
            Ok(_)
            | Err(
                StoreError::WrongExpectedVersion(_)
                | StoreError::DuplicateEventId { .. }
                | StoreError::Closed { .. },
            ) => Ok(Outcome::TargetMoved),
            Err(error) => store_trouble(error),
        }
    }

    pub(super) async fn read_back(
        &mut self,
        machine: &Machine,
        at: Copied,
        count: u64,
    ) -> Performed {
        let (store, target) = self.target(machine)?;
        let to = at.next.plus(count);
        match self.chain(&*store, &target, at.next, to, at.target).await {
            Ok(Some(after)) => Ok(Outcome::ReadBack { after }),
            Ok(None) => Err(failed(Reason::CorruptData, format!("{target} lost what it took"))),
            Err(error) => store_trouble(error),
        }
    }

    pub(super) async fn compare(
        &mut self,
        machine: &Machine,
        from: Copied,
        to: Version,
    ) -> Performed {
        let (target_store, target) = self.target(machine)?;
        let (source_store, source) = self.source()?;
        let source = self.chain(&*source_store, &source.address, from.next, to, from.source).await;
        let source = match source {
            Ok(source) => source,
            Err(error) => return store_trouble(error),
        };
        let target = self.chain(&*target_store, &target, from.next, to, from.target).await;
        match (source, target) {
            (Some(source), Ok(Some(target))) => {
                Ok(Outcome::Compared(Some(Copied { next: to, source, target })))
            }
            (_, Err(error)) => store_trouble(error),
            (None, Ok(_)) | (Some(_), Ok(None)) => Ok(Outcome::Compared(None)),
        }
    }

    /// The checksum after the events from `from` up to `to`; none if the stream ends before.
    pub(super) async fn chain(
        &self,
        store: &dyn EventStore,
        stream: &StreamAddress,
        from: Version,
        to: Version,
        start: Checksum,
    ) -> Result<Option<Checksum>, StoreError> {
        let options = &self.record().options;
        let (mut next, mut checksum) = (from, start);
        while next < to {
            let left = usize::try_from(to.0 - next.0).unwrap_or(usize::MAX);
            let events_max = options.page_events_max.min(left);
            let range = ReadRange { from: next, events_max, bytes_max: options.page_bytes_max };
            let Page { first, events, .. } = store.read(&stream.stream_id, range).await?;
            if events.is_empty() {
                return Ok(None);
            }
            checksum = checksum.chain_all(first, &events);
            next = first.plus(events.len() as u64);
        }
        Ok(Some(checksum))
    }

    pub(super) async fn close_source(
        &mut self,
        machine: &Machine,
        head: Head,
        checksum: Checksum,
    ) -> Performed {
        let (_, target) = self.target(machine)?;
        let (store, source) = self.source()?;
        let continuation = Continuation(StreamRef {
            address: target,
            base: Self::base(machine),
            made_by: Some(machine.plan().migration),
        });
        let event = CloseEvent {
            migration: machine.plan().migration,
            kind: machine.plan().kind,
            continuation: Some(continuation),
            head,
            checksum: Some(checksum),
            closed_at: self.world.runtime.clock.now(),
        };
        let close = Close { made_by: source.made_by, event };
        close_outcome(store.close(&source.address.stream_id, close).await)
    }

    pub(super) async fn seal_target(&mut self, machine: &Machine, head: Head) -> Performed {
        let (store, target) = self.target(machine)?;
        let event = CloseEvent {
            migration: machine.plan().migration,
            kind: machine.plan().kind,
            continuation: None,
            head,
            checksum: None,
            closed_at: self.world.runtime.clock.now(),
        };
        let close = Close { made_by: Some(machine.plan().migration), event };
        let outcome = close_outcome(store.close(&target.stream_id, close).await)?;
        let Outcome::Closed(close) = outcome else { return Ok(outcome) };
        if close.continuation.is_some() {
            // It is in use: look again, the source will tell.
            return Ok(Outcome::HeadMoved { head: close.head });
        }
        Ok(Outcome::Sealed)
    }

    pub(super) async fn remove_target(&mut self, machine: &Machine) -> Performed {
        if !self.record().orders.remove_target {
            return Ok(Outcome::Removed);
        }
        let (store, target) = self.target(machine)?;
        match store.remove(&target.stream_id).await {
            Ok(_) => Ok(Outcome::Removed),
            Err(error) => store_trouble(error),
        }
    }
}

fn cut_to_fit(events: &mut Vec<Event>, bytes_max: usize) {
    let mut bytes = 0;
    let fitting = events.iter().take_while(|event| {
        bytes += event.size();
        bytes <= bytes_max
    });
    let count = fitting.count().max(1);
    events.truncate(count);
}

fn close_outcome(answer: Result<CloseEvent, StoreError>) -> Performed {
    match answer {
        Ok(close) => Ok(Outcome::Closed(Box::new(close))),
        Err(StoreError::Closed { close }) => Ok(Outcome::Closed(close)),
        Err(StoreError::WrongExpectedVersion(wrong)) => {
            Ok(Outcome::HeadMoved { head: wrong.actual })
        }
        Err(error) => store_trouble(error),
    }
}
