//! Why a document store did not do what was asked.

use std::time::Duration;

use crate::domain::ErrorClass;

pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Only [`Self::OutcomeUnknown`] leaves open whether a write was done.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The precondition did not hold. Nothing was changed.
    #[error("the document has changed")]
    Conflict,
    /// Certainly not done.
    #[error("the document store cannot be reached")]
    Unavailable {
        #[source]
        cause: Option<Cause>,
        /// When the store asks to be asked again.
        retry_after: Option<Duration>,
    },
    /// A read that took too long.
    #[error("no answer in time")]
    TimedOut,
    /// A write that may have been done, or may still be.
    #[error("the outcome is unknown")]
    OutcomeUnknown {
        #[source]
        cause: Option<Cause>,
    },
    #[error("damaged document {key}: {detail}")]
    Corrupt { key: String, detail: String },
    /// Written by a newer release; left alone.
    #[error("document {key} has format {found}, this release knows up to {known}")]
    NewerFormat { key: String, found: u32, known: u32 },
}

impl DocumentError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Conflict => ErrorClass::Conflict,
            Self::Unavailable { .. } => ErrorClass::Unavailable,
            Self::TimedOut => ErrorClass::TimedOut,
            Self::OutcomeUnknown { .. } => ErrorClass::OutcomeUnknown,
            Self::Corrupt { .. } | Self::NewerFormat { .. } => ErrorClass::Corrupt,
        }
    }
}
