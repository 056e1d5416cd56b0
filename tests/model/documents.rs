//! Object documents: the real ones, changed by the real functions, kept once each so that a state
//! holds a number instead.

use std::collections::HashMap;

use streamgate::domain::object_document::{IllegalChange, MigrationClaim};
use streamgate::domain::{ObjectDocument, Timestamp};

use super::cast::{self, Cast, Closing, Migration, SLOTS, Slot};
use super::configurations::Misreading;

/// Which document; the one numbered 0 does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct DocumentId(u16);

impl DocumentId {
    pub(crate) const NONE: Self = Self(0);
}

/// What actors look at in a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Look {
    /// All streams, the active one last.
    chain: [(Slot, Option<Migration>); SLOTS],
    /// Where each begins.
    bases: [u8; SLOTS],
    /// How many of them are closed.
    pub(crate) closed: u8,
    closed_by: [Migration; SLOTS],
    pub(crate) head_min: u8,
    pub(crate) running: Option<Running>,
    pub(crate) revision: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Running {
    pub(crate) migration: Migration,
    pub(crate) source: Slot,
    pub(crate) target: Slot,
}

impl Look {
    /// The stream that was active when `route` streams were closed, and its maker.
    pub(crate) fn stream(&self, route: u8) -> (Slot, Option<Migration>) {
        self.chain[usize::from(route.min(self.closed))]
    }

    /// Where that stream begins.
    pub(crate) fn base(&self, route: u8) -> u8 {
        self.bases[usize::from(route.min(self.closed))]
    }

    /// The stream from which a version is read by whoever knows of so many closed streams.
    pub(crate) fn holder(&self, route: u8, version: u8) -> Slot {
        let place = (0..=route.min(self.closed)).rev().find(|place| self.base(*place) <= version);
        self.stream(place.unwrap_or(0)).0
    }

    /// The streams that hold what is before the base of the newest one that a route knows.
    pub(crate) fn inherited(&self, route: u8) -> impl Iterator<Item = Slot> {
        let mut below = self.base(route);
        (0..route.min(self.closed)).rev().filter_map(move |place| {
            let holds = self.base(place) < below;
            below = below.min(self.base(place));
            holds.then(|| self.stream(place).0)
        })
    }

    pub(crate) fn active(&self) -> Slot {
        self.stream(self.closed).0
    }

    pub(crate) fn place_of(&self, slot: Slot) -> Option<u8> {
        (0..=self.closed).find(|place| self.chain[usize::from(*place)].0 == slot)
    }

    /// Who closed a stream that is listed, and the one after it.
    pub(crate) fn terminated(&self, slot: Slot) -> Option<(Migration, Slot)> {
        let place = self.place_of(slot).filter(|place| *place < self.closed)?;
        let after = self.chain[usize::from(place) + 1].0;
        Some((self.closed_by[usize::from(place)], after))
    }
}

/// A change of a document as somebody wants it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Change {
    Claim { migration: Migration, source: Slot },
    Release { migration: Migration },
    Reroute { closed: Slot, close: Closing },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    OtherRunning,
    SourceNotActive,
    TargetTaken,
    NotListed,
    NoContinuation,
}

#[derive(Default)]
pub(crate) struct Documents {
    kept: Vec<(ObjectDocument, Look)>,
    ids: HashMap<String, DocumentId>,
    changed: HashMap<(DocumentId, Change), Result<DocumentId, Refusal>>,
    misreading: Option<Misreading>,
}

impl Documents {
    pub(crate) fn new(misreading: Option<Misreading>) -> Self {
        Self { misreading, ..Self::default() }
    }

    /// The document of an object that has just been created.
    pub(crate) fn first(&mut self, cast: &Cast) -> DocumentId {
        let store = cast::store("hot");
        let document = ObjectDocument::new(cast.object.clone(), store, Timestamp::EPOCH);
        self.keep(cast, document)
    }

    pub(crate) fn look(&self, id: DocumentId) -> Option<&Look> {
        Some(&self.kept.get(usize::from(id.0).checked_sub(1)?)?.1)
    }

    pub(crate) fn change(
        &mut self,
        cast: &Cast,
        id: DocumentId,
        change: Change,
    ) -> Result<DocumentId, Refusal> {
        if let Some(known) = self.changed.get(&(id, change)) {
            return *known;
        }
        let mut document = self.kept[usize::from(id.0) - 1].0.clone();
        let outcome = match change {
            Change::Claim { migration, source } => {
                document.claim(&claim(cast, migration, source)).map(|_| ())
            }
            Change::Release { migration } => {
                document.release(cast::migration_id(migration));
                Ok(())
            }
            Change::Reroute { closed, close } => {
                let close = cast.close_event(close);
                document.reroute(&cast.address(closed), &close).map(|_| ())
            }
        };
        self.misread(id, change, &mut document);
        let outcome = match outcome {
            Ok(()) => Ok(self.keep(cast, document)),
            Err(illegal) => Err(refusal(&illegal)),
        };
        self.changed.insert((id, change), outcome);
        outcome
    }

    fn misread(&self, before: DocumentId, change: Change, document: &mut ObjectDocument) {
        let Some(misreading) = self.misreading else { return };
        let old = &self.kept[usize::from(before.0) - 1].0;
        match change {
            Change::Claim { .. } if misreading == Misreading::SameTargetTwice => {
                document.next_stream = old.next_stream;
            }
            Change::Release { migration } if misreading == Misreading::ReleaseWithoutTouch => {
                let running = old.running_migration.as_ref();
                let is_its =
                    running.is_some_and(|one| one.migration == cast::migration_id(migration));
                if !is_its {
                    document.clone_from(old);
                }
            }
            Change::Claim { .. } | Change::Release { .. } | Change::Reroute { .. } => {}
        }
    }

    fn keep(&mut self, cast: &Cast, document: ObjectDocument) -> DocumentId {
        let key = serde_json::to_string(&document).expect("a document is plain data");
        if let Some(known) = self.ids.get(&key) {
            return *known;
        }
        let look = look_at(cast, &document);
        self.kept.push((document, look));
        let id = DocumentId(u16::try_from(self.kept.len()).expect("documents are few"));
        self.ids.insert(key, id);
        id
    }
}

fn claim(cast: &Cast, migration: Migration, source: Slot) -> MigrationClaim {
    MigrationClaim {
        migration: cast::migration_id(migration),
        kind: cast.kind(migration),
        source: cast.address(source),
        target_store: cast::store("cold"),
        target_stream_id: None,
        target_base: cast.target_base(migration),
    }
}

fn refusal(illegal: &IllegalChange) -> Refusal {
    match illegal {
        IllegalChange::OtherMigrationRunning { .. } => Refusal::OtherRunning,
        IllegalChange::SourceNotActive { .. } => Refusal::SourceNotActive,
        IllegalChange::TargetTaken { .. } => Refusal::TargetTaken,
        IllegalChange::NotTerminated { .. } => Refusal::NotListed,
        IllegalChange::NoContinuation => Refusal::NoContinuation,
    }
}

fn look_at(cast: &Cast, document: &ObjectDocument) -> Look {
    let mut look = Look { revision: document.revision, ..Look::default() };
    for (place, stream) in document.chain().enumerate() {
        let maker = stream.made_by.map(cast::migration);
        look.chain[place] = (cast.slot(&stream.address), maker);
        look.bases[place] = cast::version(stream.base);
    }
    look.closed = document.terminated_streams.len() as u8;
    for (place, terminated) in document.terminated_streams.iter().enumerate() {
        look.closed_by[place] = cast::migration(terminated.closed_by);
    }
    look.head_min = cast::version(document.head_min().next());
    look.running = document.running_migration.as_ref().map(|running| Running {
        migration: cast::migration(running.migration),
        source: cast.slot(&running.source),
        target: cast.slot(&running.target),
    });
    look
}
