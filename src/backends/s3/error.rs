//! Why an S3 store does not open, and what a failed request means to callers.

use std::error::Error;
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};

use super::answers::Refused;
use super::check::Problem;
use crate::documents::DocumentError;
use crate::domain::{ErrorClass, InvalidValue};
use crate::runtime::SecretMissing;
use crate::store::StoreError;

/// The store was not opened. Nothing was changed but objects of its own that the check wrote.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the settings of the store are wrong: {}", listed(.0))]
    Invalid(Vec<InvalidValue>),
    #[error("its credentials are not there")]
    Secret(#[from] SecretMissing),
    #[error("{what}: {problem}")]
    Client { what: &'static str, problem: String },
    #[error("bucket {bucket} at {endpoint}: {}", listed(problems))]
    Unusable { bucket: String, endpoint: String, problems: Vec<Problem> },
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) | Self::Client { .. } => ErrorClass::Invalid,
            Self::Secret(_) => ErrorClass::Unauthenticated,
            Self::Unusable { problems, .. } => {
                problems.first().map_or(ErrorClass::Bug, Problem::class)
            }
        }
    }
}

fn listed<T: ToString>(faults: &[T]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The settings name credentials that are not where they say.
#[derive(Debug, thiserror::Error)]
#[error("the credentials are not there")]
pub(super) struct NoCredentials(#[source] pub(super) SecretMissing);

/// A request that did not do what was asked, for all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Certainly not done: less of it, later.
    #[error("{0}")]
    Throttled(Refused),
    /// Certainly not done: the service said no.
    #[error("{0}")]
    Refused(Refused),
    /// Certainly not done: the request never left.
    #[error("not sent: {0}")]
    NotSent(String),
    /// A write may have been done, or may still be.
    #[error("no answer that settles it: {detail}")]
    Unsettled { detail: String, retry_after: Option<Duration> },
    /// The bytes are not those that were written.
    #[error("{0}")]
    Damaged(String),
}

impl Failure {
    pub(super) fn of(error: &object_store::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(found) = cause {
            if let Some(refused) = found.downcast_ref::<Refused>() {
                return Self::of_refused(refused.clone());
            }
            if found.is::<NoCredentials>() {
                return Self::NotSent(chain(found));
            }
            if let Some(http) = found.downcast_ref::<HttpError>()
                && http.source().is_none_or(|source| !source.is::<Refused>())
            {
                return Self::of_http(http);
            }
            cause = found.source();
        }
        Self::Unsettled { detail: chain(error), retry_after: None }
    }

    fn of_refused(refused: Refused) -> Self {
        // Codes by which S3 says that it has not even begun.
        let slow = matches!(
            refused.code.as_str(),
            "SlowDown"
                | "SlowDownWrite"
                | "SlowDownRead"
                | "RequestLimitExceeded"
                | "Throttling"
                | "TooManyRequests"
        );
        match refused.status {
            429 => Self::Throttled(refused),
            500.. if slow => Self::Throttled(refused),
            500.. => {
                Self::Unsettled { retry_after: refused.retry_after, detail: refused.to_string() }
            }
            _ => Self::Refused(refused),
        }
    }

    fn of_http(error: &HttpError) -> Self {
        match error.kind() {
            HttpErrorKind::Connect => Self::NotSent(chain(error)),
            // Also what the client calls "not sent" may have reached the service.
            _ => Self::Unsettled { detail: chain(error), retry_after: None },
        }
    }

    /// Two rivals met, and the service asks both to look again. Nothing was done.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 409)
    }

    pub(super) fn code(&self) -> &str {
        match self {
            Self::Throttled(refused) | Self::Refused(refused) => &refused.code,
            Self::NotSent(_) | Self::Unsettled { .. } | Self::Damaged(_) => "",
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Throttled(refused) | Self::Refused(refused) => Some(refused.status),
            Self::NotSent(_) | Self::Unsettled { .. } | Self::Damaged(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled(refused) | Self::Refused(refused) => refused.retry_after,
            Self::Unsettled { retry_after, .. } => *retry_after,
            Self::NotSent(_) | Self::Damaged(_) => None,
        }
    }

    /// What it means for a call that changes nothing.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::Unsettled { retry_after, .. } => {
                StoreError::Unavailable { retry_after, cause: Some(Box::new(self)) }
            }
            other => other.of_write(),
        }
    }

    /// What it means for a call that changes something.
    pub(super) fn of_write(self) -> StoreError {
        let retry_after = self.retry_after();
        match self {
            Self::Throttled(_) => {
                StoreError::RateLimited { retry_after: Some(retry_after.unwrap_or(SLOW_DOWN)) }
            }
            Self::Refused(_) | Self::NotSent(_) => {
                StoreError::Unavailable { retry_after, cause: Some(Box::new(self)) }
            }
            Self::Unsettled { .. } => StoreError::unknown(self),
            Self::Damaged(detail) => StoreError::Corrupt { detail },
        }
    }

    pub(super) fn of_document_read(self, key: &str) -> DocumentError {
        match self {
            Self::Unsettled { retry_after, .. } => {
                DocumentError::Unavailable { retry_after, cause: Some(Box::new(self)) }
            }
            other => other.of_document_write(key),
        }
    }

    pub(super) fn of_document_write(self, key: &str) -> DocumentError {
        let retry_after = self.retry_after();
        match self {
            Self::Throttled(_) => DocumentError::Unavailable {
                retry_after: Some(retry_after.unwrap_or(SLOW_DOWN)),
                cause: Some(Box::new(self)),
            },
            Self::Refused(_) | Self::NotSent(_) => {
                DocumentError::Unavailable { retry_after, cause: Some(Box::new(self)) }
            }
            Self::Unsettled { .. } => DocumentError::OutcomeUnknown { cause: Some(Box::new(self)) },
            Self::Damaged(detail) => DocumentError::Corrupt { key: key.into(), detail },
        }
    }
}

/// S3 asks to slow down without saying for how long.
const SLOW_DOWN: Duration = Duration::from_secs(1);

/// An error with its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, retry_after: Option<u64>) -> Failure {
        let refused = Refused {
            status,
            code: code.into(),
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        };
        let http = HttpError::new(HttpErrorKind::Unknown, refused);
        Failure::of(&object_store::Error::Generic { store: "S3", source: Box::new(http) })
    }

    #[test]
    fn slow_down_is_certainly_not_done_and_names_a_delay() {
        for (status, code, delay, expected) in
            [(503, "SlowDown", None, 1), (503, "SlowDown", Some(7), 7), (429, "", Some(2), 2)]
        {
            let error = refused(status, code, delay).of_write();
            let StoreError::RateLimited { retry_after } = error else { panic!("{error:?}") };
            assert_eq!(retry_after, Some(Duration::from_secs(expected)));
        }
    }

    #[test]
    fn an_answer_from_between_leaves_a_write_in_doubt_and_a_read_undone() {
        for status in [500, 502, 503, 504] {
            let write = refused(status, "", None).of_write();
            assert!(matches!(write, StoreError::OutcomeUnknown { .. }), "{write:?}");
            let read = refused(status, "", None).of_read();
            assert!(matches!(read, StoreError::Unavailable { .. }), "{read:?}");
        }
        let denied = refused(403, "AccessDenied", None).of_write();
        assert!(matches!(denied, StoreError::Unavailable { .. }), "{denied:?}");
    }
}
