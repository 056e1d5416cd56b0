//! The reasons of errors as clients and migration records see them: the one list of them.
//!
//! `docs/errors.md` has a paragraph for each, and a test holds both lists together.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ErrorClass;

/// What went wrong, stable across releases. A class may have many reasons; a reason has one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    InvalidArgument,
    EventTooLarge,
    BatchTooLarge,
    WrongExpectedVersion,
    MigrationAlreadyRunning,
    PredecessorFailed,
    StreamClosed,
    TargetNotEmpty,
    TargetDiverged,
    InvalidTransition,
    ObjectNotFound,
    MigrationNotFound,
    StoreNotFound,
    StreamGone,
    /// Only for raw reads: no stream bears this id.
    StreamNotFound,
    DuplicateEventId,
    CutoverInProgress,
    TooManyContinuations,
    StoreUnavailable,
    LockUnavailable,
    Contended,
    OutcomeUnknown,
    RateLimited,
    TooManyInFlight,
    UnsupportedByStore,
    VerificationFailed,
    CorruptData,
    Internal,
    /// Ends a migration: its source was not closed in time.
    CloseTimeout,
    /// Ends a migration: the gap did not shrink, and the strategy was to fail.
    NotConverging,
}

impl Reason {
    pub const ALL: [Self; 30] = [
        Self::InvalidArgument,
        Self::EventTooLarge,
        Self::BatchTooLarge,
        Self::WrongExpectedVersion,
        Self::MigrationAlreadyRunning,
        Self::PredecessorFailed,
        Self::StreamClosed,
        Self::TargetNotEmpty,
        Self::TargetDiverged,
        Self::InvalidTransition,
        Self::ObjectNotFound,
        Self::MigrationNotFound,
        Self::StoreNotFound,
        Self::StreamGone,
        Self::StreamNotFound,
        Self::DuplicateEventId,
        Self::CutoverInProgress,
        Self::TooManyContinuations,
        Self::StoreUnavailable,
        Self::LockUnavailable,
        Self::Contended,
        Self::OutcomeUnknown,
        Self::RateLimited,
        Self::TooManyInFlight,
        Self::UnsupportedByStore,
        Self::VerificationFailed,
        Self::CorruptData,
        Self::Internal,
        Self::CloseTimeout,
        Self::NotConverging,
    ];

    /// The word in `ErrorInfo.reason` and in stored records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::EventTooLarge => "EVENT_TOO_LARGE",
            Self::BatchTooLarge => "BATCH_TOO_LARGE",
            Self::WrongExpectedVersion => "WRONG_EXPECTED_VERSION",
            Self::MigrationAlreadyRunning => "MIGRATION_ALREADY_RUNNING",
            Self::PredecessorFailed => "PREDECESSOR_FAILED",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::TargetNotEmpty => "TARGET_NOT_EMPTY",
            Self::TargetDiverged => "TARGET_DIVERGED",
            Self::InvalidTransition => "INVALID_TRANSITION",
            Self::ObjectNotFound => "OBJECT_NOT_FOUND",
            Self::MigrationNotFound => "MIGRATION_NOT_FOUND",
            Self::StoreNotFound => "STORE_NOT_FOUND",
            Self::StreamGone => "STREAM_GONE",
            Self::StreamNotFound => "STREAM_NOT_FOUND",
            Self::DuplicateEventId => "DUPLICATE_EVENT_ID",
            Self::CutoverInProgress => "CUTOVER_IN_PROGRESS",
            Self::TooManyContinuations => "TOO_MANY_CONTINUATIONS",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::LockUnavailable => "LOCK_UNAVAILABLE",
            Self::Contended => "CONTENDED",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::RateLimited => "RATE_LIMITED",
            Self::TooManyInFlight => "TOO_MANY_IN_FLIGHT",
            Self::UnsupportedByStore => "UNSUPPORTED_BY_STORE",
            Self::VerificationFailed => "VERIFICATION_FAILED",
            Self::CorruptData => "CORRUPT_DATA",
            Self::Internal => "INTERNAL",
            Self::CloseTimeout => "CLOSE_TIMEOUT",
            Self::NotConverging => "NOT_CONVERGING",
        }
    }

    pub const fn class(self) -> ErrorClass {
        match self {
            Self::InvalidArgument | Self::EventTooLarge | Self::BatchTooLarge => {
                ErrorClass::Invalid
            }
            Self::WrongExpectedVersion
            | Self::MigrationAlreadyRunning
            | Self::PredecessorFailed => ErrorClass::Conflict,
            Self::StreamClosed
            | Self::TargetNotEmpty
            | Self::TargetDiverged
            | Self::InvalidTransition
            | Self::NotConverging => ErrorClass::Refused,
            Self::ObjectNotFound
            | Self::MigrationNotFound
            | Self::StoreNotFound
            | Self::StreamGone
            | Self::StreamNotFound => ErrorClass::NotFound,
            Self::DuplicateEventId => ErrorClass::AlreadyExists,
            Self::CutoverInProgress | Self::TooManyContinuations => ErrorClass::Moving,
            Self::StoreUnavailable | Self::LockUnavailable | Self::Contended => {
                ErrorClass::Unavailable
            }
            Self::OutcomeUnknown => ErrorClass::OutcomeUnknown,
            Self::RateLimited | Self::TooManyInFlight => ErrorClass::Overloaded,
            Self::UnsupportedByStore => ErrorClass::Unsupported,
            Self::VerificationFailed | Self::CorruptData => ErrorClass::Corrupt,
            Self::Internal => ErrorClass::Bug,
            Self::CloseTimeout => ErrorClass::TimedOut,
        }
    }

    /// The reason of a word; none for one that this release does not know.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_and_has_one_spelling_everywhere() {
        let distinct: std::collections::HashSet<Reason> = Reason::ALL.into_iter().collect();
        let last = Reason::NotConverging as usize;
        assert_eq!((distinct.len(), last + 1), (Reason::ALL.len(), Reason::ALL.len()));
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            let stored = serde_json::to_string(&reason).unwrap();
            assert_eq!(stored, format!("\"{reason}\""), "records say what the interface says");
        }
    }
}
