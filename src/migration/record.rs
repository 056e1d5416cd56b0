//! What is remembered of a migration. A hint like all else: on resume the truth is the target's
//! tail, the source's tail and the object document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MigrationOptions;
use crate::domain::close_event::MigrationKind;
use crate::domain::reason::Reason;
use crate::domain::{
    Checksum, Head, MigrationId, ObjectKey, StoreName, StreamAddress, StreamId, StreamRef,
    Timestamp, Version,
};

/// Where a migration is. The table of phases in `docs/migration.md` agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    Preparing,
    CatchingUp,
    Closing,
    Rerouting,
    Verifying,
    Succeeded,
    Failed,
    Cancelled,
}

impl Phase {
    pub const ALL: [Self; 8] = [
        Self::Preparing,
        Self::CatchingUp,
        Self::Closing,
        Self::Rerouting,
        Self::Verifying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word in records, logs, labels and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "PREPARING",
            Self::CatchingUp => "CATCHING_UP",
            Self::Closing => "CLOSING",
            Self::Rerouting => "REROUTING",
            Self::Verifying => "VERIFYING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether the migration counts as ended for the object: another one may begin.
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Preparing
            | Self::CatchingUp
            | Self::Closing
            | Self::Rerouting
            | Self::Verifying => false,
        }
    }
}

/// Why a migration failed, or what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
}

impl Failure {
    /// It passes: the migration goes on when a store can be reached again.
    fn is_waiting(&self) -> bool {
        self.reason == Reason::StoreUnavailable
    }
}

/// Proof that both sides were equal when the migration ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Events of the target up to the head at the close.
    pub events: u64,
    pub head: Head,
    /// Chained over the events as they were read from each side.
    pub source_checksum: Checksum,
    pub target_checksum: Checksum,
    pub verified_at: Timestamp,
}

/// What an operator asked for after the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    pub paused: bool,
    pub cancelled: bool,
    /// Delete the copy once no close can point to it.
    pub remove_target: bool,
}

/// Figures as of the last time they were written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedProgress {
    pub iteration: u32,
    pub source_head: Head,
    pub target_head: Head,
    pub events_copied: u64,
    pub bytes_copied: u64,
    pub close_attempts: u32,
    pub appends_redirected: u64,
    /// Microseconds.
    pub stall_count: u64,
    pub stall_p50_us: u64,
    pub stall_p99_us: u64,
    pub stall_max_us: u64,
}

/// A migration as the document store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationRecord {
    pub migration: MigrationId,
    pub request_id: String,
    #[serde(flatten)]
    pub object: ObjectKey,
    pub kind: MigrationKind,
    /// The stream that it leaves.
    pub source: StreamRef,
    pub target_store: StoreName,
    /// The id that the operator chose.
    pub target_stream_id: Option<StreamId>,
    /// The first version that is copied; none for a continuation without copy.
    pub target_base: Option<Version>,
    /// Where it goes, once the object document has handed it out.
    pub target: Option<StreamAddress>,
    pub options: MigrationOptions,
    pub labels: BTreeMap<String, String>,
    pub phase: Phase,
    pub orders: Orders,
    /// Ended, but a close that is on its way could still overtake it (I12).
    pub provisional: bool,
    /// The object document was changed after the end was recorded, so that no claim that was
    /// prepared before can succeed.
    pub released: bool,
    pub failure: Option<Failure>,
    pub progress: RecordedProgress,
    pub certificate: Option<Certificate>,
    /// The greatest fencing token that a runner of this migration held.
    pub token: u64,
    pub owner: Option<String>,
    pub lease_expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Since when it is paused, and for how long it was before.
    pub paused_since: Option<Timestamp>,
    pub paused_ms: u64,
}

impl MigrationRecord {
    /// The first version that is copied; none for a continuation without copy.
    pub fn base(&self) -> Option<Version> {
        match self.kind {
            MigrationKind::Copy => Some(self.target_base.unwrap_or(Version::FIRST)),
            MigrationKind::Continue => None,
        }
    }

    /// What an unfinished migration waits for; forgotten once it goes on. Whatever else it says of
    /// its failure stays.
    pub fn note_waiting(&mut self, waits_for: Option<&Failure>, goes_on: bool) {
        let waited = self.failure.as_ref().is_some_and(Failure::is_waiting);
        if waits_for.is_some() || (waited && goes_on) {
            self.failure = waits_for.cloned();
        }
    }

    /// Ended for good: nothing can change it any more.
    pub fn is_final(&self) -> bool {
        self.phase.has_ended() && !self.provisional
    }
}
