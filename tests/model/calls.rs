//! The calls that change something durable: each one atomic, and judged by the code that judges
//! them in every store.

use std::collections::HashMap;

use streamgate::domain::{EventId, ExpectedVersion, StreamHeader, Version};
use streamgate::store::judge::{self, AppendVerdict, CloseVerdict};
use streamgate::store::{Append, Close, Found, StoreError, Tail};

use super::cast::{self, Cast, Closing, Contents, Migration, Slot};
use super::configurations::Misreading;
use super::documents::DocumentId;
use super::state::{Finish, Maker, Record, State, Stream};
use super::world::World;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    /// Write `new` if the document is still `read`.
    PutDocument {
        read: DocumentId,
        new: DocumentId,
    },
    /// Write `new` if the record is still `read`.
    PutRecord {
        migration: Migration,
        read: Record,
        new: Record,
    },
    /// Write the final record, if there is none.
    Finish {
        migration: Migration,
        finish: Finish,
    },
    CreateStream {
        slot: Slot,
        maker: Option<Migration>,
    },
    Append(Appending),
    CloseStream {
        slot: Slot,
        maker: Option<Migration>,
        closing: Closing,
    },
    Remove {
        slot: Slot,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Appending {
    pub(crate) slot: Slot,
    pub(crate) maker: Option<Migration>,
    /// Where the stream begins, as the document told.
    pub(crate) base: u8,
    /// The version that the first event must take; none for `any`.
    pub(crate) expected: Option<u8>,
    pub(crate) events: Contents,
    pub(crate) is_copy: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Reply {
    Done,
    Conflict,
    /// The header is another's.
    Exists,
    Missing,
    WrongMaker,
    Appended {
        first: u8,
    },
    Duplicate,
    WrongVersion {
        next: u8,
    },
    Closed(Closing),
    NotClosed,
}

/// What the judge said, by what it was asked.
#[derive(Default)]
pub(crate) struct Judged {
    appends: HashMap<(Stream, Appending), Reply>,
    closes: HashMap<(Stream, Option<Migration>, Closing), Reply>,
}

impl World {
    pub(crate) fn execute(&mut self, state: &mut State, call: Call) -> Reply {
        match call {
            Call::PutDocument { read, new } => self.put_document(state, read, new),
            Call::PutRecord { migration, read, new } => {
                let record = state.record_mut(migration);
                // What is finished lies elsewhere, and its unfinished entry is gone.
                if *record != read || record.finished.is_some() {
                    return Reply::Conflict;
                }
                *record = new;
                Reply::Done
            }
            Call::Finish { migration, finish } => {
                let record = state.record_mut(migration);
                record.finished = record.finished.or(Some(finish));
                Reply::Done
            }
            Call::CreateStream { slot, maker } => {
                let base = self.header_base(state, maker);
                let maker = maker.map_or(Maker::Nobody, Maker::Migration);
                let stream = state.stream_mut(slot);
                if stream.maker == Maker::Missing {
                    stream.maker = maker;
                    stream.base = base;
                }
                let same = stream.maker == maker || self.streams_are_nameless();
                if same { Reply::Done } else { Reply::Exists }
            }
            Call::Append(append) => self.append(state, append),
            Call::CloseStream { slot, maker, closing } => {
                self.close_stream(state, slot, maker, closing)
            }
            Call::Remove { slot } => self.remove(state, slot),
        }
    }

    fn put_document(&mut self, state: &mut State, read: DocumentId, new: DocumentId) -> Reply {
        if state.document != read && !self.is(Misreading::DocumentOverwritten) {
            return Reply::Conflict;
        }
        state.document = new;
        if let Some(running) = self.look(new).and_then(|look| look.running) {
            let migration = usize::from(running.migration);
            state.told.ran[migration] |= 1 << running.source;
            state.told.given[migration] |= 1 << running.target;
        }
        Reply::Done
    }

    /// The base that a header tells; none for a continuation without copy.
    fn header_base(&self, state: &State, maker: Option<Migration>) -> Option<u8> {
        match maker {
            Some(migration) if self.cast.continues(migration) => {
                let source = state.record(migration).source;
                let head = state.stream(source).next_from(self.base_of(state, source));
                self.is(Misreading::BaseSetEarly).then_some(head)
            }
            Some(_) | None => Some(0),
        }
    }

    fn append(&mut self, state: &mut State, mut append: Appending) -> Reply {
        let stream = *state.stream(append.slot);
        if let Some(reply) = self.misread_append(&stream, &mut append) {
            if let Reply::Appended { .. } = reply {
                push_all(state, append);
            }
            return reply;
        }
        if self.is(Misreading::BaseSetEarly) {
            append.base = stream.base.unwrap_or(append.base);
        }
        if stream.maker == Maker::Missing {
            return Reply::Missing;
        }
        let key = (stream, append);
        let reply = match self.judged.appends.get(&key) {
            Some(known) => *known,
            None => {
                let reply = judge_append(&self.cast, &stream, append, &self.find_rule(append));
                self.judged.appends.insert(key, reply);
                reply
            }
        };
        if let Reply::Appended { first } = reply
            && first == stream.next_from(append.base)
        {
            push_all(state, append);
        }
        reply
    }

    /// Only then does it matter whether contents are compared.
    fn streams_are_nameless(&self) -> bool {
        self.is(Misreading::NamelessStreams) || self.is(Misreading::HeadsCompared)
    }

    /// Whether this append looks at ids, which only misreadings leave out.
    fn find_rule(&self, append: Appending) -> FindRule {
        let skips = (self.is(Misreading::NoIdCheckOnTarget) && append.slot > 0)
            || (self.is(Misreading::CopyUnconditional) && append.is_copy)
            || (self.is(Misreading::IdCheckNotAtomic) && !append.is_copy);
        if skips { FindRule::Nothing } else { FindRule::Everything }
    }

    fn misread_append(&self, stream: &Stream, append: &mut Appending) -> Option<Reply> {
        if self.streams_are_nameless() {
            append.maker = stream.maker.migration();
        }
        if self.is(Misreading::CopyUnconditional) && append.is_copy {
            append.expected = None;
        }
        let known = append.events.iter().any(|event| stream.contents.place_of(event).is_some());
        let next = stream.next_from(append.base);
        let is_empty = stream.contents == Contents::NOTHING && stream.closed.is_none();
        if self.is(Misreading::LocalModes) && append.expected == Some(0) && is_empty {
            return Some(Reply::Appended { first: next });
        }
        if self.is(Misreading::AnyPastTheClose)
            && append.expected.is_none()
            && stream.closed.is_some()
            && !known
        {
            return Some(Reply::Appended { first: next });
        }
        if self.is(Misreading::SlotBeyondTheClose)
            && append.expected == Some(next + 1)
            && stream.closed.is_some()
            && !known
        {
            return Some(Reply::Appended { first: next + 1 });
        }
        if self.is(Misreading::PositionBeforeId)
            && stream.closed.is_none()
            && append.expected.is_some_and(|expected| expected != next)
        {
            return Some(Reply::WrongVersion { next });
        }
        None
    }

    fn close_stream(
        &mut self,
        state: &mut State,
        slot: Slot,
        maker: Option<Migration>,
        mut closing: Closing,
    ) -> Reply {
        let stream = *state.stream(slot);
        if stream.maker == Maker::Missing {
            return Reply::Missing;
        }
        if self.is(Misreading::CloseAtAnyHead) {
            closing.next = stream.next_from(closing.next);
        }
        let maker = if self.streams_are_nameless() { stream.maker.migration() } else { maker };
        let key = (stream, maker, closing);
        let reply = match self.judged.closes.get(&key) {
            Some(known) => *known,
            None => {
                let reply = judge_close(&self.cast, &stream, maker, closing);
                self.judged.closes.insert(key, reply);
                reply
            }
        };
        if reply == Reply::Closed(closing) && stream.closed.is_none() {
            let stream = state.stream_mut(slot);
            stream.closed = Some(closing);
            stream.base = stream.base.or(Some(closing.next));
        }
        reply
    }

    fn remove(&mut self, state: &mut State, slot: Slot) -> Reply {
        let stream = state.stream_mut(slot);
        let unsealed = [Misreading::RemoveAtOnce, Misreading::CheckThenRemove];
        if stream.closed.is_none() && !unsealed.iter().any(|misread| self.is(*misread)) {
            return Reply::NotClosed;
        }
        let frees =
            self.is(Misreading::DeletionDropsClose) || self.is(Misreading::RemovedIdFreeAgain);
        if frees {
            *stream = Stream { maker: stream.maker, ..Stream::default() };
        } else {
            stream.removed = true;
        }
        Reply::Done
    }
}

fn push_all(state: &mut State, append: Appending) {
    let stream = state.stream_mut(append.slot);
    stream.base = stream.base.or(Some(append.base));
    append.events.iter().for_each(|event| stream.contents.push(event));
}

enum FindRule {
    Everything,
    Nothing,
}

fn judge_append(cast: &Cast, stream: &Stream, append: Appending, rule: &FindRule) -> Reply {
    let expected = match append.expected {
        None => ExpectedVersion::Any,
        Some(next) => ExpectedVersion::exactly(cast::head(next)),
    };
    let asked = Append {
        made_by: append.maker.map(cast::migration_id),
        base: Version(u64::from(append.base)),
        expected,
        events: append.events.iter().map(cast::event).collect(),
    };
    let find = |id: EventId| {
        let number = id.0.as_u128() as u8;
        let place = match rule {
            FindRule::Everything => stream.place_of(number),
            FindRule::Nothing => None,
        };
        Ok(place.map(|version| Found {
            version: Version(u64::from(version)),
            digest: cast::event(number).digest,
        }))
    };
    match judge::append(&tail(cast, stream), &asked, find) {
        Ok(AppendVerdict::Replay(appended) | AppendVerdict::Accept { appended, .. }) => {
            Reply::Appended { first: cast::version(appended.first) }
        }
        Err(error) => refused(cast, &error),
    }
}

fn judge_close(cast: &Cast, stream: &Stream, maker: Option<Migration>, closing: Closing) -> Reply {
    let event = cast.close_event(closing);
    let asked = Close { made_by: maker.map(cast::migration_id), event };
    match judge::close(&tail(cast, stream), &asked) {
        Ok(CloseVerdict::Replay(event) | CloseVerdict::Accept { event, .. }) => {
            Reply::Closed(cast.closing(&event))
        }
        Err(error) => refused(cast, &error),
    }
}

fn tail(cast: &Cast, stream: &Stream) -> Tail {
    let header = StreamHeader {
        object: cast.object.clone(),
        predecessor: None,
        made_by: stream.maker.migration().map(cast::migration_id),
        base: stream.base.map(|base| Version(u64::from(base))),
    };
    let mut tail = Tail::of_new(header);
    if stream.base.is_some() {
        tail.head = cast::head(stream.next());
    }
    tail.closed = stream.closed.map(|closing| cast.close_event(closing));
    tail.removed = stream.removed;
    tail
}

fn refused(cast: &Cast, error: &StoreError) -> Reply {
    match error {
        StoreError::WrongExpectedVersion(wrong) => {
            Reply::WrongVersion { next: cast::version(wrong.actual.next()) }
        }
        StoreError::Closed { close } => Reply::Closed(cast.closing(close)),
        StoreError::WrongMaker { .. } => Reply::WrongMaker,
        StoreError::DuplicateEventId { .. } => Reply::Duplicate,
        other => panic!("the judge says: {other}"),
    }
}
