//! What comes of a call in place of an outcome.

use crate::documents::DocumentError;
use crate::domain::reason::Reason;
use crate::migration::record::Failure;
use crate::store::StoreError;
use crate::telemetry::fields;

/// Why an effect has no outcome of its own.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What stays as it is: it ends the migration.
    Refused(Failure),
    /// Somebody answered, and said that it passes.
    Later,
    /// Nobody answered, or nobody could be asked; why, as far as it is known.
    Unanswered(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let reason = match &error {
            // Too much in flight here is what calls leave that nobody answers.
            StoreError::Unavailable { .. }
            | StoreError::OutcomeUnknown { .. }
            | StoreError::TimedOut
            | StoreError::Overloaded { .. } => {
                tracing::debug!({ fields::ERROR } = %error, "asking a store again");
                return Self::Unanswered(error.to_string());
            }
            StoreError::RateLimited { .. } | StoreError::Contended { .. } => {
                tracing::debug!({ fields::ERROR } = %error, "asking a store again");
                return Self::Later;
            }
            StoreError::LimitExceeded(_) | StoreError::Unsupported { .. } => {
                Reason::UnsupportedByStore
            }
            StoreError::WrongMaker { .. } | StoreError::AlreadyExists => Reason::TargetNotEmpty,
            StoreError::NotFound | StoreError::Gone { .. } | StoreError::Corrupt { .. } => {
                Reason::CorruptData
            }
            StoreError::WrongExpectedVersion(_)
            | StoreError::Closed { .. }
            | StoreError::NotClosed
            | StoreError::DuplicateEventId { .. }
            | StoreError::Bug { .. } => Reason::Internal,
        };
        Self::Refused(Failure { reason, message: error.to_string() })
    }
}

impl From<DocumentError> for Trouble {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Corrupt { .. } | DocumentError::NewerFormat { .. } => {
                let message = error.to_string();
                Self::Refused(Failure { reason: Reason::CorruptData, message })
            }
            DocumentError::Conflict => Self::Later,
            DocumentError::Unavailable { .. }
            | DocumentError::TimedOut
            | DocumentError::OutcomeUnknown { .. } => {
                tracing::debug!({ fields::ERROR } = %error, "asking the documents again");
                Self::Unanswered(error.to_string())
            }
        }
    }
}

/// Refused for good.
pub(super) fn refused(reason: Reason, message: String) -> Trouble {
    Trouble::Refused(Failure { reason, message })
}

/// Refused because of a fault of this proxy.
pub(super) fn bug(message: &str) -> Trouble {
    refused(Reason::Internal, message.to_owned())
}
