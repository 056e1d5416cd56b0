//! Why a client did not get what it asked for, in words that it can act on.

use std::time::Duration;

use crate::documents::DocumentError;
use crate::domain::limits::LimitExceeded;
use crate::domain::reason::Reason;
use crate::domain::{
    ErrorClass, EventId, InvalidValue, ObjectKey, StreamAddress, StreamRef, WrongExpectedVersion,
};
use crate::runtime::DeadlinePassed;
use crate::store::{StoreError, UnknownStore};

/// A store or document error that the caller can only wait out or report.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The errors of the client's side. Unless it is [`Self::OutcomeUnknown`], an append that ended
/// with one was certainly not done.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("{0}")]
    Invalid(#[from] InvalidValue),
    #[error("{0}")]
    LimitExceeded(#[from] LimitExceeded),
    #[error("object {object} does not exist")]
    ObjectNotFound { object: ObjectKey },
    #[error("{0}")]
    UnknownStore(#[from] UnknownStore),
    /// Only for raw reads: an object's document never names such a stream.
    #[error("store {} has no stream {}", stream.store, stream.stream_id)]
    StreamNotFound { stream: StreamAddress },
    #[error("the events of stream {stream} were removed")]
    StreamGone { stream: StreamAddress },
    #[error("{0}")]
    WrongExpectedVersion(#[from] WrongExpectedVersion),
    #[error(
        "event {event_id} is in the object already, beside or in place of others of this batch"
    )]
    DuplicateEventId { event_id: EventId },
    /// The stream was closed, and the caller wants to follow by itself.
    #[error("stream {stream} is closed")]
    StreamClosed { stream: StreamAddress, continuation: Option<Box<StreamRef>> },
    /// Appends to the object are held back for a moment.
    #[error("the object is being cut over")]
    CutoverInProgress { retry_after: Duration },
    #[error("followed {followed} continuations and met another closed stream")]
    TooManyContinuations { followed: u32, retry_after: Duration },
    #[error("lost {attempts} rounds against other appends")]
    Contended { attempts: u32, retry_after: Duration },
    #[error("too much is in flight")]
    TooManyInFlight { retry_after: Duration },
    #[error("store {store} asks to slow down")]
    RateLimited { store: String, retry_after: Duration },
    #[error("store {store} cannot be reached")]
    StoreUnavailable {
        store: String,
        retry_after: Duration,
        #[source]
        cause: Option<Cause>,
    },
    /// Nothing was sent, or what was sent was refused.
    #[error("the deadline passed before the append was done")]
    DeadlinePassed {
        retry_after: Duration,
        #[source]
        passed: DeadlinePassed,
    },
    #[error("it is not known whether the append was done; repeat it with the same event ids")]
    OutcomeUnknown {
        #[source]
        cause: Option<Cause>,
    },
    #[error("the store cannot {what}")]
    Unsupported { what: &'static str },
    #[error("damaged data: {detail}")]
    Corrupt { detail: String },
    #[error("a fault of this proxy: {detail}")]
    Bug { detail: String },
}

/// When to come back after something that passes by itself.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

impl ProxyError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::InvalidArgument,
            Self::LimitExceeded(LimitExceeded::EventTooLarge { .. }) => Reason::EventTooLarge,
            Self::LimitExceeded(LimitExceeded::BatchTooLarge { .. }) => Reason::BatchTooLarge,
            Self::ObjectNotFound { .. } => Reason::ObjectNotFound,
            Self::UnknownStore(_) => Reason::StoreNotFound,
            Self::StreamNotFound { .. } => Reason::StreamNotFound,
            Self::StreamGone { .. } => Reason::StreamGone,
            Self::WrongExpectedVersion(_) => Reason::WrongExpectedVersion,
            Self::DuplicateEventId { .. } => Reason::DuplicateEventId,
            Self::StreamClosed { .. } => Reason::StreamClosed,
            Self::CutoverInProgress { .. } => Reason::CutoverInProgress,
            Self::TooManyContinuations { .. } => Reason::TooManyContinuations,
            Self::Contended { .. } => Reason::Contended,
            Self::TooManyInFlight { .. } => Reason::TooManyInFlight,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::StoreUnavailable { .. } | Self::DeadlinePassed { .. } => Reason::StoreUnavailable,
            Self::OutcomeUnknown { .. } => Reason::OutcomeUnknown,
            Self::Unsupported { .. } => Reason::UnsupportedByStore,
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
            Self::CutoverInProgress { retry_after }
            | Self::TooManyContinuations { retry_after, .. }
            | Self::Contended { retry_after, .. }
            | Self::TooManyInFlight { retry_after }
            | Self::RateLimited { retry_after, .. }
            | Self::DeadlinePassed { retry_after, .. }
            | Self::StoreUnavailable { retry_after, .. } => Some(*retry_after),
            Self::Invalid(_)
            | Self::LimitExceeded(_)
            | Self::ObjectNotFound { .. }
            | Self::UnknownStore(_)
            | Self::StreamNotFound { .. }
            | Self::StreamGone { .. }
            | Self::WrongExpectedVersion(_)
            | Self::DuplicateEventId { .. }
            | Self::StreamClosed { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Unsupported { .. }
            | Self::Corrupt { .. }
            | Self::Bug { .. } => None,
        }
    }

    /// A store's error that means the same to the client wherever it comes from. What depends on
    /// the route is handled before: [`StoreError::Closed`], a missing stream, another maker.
    pub(super) fn from_store(stream: &StreamAddress, error: StoreError) -> Self {
        match error {
            StoreError::WrongExpectedVersion(wrong) => Self::WrongExpectedVersion(wrong),
            StoreError::DuplicateEventId { event_id } => Self::DuplicateEventId { event_id },
            StoreError::LimitExceeded(limit) => Self::LimitExceeded(limit),
            StoreError::Unsupported { what } => Self::Unsupported { what },
            StoreError::Contended { attempts } => {
                Self::Contended { attempts, retry_after: RETRY_AFTER }
            }
            StoreError::Overloaded { retry_after } => {
                Self::TooManyInFlight { retry_after: retry_after.unwrap_or(RETRY_AFTER) }
            }
            StoreError::RateLimited { retry_after } => Self::RateLimited {
                store: stream.store.to_string(),
                retry_after: retry_after.unwrap_or(RETRY_AFTER),
            },
            StoreError::Unavailable { cause, retry_after } => Self::StoreUnavailable {
                store: stream.store.to_string(),
                retry_after: retry_after.unwrap_or(RETRY_AFTER),
                cause,
            },
            StoreError::TimedOut => Self::StoreUnavailable {
                store: stream.store.to_string(),
                retry_after: RETRY_AFTER,
                cause: None,
            },
            StoreError::OutcomeUnknown { cause } => Self::OutcomeUnknown { cause },
            StoreError::Closed { close } => Self::StreamClosed {
                stream: stream.clone(),
                continuation: close.continuation.map(|next| Box::new(next.0)),
            },
            StoreError::NotFound
            | StoreError::Gone { .. }
            | StoreError::AlreadyExists
            | StoreError::WrongMaker { .. } => Self::Corrupt {
                detail: format!(
                    "the object document names {stream}, of which the store says: {error}"
                ),
            },
            StoreError::Corrupt { detail } => Self::Corrupt { detail },
            StoreError::NotClosed => {
                Self::Bug { detail: "an open stream was to be removed".into() }
            }
            StoreError::Bug { detail } => Self::Bug { detail },
        }
    }
}

impl ProxyError {
    /// A store's error about a stream that the caller named itself.
    pub(super) fn from_raw(stream: &StreamAddress, error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::StreamNotFound { stream: stream.clone() },
            StoreError::Gone { .. } => Self::StreamGone { stream: stream.clone() },
            error => Self::from_store(stream, error),
        }
    }

    /// The object moved on in every one of so many rounds.
    pub(super) fn moved_too_often(followed: u32) -> Self {
        Self::TooManyContinuations { followed, retry_after: RETRY_AFTER }
    }
}

impl From<DocumentError> for ProxyError {
    fn from(error: DocumentError) -> Self {
        match error {
            // Every change here is read, decided and tried again; a conflict that is left over
            // says that others were faster each time.
            DocumentError::Conflict => Self::Contended { attempts: 1, retry_after: RETRY_AFTER },
            DocumentError::Unavailable { cause, retry_after } => {
                Self::documents_unavailable(cause, retry_after)
            }
            // The document itself is settled by reading it again; no append was sent yet.
            DocumentError::TimedOut | DocumentError::OutcomeUnknown { .. } => {
                Self::documents_unavailable(Some(error.into()), None)
            }
            DocumentError::Corrupt { .. } | DocumentError::NewerFormat { .. } => {
                Self::Corrupt { detail: error.to_string() }
            }
        }
    }
}

impl ProxyError {
    fn documents_unavailable(cause: Option<Cause>, retry_after: Option<Duration>) -> Self {
        let store = "of the object documents".to_owned();
        let retry_after = retry_after.unwrap_or(RETRY_AFTER);
        Self::StoreUnavailable { store, retry_after, cause }
    }
}
