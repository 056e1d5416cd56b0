//! Why a store did not do what was asked.

use std::time::Duration;

use crate::domain::limits::LimitExceeded;
use crate::domain::{CloseEvent, ErrorClass, EventId, Head, MigrationId, WrongExpectedVersion};

/// The cause as the backend's client reported it; never shown to callers.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The one error of the port. Only [`Self::OutcomeUnknown`] leaves open whether a write was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the stream does not exist")]
    NotFound,
    #[error("the stream exists with another header")]
    AlreadyExists,
    #[error("{0}")]
    WrongExpectedVersion(#[from] WrongExpectedVersion),
    /// The stream has ended; `close` says where it goes on.
    #[error("the stream is closed")]
    Closed { close: Box<CloseEvent> },
    /// The events of the stream were removed.
    #[error("the stream's events were removed")]
    Gone { head: Head, close: Box<CloseEvent> },
    /// Only a closed stream can be removed.
    #[error("the stream is open")]
    NotClosed,
    #[error("the stream was made by {actual:?}, not by {expected:?}")]
    WrongMaker { expected: Option<MigrationId>, actual: Option<MigrationId> },
    #[error("event {event_id} is in the stream already")]
    DuplicateEventId { event_id: EventId },
    #[error("{0}")]
    LimitExceeded(#[from] LimitExceeded),
    #[error("this store cannot {what}")]
    Unsupported { what: &'static str },
    /// An `any` append lost too many rounds. Certainly not done.
    #[error("lost {attempts} rounds against other appends")]
    Contended { attempts: u32 },
    /// Certainly not done: too much is in flight here already.
    #[error("too many calls are in flight")]
    Overloaded { retry_after: Option<Duration> },
    /// Certainly not done: the store takes less than it is asked for, and says when to come back.
    #[error("the store asks to slow down")]
    RateLimited { retry_after: Option<Duration> },
    /// Certainly not done.
    #[error("the store cannot be reached")]
    Unavailable {
        #[source]
        cause: Option<Cause>,
        retry_after: Option<Duration>,
    },
    /// A read that took too long. Nothing was changed.
    #[error("no answer in time")]
    TimedOut,
    /// A write that may have been done, or may still be.
    #[error("the outcome is unknown")]
    OutcomeUnknown {
        #[source]
        cause: Option<Cause>,
    },
    #[error("damaged: {detail}")]
    Corrupt { detail: String },
    /// The backend did what the contract forbids.
    #[error("broken: {detail}")]
    Bug { detail: String },
}

impl StoreError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound | Self::Gone { .. } => ErrorClass::NotFound,
            Self::AlreadyExists | Self::DuplicateEventId { .. } => ErrorClass::AlreadyExists,
            Self::WrongExpectedVersion(_) => ErrorClass::Conflict,
            Self::Closed { .. } | Self::NotClosed | Self::WrongMaker { .. } => ErrorClass::Refused,
            Self::LimitExceeded(_) => ErrorClass::Invalid,
            Self::Unsupported { .. } => ErrorClass::Unsupported,
            Self::Contended { .. } | Self::Unavailable { .. } => ErrorClass::Unavailable,
            Self::Overloaded { .. } | Self::RateLimited { .. } => ErrorClass::Overloaded,
            Self::TimedOut => ErrorClass::TimedOut,
            Self::OutcomeUnknown { .. } => ErrorClass::OutcomeUnknown,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
            Self::Bug { .. } => ErrorClass::Bug,
        }
    }

    pub fn closed(close: CloseEvent) -> Self {
        Self::Closed { close: Box::new(close) }
    }

    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable { cause: Some(cause.into()), retry_after: None }
    }

    pub fn unknown(cause: impl Into<Cause>) -> Self {
        Self::OutcomeUnknown { cause: Some(cause.into()) }
    }
}
