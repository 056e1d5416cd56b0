//! Who and what there is: one object, its streams, migrations and events, as the small numbers of
//! which states are made, and as the real values that the code under exploration takes.

use std::collections::BTreeMap;

use bytes::Bytes;
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{
    Checksum, CloseEvent, Continuation, Digest, Event, EventId, Head, MigrationId, ObjectKey,
    StoreName, StreamAddress, StreamId, StreamRef, Timestamp, Version,
};
use uuid::Uuid;

/// A stream: 0 is the object's first, n the one that the document hands out as its n-th.
pub(crate) type Slot = u8;
/// A migration, from 0.
pub(crate) type Migration = u8;

pub(crate) const SLOTS: usize = 4;
pub(crate) const MIGRATIONS: usize = 3;

/// The events of a stream in order, one byte each; no event is 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Contents(u64);

impl Contents {
    pub(crate) const NOTHING: Self = Self(0);

    pub(crate) fn len(self) -> u8 {
        let bits = u64::BITS - self.0.leading_zeros();
        bits.div_ceil(8) as u8
    }

    pub(crate) fn at(self, version: u8) -> u8 {
        if version < 8 { self.0.to_le_bytes()[usize::from(version)] } else { 0 }
    }

    pub(crate) fn push(&mut self, event: u8) {
        let len = u32::from(self.len());
        assert!(len < 8 && event != 0, "the bounds keep streams short");
        self.0 |= u64::from(event) << (8 * len);
    }

    pub(crate) fn followed_by(mut self, more: Self) -> Self {
        more.iter().for_each(|event| self.push(event));
        self
    }

    pub(crate) fn until(self, version: u8) -> Self {
        if version >= 8 { self } else { Self(self.0 & ((1_u64 << (8 * version)) - 1)) }
    }

    pub(crate) fn range(self, from: u8, to: u8) -> Self {
        if from >= 8 { Self(0) } else { Self(self.until(to).0 >> (8 * from)) }
    }

    pub(crate) fn starts_with(self, prefix: Self) -> bool {
        self.until(prefix.len()) == prefix
    }

    pub(crate) fn place_of(self, event: u8) -> Option<u8> {
        (0..self.len()).find(|version| self.at(*version) == event)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..self.len()).map(move |version| self.at(version))
    }

    /// Stands for the running checksum: equal checksums are equal contents and nothing else.
    pub(crate) fn checksum(self) -> Checksum {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        Checksum::from_bytes(bytes)
    }

    pub(crate) fn of_checksum(checksum: &Checksum) -> Self {
        let bytes = checksum.as_bytes()[..8].try_into().expect("a checksum has 32 bytes");
        Self(u64::from_le_bytes(bytes))
    }
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A CloseEvent. Who closed tells the kind, and the kind and `next` the continuation's base.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Closing {
    pub(crate) by: Migration,
    /// None seals a copy.
    pub(crate) to: Option<Slot>,
    /// The history that was copied.
    pub(crate) contents: Contents,
    pub(crate) next: u8,
}

/// The real values.
pub(crate) struct Cast {
    pub(crate) object: ObjectKey,
    addresses: Vec<StreamAddress>,
    kinds: [MigrationKind; MIGRATIONS],
}

impl Cast {
    pub(crate) fn new(kinds: [MigrationKind; MIGRATIONS]) -> Self {
        let object = ObjectKey::new("order", "1").expect("a name and an id");
        let address = |slot: usize| StreamAddress {
            store: store(if slot == 0 { "hot" } else { "cold" }),
            stream_id: StreamId::numbered(&object, slot as u64),
        };
        Self { addresses: (0..SLOTS + 2).map(address).collect(), object, kinds }
    }

    pub(crate) fn address(&self, slot: Slot) -> StreamAddress {
        self.addresses[usize::from(slot)].clone()
    }

    pub(crate) fn slot(&self, address: &StreamAddress) -> Slot {
        let found = self.addresses.iter().position(|known| known == address);
        found.expect("the document hands out what the cast knows") as Slot
    }

    pub(crate) fn continues(&self, migration: Migration) -> bool {
        self.kinds[usize::from(migration)] == MigrationKind::Continue
    }

    pub(crate) fn kind(&self, migration: Migration) -> MigrationKind {
        self.kinds[usize::from(migration)]
    }

    /// The first version that a migration copies: all of it, or nothing.
    pub(crate) fn target_base(&self, migration: Migration) -> Option<Version> {
        (!self.continues(migration)).then_some(Version::FIRST)
    }

    /// Where the continuation of a close begins.
    pub(crate) fn base_behind(&self, closing: Closing) -> u8 {
        if self.continues(closing.by) { closing.next } else { 0 }
    }

    pub(crate) fn stream(&self, slot: Slot, maker: Option<Migration>, base: u8) -> StreamRef {
        StreamRef {
            address: self.address(slot),
            base: Version(u64::from(base)),
            made_by: maker.map(migration_id),
        }
    }

    pub(crate) fn close_event(&self, closing: Closing) -> CloseEvent {
        let base = self.base_behind(closing);
        let stream = |slot| Continuation(self.stream(slot, Some(closing.by), base));
        let continuation = closing.to.map(stream);
        let copies = continuation.is_some() && !self.continues(closing.by);
        CloseEvent {
            migration: migration_id(closing.by),
            kind: self.kind(closing.by),
            checksum: copies.then(|| closing.contents.checksum()),
            continuation,
            head: head(closing.next),
            closed_at: Timestamp::EPOCH,
        }
    }

    pub(crate) fn closing(&self, close: &CloseEvent) -> Closing {
        let checksum = close.checksum.unwrap_or(Checksum::START);
        Closing {
            by: migration(close.migration),
            to: close.continuation().map(|stream| self.slot(&stream.address)),
            contents: Contents::of_checksum(&checksum),
            next: version(close.head.next()),
        }
    }
}

pub(crate) fn store(name: &str) -> StoreName {
    StoreName::new(name).expect("a store's name")
}

pub(crate) fn migration_id(migration: Migration) -> MigrationId {
    MigrationId(Uuid::from_u128(u128::from(migration) + 1))
}

pub(crate) fn migration(id: MigrationId) -> Migration {
    (id.0.as_u128() - 1) as Migration
}

/// The head of a stream whose next version this is.
pub(crate) fn head(next: u8) -> Head {
    Head::before(Version(u64::from(next)))
}

pub(crate) fn version(version: Version) -> u8 {
    u8::try_from(version.0).expect("the bounds keep versions small")
}

pub(crate) fn event(number: u8) -> Event {
    Event {
        event_id: EventId(Uuid::from_u128(u128::from(number))),
        event_type: "Noted".into(),
        schema_version: 1,
        content_type: "text/plain".into(),
        payload: Bytes::new(),
        metadata: BTreeMap::new(),
        occurred_at: None,
        recorded_at: Timestamp::EPOCH,
        digest: Digest::from_bytes([number; 32]),
    }
}
