//! Why an operator did not get what was asked for.

use std::time::Duration;

use super::Phase;
use crate::documents::DocumentError;
use crate::domain::reason::Reason;
use crate::domain::{ErrorClass, InvalidValue, MigrationId, ObjectKey, StreamAddress};
use crate::lock::LockError;
use crate::store::{StoreError, UnknownStore};

/// A store or document error that the caller can only wait out or report.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The errors of the operator's side. What ends a migration stands in its record instead.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("{0}")]
    Invalid(#[from] InvalidValue),
    #[error("object {object} does not exist")]
    ObjectNotFound { object: ObjectKey },
    #[error("migration {migration} does not exist")]
    MigrationNotFound { migration: MigrationId },
    #[error("{0}")]
    UnknownStore(#[from] UnknownStore),
    #[error("migration {running} of this object is running")]
    AlreadyRunning { running: MigrationId },
    #[error("target {target} exists already")]
    TargetNotEmpty { target: StreamAddress },
    #[error("the object lives in {actual}, not in {expected}")]
    UnexpectedSource { expected: String, actual: StreamAddress },
    #[error("a migration that is {phase} cannot be {verb}", phase = phase.as_str())]
    InvalidTransition { phase: Phase, verb: &'static str },
    #[error("the target store cannot take this object: {what}")]
    Unsupported { what: String },
    #[error("the lock cannot be had")]
    LockUnavailable { retry_after: Duration },
    #[error("a store cannot be reached")]
    StoreUnavailable {
        retry_after: Duration,
        #[source]
        cause: Cause,
    },
    #[error("damaged data: {detail}")]
    Corrupt { detail: String },
    #[error("a fault of this proxy: {detail}")]
    Bug { detail: String },
}

pub(super) const RETRY_AFTER: Duration = Duration::from_millis(250);

impl MigrationError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::InvalidArgument,
            Self::ObjectNotFound { .. } => Reason::ObjectNotFound,
            Self::MigrationNotFound { .. } => Reason::MigrationNotFound,
            Self::UnknownStore(_) => Reason::StoreNotFound,
            Self::AlreadyRunning { .. } => Reason::MigrationAlreadyRunning,
            Self::TargetNotEmpty { .. } => Reason::TargetNotEmpty,
            Self::UnexpectedSource { .. } | Self::InvalidTransition { .. } => {
                Reason::InvalidTransition
            }
            Self::Unsupported { .. } => Reason::UnsupportedByStore,
            Self::LockUnavailable { .. } => Reason::LockUnavailable,
            Self::StoreUnavailable { .. } => Reason::StoreUnavailable,
            Self::Corrupt { .. } => Reason::CorruptData,
            Self::Bug { .. } => Reason::Internal,
        }
    }

    pub fn class(&self) -> ErrorClass {
        self.reason().class()
    }

    /// How long to wait before the same call again, where that helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LockUnavailable { retry_after } | Self::StoreUnavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Invalid(_)
            | Self::ObjectNotFound { .. }
            | Self::MigrationNotFound { .. }
            | Self::UnknownStore(_)
            | Self::AlreadyRunning { .. }
            | Self::TargetNotEmpty { .. }
            | Self::UnexpectedSource { .. }
            | Self::InvalidTransition { .. }
            | Self::Unsupported { .. }
            | Self::Corrupt { .. }
            | Self::Bug { .. } => None,
        }
    }
}

impl From<DocumentError> for MigrationError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Corrupt { .. } | DocumentError::NewerFormat { .. } => {
                Self::Corrupt { detail: error.to_string() }
            }
            DocumentError::Conflict
            | DocumentError::Unavailable { .. }
            | DocumentError::TimedOut
            | DocumentError::OutcomeUnknown { .. } => {
                Self::StoreUnavailable { retry_after: RETRY_AFTER, cause: error.into() }
            }
        }
    }
}

impl From<StoreError> for MigrationError {
    fn from(error: StoreError) -> Self {
        if error.class() == ErrorClass::Corrupt {
            return Self::Corrupt { detail: error.to_string() };
        }
        Self::StoreUnavailable { retry_after: RETRY_AFTER, cause: error.into() }
    }
}

impl From<LockError> for MigrationError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Unavailable { retry_after } => {
                Self::LockUnavailable { retry_after: retry_after.unwrap_or(RETRY_AFTER) }
            }
            LockError::Held { .. } | LockError::Lost => {
                Self::LockUnavailable { retry_after: RETRY_AFTER }
            }
        }
    }
}
