//! The words between the machine and whoever performs: steps, effects and their outcomes.

use super::Phase;
use super::record::{Failure, Orders};
use crate::domain::{CloseEvent, Head, MigrationId, StreamAddress, Version};

use crate::domain::Checksum;

/// Where the machine is. A step that waits for an outcome carries what it needs to judge it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Loading,
    Asking,
    Claiming,
    Creating,
    Looking,
    Comparing,
    Reading,
    Appending {
        count: u64,
        source: Checksum,
    },
    ReadingBack {
        count: u64,
        source: Checksum,
    },
    /// Paused by an operator.
    Resting,
    /// Between two rounds.
    Waiting,
    PausingSource,
    Closing,
    Locating {
        close: Box<CloseEvent>,
    },
    Rerouting {
        close: Box<CloseEvent>,
    },
    /// Letting held appends go after the reroute.
    ResumingAfter,
    /// Letting held appends go before something else.
    ResumingBefore {
        then: Box<(Step, Effect)>,
    },
    Verifying,
    RecordingSuccess,
    /// A last look at the source before an end is recorded.
    GivingUp {
        phase: Phase,
        failure: Option<Failure>,
    },
    RecordingEnd {
        phase: Phase,
    },
    /// Writing down what the document handed out, before the document forgets it.
    RecordingTarget {
        phase: Phase,
    },
    /// Changing the document, so that no claim that was prepared before can succeed.
    Releasing {
        phase: Phase,
    },
    /// Making a provisional end final (I11, I12).
    Settling {
        phase: Phase,
    },
    Sealing {
        phase: Phase,
        copy: Option<Version>,
    },
    RecordingFinal {
        phase: Phase,
    },
    /// Nothing is left to do.
    Ended {
        phase: Phase,
    },
    /// Nothing can be done now; the supervisor looks again later.
    Parked {
        phase: Phase,
    },
}

/// One external call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    ReadDocument,
    ReadRecord,
    /// Make this the object's running migration, if the document is as it was read.
    ClaimDocument,
    /// Write the target's header, if absent.
    CreateTarget,
    ReadTargetTail,
    /// Read both sides from here up to a version and chain their checksums.
    Compare {
        from: Copied,
        to: Version,
    },
    ReadSource {
        at: Copied,
    },
    /// Append the page that was read last, at its exact position.
    AppendTarget {
        at: Copied,
        count: u64,
    },
    /// Read from the target what was appended last.
    ReadBack {
        at: Copied,
        count: u64,
    },
    Wait,
    Rest,
    PauseSource,
    ResumeSource,
    /// Append the CloseEvent at exactly this head (I3), with the checksum of what was copied.
    CloseSource {
        head: Head,
        checksum: Option<Checksum>,
    },
    /// Follow the CloseEvent in the document as it was read (I6).
    Reroute {
        close: Box<CloseEvent>,
    },
    /// Observe the effect: document, target's tail, checksums.
    Verify {
        at: Copied,
    },
    ReadSourceTail,
    RecordSuccess,
    /// Record an end, unless there is one: the first stands. Answers the record.
    RecordEnd {
        phase: Phase,
        failure: Option<Failure>,
    },
    /// Record where the claim leads. Answers the record.
    RecordTarget,
    ReleaseDocument,
    /// Record that the document was changed after the end. Answers the record.
    RecordReleased,
    /// Close the copy at exactly this head, without continuation (I11).
    SealTarget {
        head: Head,
    },
    /// Delete the copy's events, if that was asked for.
    RemoveTarget,
    RecordFinal {
        phase: Phase,
    },
}

/// How far the copy reaches, and what was read on each side up to there. Without copy: where the
/// continuation goes on, and nothing read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copied {
    /// The next version to copy.
    pub next: Version,
    pub source: Checksum,
    pub target: Checksum,
}

impl Copied {
    pub const fn nothing(base: Version) -> Self {
        Self { next: base, source: Checksum::START, target: Checksum::START }
    }

    pub fn agrees(&self) -> bool {
        self.source == self.target
    }
}

/// What the object document says of the migration's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentView {
    /// It is the active stream. `claimed` is the target if the running migration is this one.
    Active { claimed: Option<StreamAddress> },
    /// It is listed as terminated, and went on in `continuation`.
    Terminated { closed_by: MigrationId, continuation: StreamAddress },
    /// The document does not list it, or there is none.
    Unknown,
}

/// What the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// Its phase, if it has ended.
    pub ended: Option<Phase>,
    /// The end is final.
    pub is_final: bool,
    pub released: bool,
    /// Where the claim leads, if any process wrote it down.
    pub target: Option<StreamAddress>,
    pub orders: Orders,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer, or one that says "later": the same effect again.
    Lost,
    /// Refused for good.
    Refused(Failure),
    Document(DocumentView),
    Record(RecordView),
    Claimed {
        target: StreamAddress,
    },
    /// The document is not as it was read.
    DocumentChanged,
    Created,
    TargetTail {
        /// `base - 1` before the first event; none before the first event of a continuation
        /// without copy, which has no base yet.
        head: Head,
        closed: Option<Box<CloseEvent>>,
    },
    /// None: the target holds what the source does not.
    Compared(Option<Copied>),
    SourcePage {
        count: u64,
        after: Checksum,
        head: Head,
        closed: Option<Box<CloseEvent>>,
    },
    Appended,
    /// The target is not where it was: another migrator of this migration is at work.
    TargetMoved,
    ReadBack {
        after: Checksum,
    },
    Waited,
    Rested,
    SourcePaused {
        granted: bool,
    },
    SourceResumed,
    /// The source is closed now; by whom, the CloseEvent says.
    Closed(Box<CloseEvent>),
    HeadMoved {
        head: Head,
    },
    Rerouted,
    Verified,
    SourceTail {
        head: Head,
        closed: Option<Box<CloseEvent>>,
    },
    Recorded,
    Released,
    Sealed,
    Removed,
}
