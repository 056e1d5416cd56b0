//! What is asked of the committer, and the answers it owes.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::{CommitFailure, Stopped};
use super::layout::EventRecord;
use crate::documents::{DocumentError, DocumentKey, Etag, Precondition};
use crate::domain::{CloseEvent, Head, StreamHeader, StreamId};
use crate::store::{Append, Appended, Close, Removed, StoreError};

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;
pub(super) type DocumentAnswer<T> = oneshot::Sender<Result<T, DocumentError>>;

/// A write that waits for its commit.
pub(super) struct Queued {
    pub(super) request: Request,
    pub(super) bytes: usize,
    /// Its part of the bytes that may wait; given back with the answer.
    pub(super) room: OwnedSemaphorePermit,
}

pub(super) enum Request {
    Create { stream: StreamId, header: StreamHeader, answer: Answer<()> },
    Append { stream: StreamId, prepared: Prepared, answer: Answer<Appended> },
    Close { stream: StreamId, close: Close, answer: Answer<CloseEvent> },
    Remove { stream: StreamId, answer: Answer<Removed> },
    Put { key: DocumentKey, body: Bytes, held: Precondition, answer: DocumentAnswer<Etag> },
    Delete { key: DocumentKey, etag: Etag, answer: DocumentAnswer<()> },
}

/// An append whose work was done as far as it can be outside the committer.
pub(super) struct Prepared {
    pub(super) append: Append,
    /// The events, encoded.
    pub(super) records: Vec<EventRecord>,
    /// None of the ids was in the stream when it ended here. As long as it still does, the ids
    /// need not be looked up again, and the look-up is part of the atomic append (I8).
    pub(super) unseen_at: Option<Head>,
}

/// A verdict that is told once the commit that it rests on is durable.
pub(super) enum Settled {
    Created(Reply<(), StoreError>),
    Appended(Reply<Appended, StoreError>),
    Closed(Reply<CloseEvent, StoreError>),
    Removed(Reply<Removed, StoreError>),
    Put(Reply<Etag, DocumentError>),
    Deleted(Reply<(), DocumentError>),
}

pub(super) struct Reply<T, E> {
    pub(super) answer: oneshot::Sender<Result<T, E>>,
    pub(super) result: Result<T, E>,
}

impl Settled {
    /// Whoever asked may have gone; then nobody hears it.
    pub(super) fn tell(self) {
        match self {
            Self::Created(reply) => reply.tell(),
            Self::Appended(reply) => reply.tell(),
            Self::Closed(reply) => reply.tell(),
            Self::Removed(reply) => reply.tell(),
            Self::Put(reply) => reply.tell(),
            Self::Deleted(reply) => reply.tell(),
        }
    }

    /// The commit failed, and is durable or not.
    pub(super) fn tell_unknown(self, stopped: &Stopped) {
        match self {
            Self::Created(reply) => reply.tell_unknown(stopped),
            Self::Appended(reply) => reply.tell_unknown(stopped),
            Self::Closed(reply) => reply.tell_unknown(stopped),
            Self::Removed(reply) => reply.tell_unknown(stopped),
            Self::Put(reply) => reply.tell_unknown(stopped),
            Self::Deleted(reply) => reply.tell_unknown(stopped),
        }
    }

    /// The commit was not begun.
    pub(super) fn tell_not_done(self, stopped: &Stopped) {
        match self {
            Self::Created(reply) => reply.tell_not_done(stopped),
            Self::Appended(reply) => reply.tell_not_done(stopped),
            Self::Closed(reply) => reply.tell_not_done(stopped),
            Self::Removed(reply) => reply.tell_not_done(stopped),
            Self::Put(reply) => reply.tell_not_done(stopped),
            Self::Deleted(reply) => reply.tell_not_done(stopped),
        }
    }
}

impl<T, E: CommitFailure> Reply<T, E> {
    fn tell(self) {
        let _ = self.answer.send(self.result);
    }

    /// A refusal wrote nothing, but may rest on a write of the same commit: it is not told.
    fn tell_unknown(self, stopped: &Stopped) {
        let failure = match self.result {
            Ok(_) => E::unknown(stopped),
            Err(_) => E::not_done(stopped),
        };
        let _ = self.answer.send(Err(failure));
    }

    fn tell_not_done(self, stopped: &Stopped) {
        let _ = self.answer.send(Err(E::not_done(stopped)));
    }
}

impl Request {
    /// Answers without having looked at it.
    pub(super) fn refuse(self, stopped: &Stopped) {
        let store = || StoreError::not_done(stopped);
        let documents = || DocumentError::not_done(stopped);
        // Whoever asked may have gone; then nobody hears it.
        let _ = match self {
            Self::Create { answer, .. } => answer.send(Err(store())).is_ok(),
            Self::Append { answer, .. } => answer.send(Err(store())).is_ok(),
            Self::Close { answer, .. } => answer.send(Err(store())).is_ok(),
            Self::Remove { answer, .. } => answer.send(Err(store())).is_ok(),
            Self::Put { answer, .. } => answer.send(Err(documents())).is_ok(),
            Self::Delete { answer, .. } => answer.send(Err(documents())).is_ok(),
        };
    }
}
