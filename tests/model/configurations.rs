//! What is explored: who takes part and what may go wrong, and the misreadings of the protocol
//! that must be caught.

use streamgate::domain::close_event::MigrationKind;

use super::cast::{MIGRATIONS, Migration};
use super::properties::Property;

use MigrationKind::{Continue, Copy};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) object: Object,
    pub(crate) migrations: &'static [Asked],
    /// The migration that each process runs.
    pub(crate) migrators: &'static [Migration],
    pub(crate) writers: &'static [Appends],
    pub(crate) reader: bool,
    /// Deletes terminated streams.
    pub(crate) deleter: bool,
    /// Writes to streams that are not his.
    pub(crate) foreigner: bool,
    /// Processes may read their orders at any moment, not only where the machine asks for them.
    pub(crate) looks: bool,
    /// A writer may hold any route, not only the oldest or the newest.
    pub(crate) any_route: bool,
    /// None: without bound.
    pub(crate) faults: Option<u8>,
    /// With `STREAMGATE_MODEL=wide`.
    pub(crate) faults_wide: Option<u8>,
    pub(crate) misreading: Option<Misreading>,
    /// Whether everybody is let run to rest from every so many states.
    pub(crate) run_outs: bool,
}

impl Configuration {
    pub(crate) fn kinds(&self) -> [MigrationKind; MIGRATIONS] {
        let mut kinds = [Copy; MIGRATIONS];
        for (kind, asked) in kinds.iter_mut().zip(self.migrations) {
            *kind = asked.kind;
        }
        kinds
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Object {
    /// It has no document yet.
    New,
    Empty,
    OneEvent,
}

/// A migration that is asked for, and what may happen to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: MigrationKind,
    /// Its record is there from the start; else somebody asks for it at any moment.
    pub(crate) at_start: bool,
    pub(crate) cancel: bool,
    pub(crate) remove_target: bool,
    pub(crate) times_out: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Appends {
    pub(crate) mode: Mode,
    pub(crate) appends: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Any,
    Exact,
    NoStream,
}

const fn any(appends: u8) -> Appends {
    Appends { mode: Mode::Any, appends }
}

const fn exact(appends: u8) -> Appends {
    Appends { mode: Mode::Exact, appends }
}

const NO_STREAM: Appends = Appends { mode: Mode::NoStream, appends: 1 };
const TWO_ANY: &[Appends] = &[any(2)];
const ONE_EXACT: &[Appends] = &[exact(1)];
const BOTH: &[Appends] = &[any(1), exact(1)];

const FIRST: Asked =
    Asked { kind: Copy, at_start: true, cancel: false, remove_target: false, times_out: false };
const LATER: Asked = Asked { at_start: false, ..FIRST };
const CANCELLED: Asked = Asked { cancel: true, ..FIRST };
const UNDONE: Asked = Asked { remove_target: true, ..CANCELLED };
const TIMES_OUT: Asked = Asked { times_out: true, ..FIRST };

const CONTINUES: Asked = Asked { kind: Continue, ..FIRST };
const CONTINUES_LATER: Asked = Asked { kind: Continue, ..LATER };
const CONTINUATION_CANCELLED: Asked = Asked { kind: Continue, ..UNDONE };
const CONTINUATION_TIMES_OUT: Asked = Asked { kind: Continue, ..TIMES_OUT };

const PLAIN: Configuration = Configuration {
    name: "",
    about: "",
    object: Object::OneEvent,
    migrations: &[FIRST],
    migrators: &[0],
    writers: &[any(1)],
    reader: false,
    deleter: false,
    foreigner: false,
    looks: true,
    any_route: false,
    faults: Some(1),
    faults_wide: Some(2),
    misreading: None,
    run_outs: true,
};

/// One migration that nobody ends.
pub(crate) const ONE_MOVE: &[Configuration] = &[
    Configuration {
        name: "zombie",
        about: "A>B by two processes at once; an any and an exact writer",
        migrators: &[0, 0],
        writers: BOTH,
        ..PLAIN
    },
    Configuration {
        name: "zombie-unbounded",
        about: "A>B by two processes at once; one writer; faults without bound",
        migrators: &[0, 0],
        faults: None,
        faults_wide: None,
        ..PLAIN
    },
    Configuration {
        name: "two-appends-each",
        about: "A>B; two writers with two appends each, any and exact",
        writers: &[any(2), exact(2)],
        ..PLAIN
    },
    Configuration {
        name: "first-append",
        about: "two proxies create the object at once, and it moves",
        object: Object::New,
        migrations: &[LATER],
        writers: BOTH,
        ..PLAIN
    },
];

/// Migrations that are cancelled or run out of time.
pub(crate) const ENDED: &[Configuration] = &[
    Configuration {
        name: "cancel",
        about: "A>B by two processes, cancelled at any moment, its copy removed",
        migrations: &[UNDONE],
        migrators: &[0, 0],
        ..PLAIN
    },
    Configuration {
        name: "cancel-three",
        about: "A>B by three processes, cancelled at any moment",
        migrations: &[CANCELLED],
        migrators: &[0, 0, 0],
        writers: &[],
        looks: false,
        faults: Some(0),
        faults_wide: Some(1),
        ..PLAIN
    },
    Configuration {
        name: "time-out",
        about: "A>B runs out of time while its close may be on its way",
        migrations: &[TIMES_OUT],
        migrators: &[0, 0],
        ..PLAIN
    },
    Configuration {
        name: "foreigner",
        about: "A>B cancelled; a stranger who knows the target writes to it",
        migrations: &[UNDONE],
        foreigner: true,
        ..PLAIN
    },
];

/// Several migrations of one object.
pub(crate) const SEVERAL_MOVES: &[Configuration] = &[
    Configuration {
        name: "rivals",
        about: "m0 A>B, and m1 from A or B, as it happens",
        migrations: &[FIRST, LATER],
        migrators: &[0, 1],
        ..PLAIN
    },
    Configuration {
        name: "cancel-rival",
        about: "m0 is cancelled, m1 starts, a sleeper of m0 may still close",
        migrations: &[UNDONE, LATER],
        migrators: &[0, 0, 1],
        looks: false,
        faults: Some(0),
        faults_wide: Some(1),
        ..PLAIN
    },
    Configuration {
        name: "chain",
        about: "A>B>C; a stale writer, a reader, deletion of terminated streams",
        migrations: &[FIRST, LATER],
        migrators: &[0, 1],
        reader: true,
        deleter: true,
        faults: Some(0),
        ..PLAIN
    },
    Configuration {
        name: "three-moves",
        about: "A>B>C>D; a writer with any stale route",
        migrations: &[FIRST, LATER, LATER],
        migrators: &[0, 1, 2],
        any_route: true,
        faults: Some(0),
        faults_wide: Some(1),
        ..PLAIN
    },
    Configuration {
        name: "empty",
        about: "an object without events moves twice",
        object: Object::Empty,
        migrations: &[FIRST, LATER],
        migrators: &[0, 1],
        ..PLAIN
    },
];

/// Objects that go on without copy.
pub(crate) const CONTINUATIONS: &[Configuration] = &[
    Configuration {
        name: "continue-zombie",
        about: "A goes on in B by two processes at once; an any and an exact writer",
        migrations: &[CONTINUES],
        migrators: &[0, 0],
        writers: BOTH,
        ..PLAIN
    },
    Configuration {
        name: "continue",
        about: "A goes on in B, B>C is copied; a stale writer, a reader, deletion",
        migrations: &[CONTINUES, LATER],
        migrators: &[0, 1],
        reader: true,
        deleter: true,
        faults: Some(0),
        ..PLAIN
    },
    Configuration {
        name: "continue-continue",
        about: "A goes on in B, B in C; an exact writer with two appends",
        migrations: &[CONTINUES, CONTINUES_LATER],
        migrators: &[0, 1],
        writers: &[exact(2)],
        ..PLAIN
    },
    Configuration {
        name: "copy-continue",
        about: "A>B is copied, B goes on in C; a stale writer, a reader, deletion",
        migrations: &[FIRST, CONTINUES_LATER],
        migrators: &[0, 1],
        reader: true,
        deleter: true,
        faults: Some(0),
        ..PLAIN
    },
    Configuration {
        name: "three-kinds",
        about: "A goes on in B and C, C>D is copied; a writer with any stale route",
        migrations: &[CONTINUES, CONTINUES_LATER, LATER],
        migrators: &[0, 1, 2],
        any_route: true,
        faults: Some(0),
        faults_wide: Some(1),
        ..PLAIN
    },
    Configuration {
        name: "continue-cancel",
        about: "A goes on in B by two processes, cancelled at any moment",
        migrations: &[CONTINUATION_CANCELLED],
        migrators: &[0, 0],
        ..PLAIN
    },
    Configuration {
        name: "continue-time-out",
        about: "a continuation runs out of time while its close may be on its way",
        migrations: &[CONTINUATION_TIMES_OUT],
        migrators: &[0, 0],
        ..PLAIN
    },
    Configuration {
        name: "continue-cancel-rival",
        about: "a continuation is cancelled, a copy starts, a sleeper may still close",
        migrations: &[CONTINUATION_CANCELLED, LATER],
        migrators: &[0, 0, 1],
        looks: false,
        faults: Some(0),
        faults_wide: Some(1),
        ..PLAIN
    },
    Configuration {
        name: "object-modes",
        about: "a no_stream writer while the object goes on; faults without bound",
        migrations: &[CONTINUES],
        writers: &[NO_STREAM],
        faults: None,
        faults_wide: None,
        ..PLAIN
    },
    Configuration {
        name: "empty-continue",
        about: "an object without events goes on, and is copied; a no_stream writer",
        object: Object::Empty,
        migrations: &[CONTINUES, LATER],
        migrators: &[0, 1],
        writers: &[NO_STREAM],
        ..PLAIN
    },
    Configuration {
        name: "continue-foreigner",
        about: "a continuation is cancelled; a stranger who knows its target writes to it",
        migrations: &[CONTINUATION_CANCELLED],
        foreigner: true,
        ..PLAIN
    },
];

/// A tempting misreading of the protocol, as a switch of the world or of an actor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Misreading {
    AnyPastTheClose,
    CloseAtAnyHead,
    RemoveAtOnce,
    DocumentOverwritten,
    NoIdCheckOnTarget,
    DeletionDropsClose,
    StreamsOneAfterTheOther,
    CopyUnconditional,
    CheckThenRemove,
    RemovedIdFreeAgain,
    SameTargetTwice,
    EndIsFinal,
    IdCheckNotAtomic,
    AbsenceIsFailure,
    ResumeAtCatchUp,
    DoneNeedsActive,
    PositionBeforeId,
    HeadsCompared,
    SlotBeyondTheClose,
    NamelessStreams,
    ReleaseWithoutTouch,
    RecordBeforeDocument,
    ClaimForgotten,
    DeleteContinued,
    NoPredecessorIdCheck,
    SealContinueTarget,
    BaseSetEarly,
    LocalModes,
}

/// A misreading, where it is looked for, and by what it is caught.
pub(crate) struct Caught {
    pub(crate) configuration: Configuration,
    pub(crate) by: Property,
}

fn misread(
    (name, about): (&'static str, &'static str),
    misreading: Misreading,
    configuration: Configuration,
    by: Property,
) -> Caught {
    let misreading = Some(misreading);
    // What is caught on the way is shown without what comes after it.
    let run_outs = by == Property::ComesToRest;
    let configuration = Configuration { name, about, misreading, run_outs, ..configuration };
    Caught { configuration, by }
}

pub(crate) fn misreadings() -> Vec<Caught> {
    use Misreading as M;
    use Property as P;
    let calm = Configuration { faults: Some(0), ..PLAIN };
    let shaken = Configuration { faults: Some(1), ..PLAIN };
    let twins = Configuration { migrators: &[0, 0], ..calm };
    let undone = Configuration { migrations: &[UNDONE], ..twins };
    let rivals = Configuration { migrations: &[UNDONE, LATER], migrators: &[0, 1], ..calm };
    let two = Configuration { migrations: &[FIRST, LATER], migrators: &[0, 1], ..calm };
    let foreign = Configuration { foreigner: true, ..calm };
    let continued = Configuration { migrations: &[CONTINUES], ..calm };
    vec![
        misread(
            ("x1-any-unconditional", "a store takes `any` past the CloseEvent"),
            M::AnyPastTheClose,
            calm,
            P::ClosedIsClosed,
        ),
        misread(
            ("x2-close-any-head", "close without exact head"),
            M::CloseAtAnyHead,
            calm,
            P::CompleteBeforeClose,
        ),
        misread(
            ("x3-remove-without-I11", "cancelling removes the copy at once"),
            M::RemoveAtOnce,
            undone,
            P::NothingNeededIsRemoved,
        ),
        misread(
            ("x4-doc-no-cas", "the document is overwritten"),
            M::DocumentOverwritten,
            Configuration { faults: Some(1), ..twins },
            P::DocumentMovesForward,
        ),
        misread(
            ("x5-no-id-check-on-target", "a repeated append is not looked up in the target"),
            M::NoIdCheckOnTarget,
            shaken,
            P::NothingTwice,
        ),
        misread(
            ("x6-delete-drops-close", "deletion takes the CloseEvent too"),
            M::DeletionDropsClose,
            Configuration { deleter: true, ..calm },
            P::ClosedIsClosed,
        ),
        misread(
            ("x7-concat-history", "history = terminated streams + active"),
            M::StreamsOneAfterTheOther,
            calm,
            P::NothingTwice,
        ),
        misread(
            ("x8-copy-unconditional", "copies go to whatever head, without a look at ids"),
            M::CopyUnconditional,
            Configuration { faults: Some(1), ..twins },
            P::CompleteBeforeClose,
        ),
        misread(
            ("a1-I11-check-then-act", "compare heads, then remove, without the seal"),
            M::CheckThenRemove,
            undone,
            P::NothingNeededIsRemoved,
        ),
        misread(
            ("a2-removed-id-free-again", "a removed orphan can be written again"),
            M::RemovedIdFreeAgain,
            undone,
            P::ClosedIsClosed,
        ),
        misread(
            ("a3-same-target-twice", "the document gives one id to two migrations"),
            M::SameTargetTwice,
            rivals,
            P::NoTargetTwice,
        ),
        misread(
            ("a4-cancelled-is-final", "nobody looks at a CANCELLED record again"),
            M::EndIsFinal,
            undone,
            P::RecordsTellTheTruth,
        ),
        misread(
            ("a5-delete-continued", "a stream is deleted that went on without copy"),
            M::DeleteContinued,
            Configuration { deleter: true, ..continued },
            P::HistoryGrowsAtItsEnd,
        ),
        misread(
            ("a6-id-check-not-atomic", "look for the id, then append"),
            M::IdCheckNotAtomic,
            shaken,
            P::NothingTwice,
        ),
        misread(
            ("a7-no-predecessor-id-check", "ids are looked up in the active stream only"),
            M::NoPredecessorIdCheck,
            Configuration { faults: Some(2), ..continued },
            P::NothingTwice,
        ),
        misread(
            ("a8-seal-continue-target", "the empty target of a cancelled continuation is sealed"),
            M::SealContinueTarget,
            Configuration {
                migrations: &[CONTINUATION_CANCELLED],
                migrators: &[0, 0],
                ..continued
            },
            P::NothingNeededIsRemoved,
        ),
        misread(
            ("a10-absence-is-failure", "an append that is not found is reported as refused"),
            M::AbsenceIsFailure,
            shaken,
            P::RefusedIsNotThere,
        ),
        misread(
            ("a11-resume-at-2", "a record without pointer is resumed at the copy"),
            M::ResumeAtCatchUp,
            calm,
            P::OnlyTheRunningOneCloses,
        ),
        misread(
            ("a13-done-needs-active", "the end insists that the document names the target"),
            M::DoneNeedsActive,
            two,
            P::ComesToRest,
        ),
        misread(
            ("a14-position-before-id", "exact: position judged before the id"),
            M::PositionBeforeId,
            Configuration { writers: ONE_EXACT, ..shaken },
            P::RefusedIsNotThere,
        ),
        misread(
            (
                "a15-foreign-in-target",
                "heads are compared, contents are not; appends name no maker",
            ),
            M::HeadsCompared,
            foreign,
            P::CompleteBeforeClose,
        ),
        misread(
            ("a16-base-set-early", "a continuation is given its first version before the close"),
            M::BaseSetEarly,
            Configuration { writers: TWO_ANY, ..continued },
            P::NothingLooksRestored,
        ),
        misread(
            ("a17-local-modes", "no_stream is judged by the new, empty stream"),
            M::LocalModes,
            Configuration { writers: &[NO_STREAM], ..continued },
            P::JudgedOnTheObject,
        ),
        misread(
            ("a19-slot-beyond-close", "a store whose only condition is a free slot"),
            M::SlotBeyondTheClose,
            Configuration { writers: BOTH, ..calm },
            P::ClosedIsClosed,
        ),
        misread(
            ("a21-nameless-streams", "appends do not name who made the stream"),
            M::NamelessStreams,
            foreign,
            P::CompleteBeforeClose,
        ),
        misread(
            ("n1-release-without-touch", "a release leaves a foreign document as it is"),
            M::ReleaseWithoutTouch,
            undone,
            P::RecordsTellTheTruth,
        ),
        misread(
            ("n2-record-before-document", "the record is read before the document"),
            M::RecordBeforeDocument,
            undone,
            P::RecordsTellTheTruth,
        ),
        misread(
            ("n3-claim-forgotten", "a release forgets where the claim led"),
            M::ClaimForgotten,
            Configuration { faults: Some(1), ..undone },
            P::RecordsTellTheTruth,
        ),
    ]
}
