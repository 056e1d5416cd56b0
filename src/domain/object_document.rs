//! The record that says where an object lives, with the only changes that are legal.
//!
//! It is changed by compare-and-set alone, and `active` moves only from a closed stream to that
//! stream's own continuation (I6). Every change raises `revision`.

use serde::{Deserialize, Serialize};

use super::close_event::MigrationKind;
use super::{
    Checksum, CloseEvent, Head, MigrationId, ObjectKey, StoreName, StreamAddress, StreamHeader,
    StreamId, StreamRef, Timestamp, Version,
};

/// Where an object lives and has lived.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectDocument {
    #[serde(flatten)]
    pub object: ObjectKey,
    /// Grows by one with every change, so that no two states of a document are equal.
    pub revision: u64,
    /// The stream that takes appends.
    pub active: StreamRef,
    /// The streams before it, oldest first. The order of this list is the order of the chain.
    pub terminated_streams: Vec<TerminatedStream>,
    pub running_migration: Option<RunningMigration>,
    /// The number of the next stream id that is handed out.
    pub next_stream: u64,
    pub created_at: Timestamp,
}

/// A closed stream that the document lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TerminatedStream {
    #[serde(flatten)]
    pub stream: StreamRef,
    pub head: Head,
    pub checksum: Option<Checksum>,
    /// The migration that closed it, and how it carried the history over.
    pub closed_by: MigrationId,
    pub kind: MigrationKind,
    pub closed_at: Timestamp,
    /// Its events were deleted; header, head and CloseEvent stay.
    #[serde(default)]
    pub removed: bool,
}

/// The one migration that may close the object's active stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunningMigration {
    pub migration: MigrationId,
    pub kind: MigrationKind,
    pub source: StreamAddress,
    pub target: StreamAddress,
    /// The first version that is copied; none for a continuation without copy.
    pub target_base: Option<Version>,
}

/// What a migration asks of the document before it may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationClaim {
    pub migration: MigrationId,
    pub kind: MigrationKind,
    /// The stream that must be active.
    pub source: StreamAddress,
    pub target_store: StoreName,
    /// An id that the operator chose; else the document hands one out.
    pub target_stream_id: Option<StreamId>,
    pub target_base: Option<Version>,
}

/// Why a document does not change as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalChange {
    #[error("migration {running} is running")]
    OtherMigrationRunning { running: MigrationId },
    #[error("the active stream is {active}, not {expected}")]
    SourceNotActive { expected: StreamAddress, active: StreamAddress },
    #[error("{target} belongs to this object already")]
    TargetTaken { target: StreamAddress },
    #[error("{stream} is not listed as terminated")]
    NotTerminated { stream: StreamAddress },
    #[error("the CloseEvent names no continuation")]
    NoContinuation,
}

impl ObjectDocument {
    /// The document of an object that has no events yet.
    pub fn new(object: ObjectKey, store: StoreName, created_at: Timestamp) -> Self {
        let stream_id = StreamId::numbered(&object, 0);
        let address = StreamAddress { store, stream_id };
        Self {
            object,
            revision: 0,
            active: StreamRef { address, base: Version::FIRST, made_by: None },
            terminated_streams: Vec::new(),
            running_migration: None,
            next_stream: 1,
            created_at,
        }
    }

    /// All streams of the object, oldest first, the active one last.
    pub fn chain(&self) -> impl DoubleEndedIterator<Item = &StreamRef> {
        self.terminated_streams.iter().map(|terminated| &terminated.stream).chain([&self.active])
    }

    /// The stream from which a version is read: the newest of the chain whose base is at most it.
    pub fn stream_for(&self, version: Version) -> &StreamRef {
        self.chain().rev().find(|stream| stream.base <= version).unwrap_or(&self.active)
    }

    /// The stream from which a version is read by who looks no further than `last`, a stream of
    /// the chain; none if the chain does not hold it there.
    pub fn stream_up_to(&self, last: &StreamAddress, version: Version) -> Option<&StreamRef> {
        let place = self.chain().position(|stream| stream.address == *last)?;
        self.chain().take(place + 1).filter(|stream| stream.base <= version).last()
    }

    /// The streams from which the versions below the active stream's base are read, newest first;
    /// none when the active stream holds the whole history. All of them are closed.
    pub fn inherited(&self) -> impl Iterator<Item = &TerminatedStream> {
        let mut below = self.active.base;
        self.terminated_streams.iter().rev().filter(move |listed| {
            let holds = listed.stream.base < below;
            below = below.min(listed.stream.base);
            holds
        })
    }

    /// The head that the active stream had at least when it became active. A shorter one means
    /// that a backup was restored.
    pub fn head_min(&self) -> Head {
        self.terminated_streams.last().map_or(Head::NONE, |last| last.head)
    }

    /// No event of the active stream is recorded before this moment.
    pub fn recorded_at_min(&self) -> Timestamp {
        self.terminated_streams.last().map_or(Timestamp::EPOCH, |last| last.closed_at)
    }

    pub fn terminated(&self, address: &StreamAddress) -> Option<&TerminatedStream> {
        self.terminated_streams.iter().find(|listed| listed.stream.address == *address)
    }

    /// The header of the first stream.
    pub fn first_header(object: &ObjectKey) -> StreamHeader {
        StreamHeader {
            object: object.clone(),
            predecessor: None,
            made_by: None,
            base: Some(Version::FIRST),
        }
    }

    /// Makes `claim` the running migration and hands out the target. The same claim twice is once.
    pub fn claim(&mut self, claim: &MigrationClaim) -> Result<RunningMigration, IllegalChange> {
        if self.active.address != claim.source {
            let (expected, active) = (claim.source.clone(), self.active.address.clone());
            return Err(IllegalChange::SourceNotActive { expected, active });
        }
        match &self.running_migration {
            Some(running) if running.migration == claim.migration => return Ok(running.clone()),
            Some(running) => {
                return Err(IllegalChange::OtherMigrationRunning { running: running.migration });
            }
            None => {}
        }
        let stream_id = match &claim.target_stream_id {
            Some(chosen) => chosen.clone(),
            None => StreamId::numbered(&self.object, self.next_stream),
        };
        let target = StreamAddress { store: claim.target_store.clone(), stream_id };
        if self.chain().any(|stream| stream.address == target) {
            return Err(IllegalChange::TargetTaken { target });
        }
        let running = RunningMigration {
            migration: claim.migration,
            kind: claim.kind,
            source: claim.source.clone(),
            target,
            target_base: claim.target_base,
        };
        // Invariant 5: the number grows even when the operator chose the id, so that no later
        // migration is handed out what an earlier one may still write to.
        self.next_stream += 1;
        self.running_migration = Some(running.clone());
        self.revision += 1;
        Ok(running)
    }

    /// Takes back the claim of an ended migration. It changes the document in any case, so that a
    /// claim that was prepared against the state before is refused.
    pub fn release(&mut self, migration: MigrationId) {
        if self.running_migration.as_ref().is_some_and(|running| running.migration == migration) {
            self.running_migration = None;
        }
        self.revision += 1;
    }

    /// Follows the CloseEvent of the active stream (I6). False when the document is past it.
    pub fn reroute(
        &mut self,
        closed: &StreamAddress,
        close: &CloseEvent,
    ) -> Result<bool, IllegalChange> {
        let continuation = close.continuation().ok_or(IllegalChange::NoContinuation)?;
        if self.active.address != *closed {
            return match self.terminated(closed) {
                Some(_) => Ok(false),
                None => Err(IllegalChange::NotTerminated { stream: closed.clone() }),
            };
        }
        let stream = std::mem::replace(&mut self.active, continuation.clone());
        self.terminated_streams.push(TerminatedStream {
            stream,
            head: close.head,
            checksum: close.checksum,
            closed_by: close.migration,
            kind: close.kind,
            closed_at: close.closed_at,
            removed: false,
        });
        // Only the object's running migration may close its source, so whoever else is named
        // here has lost: the source that it claimed is no longer active.
        self.running_migration = None;
        self.revision += 1;
        Ok(true)
    }

    /// Notes that the events of a terminated stream were deleted.
    pub fn mark_removed(&mut self, address: &StreamAddress) -> Result<(), IllegalChange> {
        let listed = self.terminated_streams.iter_mut();
        let mut found = listed.filter(|listed| listed.stream.address == *address);
        let Some(terminated) = found.next() else {
            return Err(IllegalChange::NotTerminated { stream: address.clone() });
        };
        terminated.removed = true;
        self.revision += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Continuation;
    use uuid::Uuid;

    fn document() -> ObjectDocument {
        let object = ObjectKey::new("order", "1").unwrap();
        ObjectDocument::new(object, StoreName::new("hot").unwrap(), Timestamp::EPOCH)
    }

    fn claim(document: &ObjectDocument, number: u128) -> MigrationClaim {
        MigrationClaim {
            migration: MigrationId(Uuid::from_u128(number)),
            kind: MigrationKind::Copy,
            source: document.active.address.clone(),
            target_store: StoreName::new("cold").unwrap(),
            target_stream_id: None,
            target_base: Some(Version::FIRST),
        }
    }

    fn close(running: &RunningMigration, base: u64, head: u64) -> CloseEvent {
        CloseEvent {
            migration: running.migration,
            kind: running.kind,
            continuation: Some(Continuation(StreamRef {
                address: running.target.clone(),
                base: Version(base),
                made_by: Some(running.migration),
            })),
            head: Head::at(Version(head)),
            checksum: None,
            closed_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn one_migration_at_a_time_and_no_target_twice() {
        let mut document = document();
        let first = document.claim(&claim(&document, 1)).unwrap();
        assert_eq!(document.claim(&claim(&document, 1)), Ok(first.clone()));
        let refused = document.claim(&claim(&document, 2));
        let running = first.migration;
        assert_eq!(refused, Err(IllegalChange::OtherMigrationRunning { running }));
        document.release(running);
        let second = document.claim(&claim(&document, 2)).unwrap();
        assert_ne!(first.target, second.target);
    }

    #[test]
    fn active_moves_only_to_the_continuation_of_the_closed_stream() {
        let mut document = document();
        let source = document.active.address.clone();
        let running = document.claim(&claim(&document, 1)).unwrap();
        let close = close(&running, 0, 4);
        assert_eq!(document.reroute(&source, &close), Ok(true));
        assert_eq!(document.active.address, running.target);
        assert_eq!(document.running_migration, None);
        assert_eq!(document.reroute(&source, &close), Ok(false));
        let foreign = StreamAddress { store: source.store, stream_id: StreamId::new("x").unwrap() };
        assert!(document.reroute(&foreign, &close).is_err());
    }

    #[test]
    fn a_version_is_read_from_the_newest_stream_that_reaches_it() {
        let mut document = document();
        let first = document.active.address.clone();
        let running = document.claim(&claim(&document, 1)).unwrap();
        document.reroute(&first, &close(&running, 5, 4)).unwrap();
        assert_eq!(document.stream_for(Version(4)).address, first);
        assert_eq!(document.stream_for(Version(5)).address, running.target);
        let second = document.active.address.clone();
        let running = document.claim(&claim(&document, 2)).unwrap();
        document.reroute(&second, &close(&running, 0, 9)).unwrap();
        assert_eq!(document.stream_for(Version(4)).address, running.target);
    }

    #[test]
    fn what_is_inherited_is_what_is_read_below_the_base() {
        let mut document = document();
        // A 0..4, B 5..9 and C without events go on without copy, D is a copy from 5 on, E goes on.
        for (number, base, head) in [(1, 5, 4), (2, 10, 9), (3, 10, 9), (4, 5, 9), (5, 12, 11)] {
            let closed = document.active.address.clone();
            let running = document.claim(&claim(&document, number)).unwrap();
            document.reroute(&closed, &close(&running, base, head)).unwrap();
        }
        let bases: Vec<_> = document.inherited().map(|listed| listed.stream.base.0).collect();
        assert_eq!(bases, [5, 0]);
        let read: Vec<_> = [11, 4].map(|version| document.stream_for(Version(version))).into();
        assert!(document.inherited().map(|listed| &listed.stream).eq(read));
        let second = document.terminated_streams[1].stream.clone();
        let up_to = |version| document.stream_up_to(&second.address, Version(version));
        assert_eq!(up_to(7), Some(&second));
        assert_eq!(up_to(4), Some(&document.terminated_streams[0].stream));
        assert_eq!(
            document.stream_up_to(&claim(&document, 9).source, Version(12)),
            document.chain().last()
        );
    }

    #[test]
    fn every_release_makes_a_new_state() {
        let mut document = document();
        let before = document.clone();
        document.release(MigrationId(Uuid::from_u128(1)));
        assert_ne!(document, before);
    }
}
