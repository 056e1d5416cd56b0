//! A state of the world: what is durable, where every actor stands between two calls, and what
//! the clients were told.

use super::calls::Call;
use super::cast::{Closing, Contents, MIGRATIONS, Migration, SLOTS, Slot};
use super::documents::DocumentId;
use super::machines::MachineId;

pub(crate) const MIGRATORS: usize = 3;
pub(crate) const WRITERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) streams: [Stream; SLOTS],
    pub(crate) document: DocumentId,
    pub(crate) records: [Record; MIGRATIONS],
    pub(crate) migrators: [Migrator; MIGRATORS],
    pub(crate) writers: [Writer; WRITERS],
    pub(crate) reader: Reader,
    pub(crate) foreigner_wrote: bool,
    /// The one call that is on its way.
    pub(crate) late: Option<Call>,
    pub(crate) faults: u8,
    pub(crate) told: Told,
}

/// What happened, as clients know it; nothing reads it but the properties.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Told {
    /// By event: the version that was acknowledged, and one.
    pub(crate) acknowledged: [u8; 8],
    /// By event, as bits: refused for certain.
    pub(crate) refused: u8,
    /// By migration: the streams, as bits, whose running migration it has been.
    pub(crate) ran: [u8; MIGRATIONS],
    /// By migration: the streams, as bits, that were handed out to it.
    pub(crate) given: [u8; MIGRATIONS],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) maker: Maker,
    /// The version of its first event; none before the first event of a continuation.
    pub(crate) base: Option<u8>,
    /// From the base on.
    pub(crate) contents: Contents,
    pub(crate) closed: Option<Closing>,
    /// Its contents stand here for the properties only.
    pub(crate) removed: bool,
}

impl Stream {
    /// The version behind its last event; 0 while it has no base.
    pub(crate) fn next(&self) -> u8 {
        self.next_from(0)
    }

    /// The version behind its last event, of a stream that has or takes this base.
    pub(crate) fn next_from(&self, base: u8) -> u8 {
        self.base.unwrap_or(base) + self.contents.len()
    }

    /// The event at a version; 0 if there is none.
    pub(crate) fn at(&self, version: u8) -> u8 {
        let place = version.checked_sub(self.base.unwrap_or(0));
        place.map_or(0, |place| self.contents.at(place))
    }

    pub(crate) fn range(&self, from: u8, to: u8) -> Contents {
        let base = self.base.unwrap_or(0);
        self.contents.range(from.saturating_sub(base), to.saturating_sub(base))
    }

    /// The version at which it holds an event.
    pub(crate) fn place_of(&self, event: u8) -> Option<u8> {
        Some(self.base.unwrap_or(0) + self.contents.place_of(event)?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Maker {
    /// There is no header.
    #[default]
    Missing,
    /// The object's first stream.
    Nobody,
    Migration(Migration),
}

impl Maker {
    pub(crate) fn migration(self) -> Option<Migration> {
        match self {
            Self::Missing | Self::Nobody => None,
            Self::Migration(migration) => Some(migration),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum End {
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Finish {
    Succeeded,
    Ended(End),
}

/// A migration's record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Record {
    pub(crate) written: bool,
    pub(crate) source: Slot,
    pub(crate) seen: RecordSeen,
    pub(crate) target: Option<Slot>,
    /// The final record, which never changes again.
    pub(crate) finished: Option<Finish>,
}

/// What a migrator holds of its record, as of the last time it read or wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct RecordSeen {
    pub(crate) cancelled: bool,
    pub(crate) remove_target: bool,
    pub(crate) ended: Option<End>,
    pub(crate) released: bool,
}

/// A process that runs the machine of one migration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Migrator {
    pub(crate) machine: MachineId,
    /// The document as it was read last.
    pub(crate) document: DocumentId,
    pub(crate) page: Contents,
    pub(crate) seen: RecordSeen,
    pub(crate) timed_out: bool,
}

/// A client that appends its events one after the other, and the proxy that it speaks to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Writer {
    /// How many of its events are settled.
    pub(crate) settled: u8,
    pub(crate) step: WriterStep,
    /// The version that the next event must take; none for `any`.
    pub(crate) expected: Option<u8>,
    /// How many closed streams the route knows of.
    pub(crate) route: u8,
    pub(crate) document: DocumentId,
    pub(crate) in_doubt: bool,
    pub(crate) followed: u8,
    /// The client was told of an earlier call that its outcome is unknown.
    pub(crate) repeats: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum WriterStep {
    #[default]
    Ready,
    /// The client has decided what it expects; its proxy takes a route and appends.
    Asked,
    CreatingHeader,
    CreatingDocument,
    Appending,
    /// The stream was closed: read the document.
    Following {
        closed: Slot,
    },
    /// Write the document that follows the close.
    Repairing {
        closed: Slot,
    },
    /// Somebody else created the document, or it was this proxy: read which.
    Loading,
    /// The stream is missing or another's: the document may know better.
    Reloading,
    /// A misreading looks for the event's id first.
    Searching,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) step: ReaderStep,
    pub(crate) route: u8,
    pub(crate) document: DocumentId,
    pub(crate) seen: Contents,
    /// How many events were acknowledged when the read began.
    pub(crate) at_least: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum ReaderStep {
    #[default]
    Ready,
    Reading,
    Following {
        closed: Slot,
    },
    Repairing {
        closed: Slot,
    },
    Reloading,
    Done,
}

impl State {
    pub(crate) fn stream(&self, slot: Slot) -> &Stream {
        &self.streams[usize::from(slot)]
    }

    pub(crate) fn stream_mut(&mut self, slot: Slot) -> &mut Stream {
        &mut self.streams[usize::from(slot)]
    }

    pub(crate) fn record(&self, migration: Migration) -> &Record {
        &self.records[usize::from(migration)]
    }

    pub(crate) fn record_mut(&mut self, migration: Migration) -> &mut Record {
        &mut self.records[usize::from(migration)]
    }
}
