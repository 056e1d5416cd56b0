//! Streams: creating, copying, closing, sealing, removing.

use std::sync::Arc;

use super::trouble::refused;
use super::{Performed, Performer};
use crate::domain::reason::Reason;
use crate::domain::{
    Checksum, CloseEvent, Continuation, ExpectedVersion, Head, StreamHeader, StreamRef,
};
use crate::migration::machine::Machine;
use crate::migration::steps::{Copied, Outcome};
use crate::store::{Append, Close, StoreError};

impl Performer {
    pub(super) async fn create_target(&mut self, machine: &Machine) -> Performed {
        let (store, target) = self.target(machine)?;
        let header = StreamHeader {
            object: self.record().object.clone(),
            predecessor: Some(self.record().source.address.clone()),
            made_by: Some(machine.plan().migration),
            // Invariant 3: a continuation without copy takes its base with its first event, never
            // before the close has decided it.
            base: machine.plan().target_base,
        };
        match store.create(&target.stream_id, &header).await {
            Ok(()) => Ok(Outcome::Created),
            Err(StoreError::AlreadyExists) => {
                let message = format!("{target} exists already and is not this migration's");
                Err(refused(Reason::TargetNotEmpty, message))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn read_target_tail(&mut self, machine: &Machine) -> Performed {
        let (store, target) = self.target(machine)?;
        match store.tail(&target.stream_id).await {
            Ok(tail) => {
                let before = machine.plan().target_base.map_or(Head::NONE, Head::before);
                let head = tail.base.map_or(before, |_| tail.head);
                Ok(Outcome::TargetTail { head, closed: tail.closed.map(Box::new) })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn read_source_tail(&mut self) -> Performed {
        let (store, source) = self.source()?;
        match store.tail(&source.address.stream_id).await {
            Ok(tail) => {
                let head = tail.head_from(source.base);
                Ok(Outcome::SourceTail { head, closed: tail.closed.map(Box::new) })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn append_target(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (store, target) = self.target(machine)?;
        let clock = Arc::clone(&self.world.runtime.clock);
        let events = self.page.events.len() as u64;
        let wait = self.throttle.spend(&*clock, events, self.page_bytes());
        if !wait.is_zero() && !self.holds_source() {
            self.wait(wait).await;
        }
        // Invariant 5: at the exact position, so that a second migrator wastes work and no more.
        let append = Append {
            made_by: Some(machine.plan().migration),
            base: Self::base(machine),
            expected: ExpectedVersion::exactly(Head::before(at.next)),
            events: self.page.events.clone(),
        };
        let appending = async {
            let began = clock.monotonic();
            let answer = store.append(&target.stream_id, append).await;
            (answer, clock.monotonic().saturating_sub(began))
        };
        let ((answer, took), ahead) = tokio::join!(appending, self.read_ahead(machine, at));
        self.ahead = ahead;
        let rest = self.throttle.after_page(took);
        if !rest.is_zero() && !self.holds_source() {
            self.wait(rest).await;
        }
        match answer {
            Ok(appended) if appended.first == at.next => Ok(Outcome::Appended),
            Ok(_)
            | Err(
                StoreError::WrongExpectedVersion(_)
                | StoreError::DuplicateEventId { .. }
                | StoreError::Closed { .. },
            ) => Ok(Outcome::TargetMoved),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn close_source(
        &mut self,
        machine: &Machine,
        head: Head,
        checksum: Option<Checksum>,
    ) -> Performed {
        let (_, target) = self.target(machine)?;
        let (store, source) = self.source()?;
        let continuation = Continuation(StreamRef {
            address: target,
            base: machine.plan().target_base.unwrap_or(head.next()),
            made_by: Some(machine.plan().migration),
        });
        let event = CloseEvent {
            migration: machine.plan().migration,
            kind: machine.plan().kind,
            continuation: Some(continuation),
            head,
            checksum,
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
            Err(error) => Err(error.into()),
        }
    }
}

fn close_outcome(answer: Result<CloseEvent, StoreError>) -> Performed {
    match answer {
        Ok(close) => Ok(Outcome::Closed(Box::new(close))),
        Err(StoreError::Closed { close }) => Ok(Outcome::Closed(close)),
        Err(StoreError::WrongExpectedVersion(wrong)) => {
            Ok(Outcome::HeadMoved { head: wrong.actual })
        }
        Err(error) => Err(error.into()),
    }
}
