//! What the service's answers mean: to callers, and to whoever starts the process.

use std::error::Error as _;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;
use azure_core::http::headers::HeaderName;

use super::credentials::AccessMissing;
use crate::documents::DocumentError;
use crate::domain::{ErrorClass, InvalidValue};
use crate::store::StoreError;

/// The store was not opened. The text says what is missing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the settings of the store are wrong: {}", listed(.0))]
    Invalid(Vec<InvalidValue>),
    #[error("there is nothing to sign requests with")]
    Access(#[from] AccessMissing),
    #[error("the client cannot be made: {0}")]
    Client(String),
    #[error("there is no container {container} at {endpoint}; create it")]
    ContainerMissing { container: String, endpoint: String },
    #[error(
        "the service does not accept who we are ({code}); check the account's name, the key or \
         signature and its expiry, and this machine's clock"
    )]
    NotAuthenticated { code: String },
    #[error("the permission to {right} is missing in container {container} ({code})")]
    NotPermitted { right: &'static str, container: String, code: String },
    #[error("{endpoint} cannot be used, tried to {right}")]
    Unusable {
        endpoint: String,
        right: &'static str,
        #[source]
        cause: Trouble,
    },
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) | Self::Client(_) => ErrorClass::Invalid,
            Self::Access(_) | Self::NotAuthenticated { .. } => ErrorClass::Unauthenticated,
            Self::NotPermitted { .. } => ErrorClass::Forbidden,
            Self::ContainerMissing { .. } => ErrorClass::NotFound,
            Self::Unusable { .. } => ErrorClass::Unavailable,
        }
    }
}

fn listed(faults: &[InvalidValue]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What went wrong, without the address of the request: that may hold a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(String);

/// Why a request did not do what it was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// There is no such blob.
    Missing,
    /// The condition did not hold.
    Condition,
    /// The range begins behind the end.
    BehindTheEnd,
    ContainerMissing,
    /// The service wants to be asked later. Certainly not done.
    Throttled {
        trouble: Trouble,
        retry_after: Option<Duration>,
    },
    /// Certainly not done.
    NotDone {
        trouble: Trouble,
        retry_after: Option<Duration>,
        code: String,
        status: u16,
    },
    /// A write that may have been done, or may still be.
    Unknown {
        trouble: Trouble,
    },
}

impl CallError {
    pub(super) fn of(error: azure_core::Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse { status, error_code, raw_response } => {
                let code = error_code.clone().unwrap_or_default();
                let header = |name: &'static str| {
                    let headers = raw_response.as_ref()?.headers();
                    headers.get_optional_str(&HeaderName::from_static(name)).map(str::to_owned)
                };
                let code = header("x-ms-error-code").unwrap_or(code);
                let wait = retry_after(header("x-ms-retry-after-ms"), header("retry-after"));
                Self::of_answer(*status, code, wait)
            }
            // Without a connection, or without a signature, nothing was sent.
            ErrorKind::Connection | ErrorKind::Credential => {
                let trouble = Trouble(innermost(&error));
                Self::NotDone { trouble, retry_after: None, code: String::new(), status: 0 }
            }
            ErrorKind::Io | ErrorKind::DataConversion | ErrorKind::Other => {
                Self::Unknown { trouble: Trouble(innermost(&error)) }
            }
        }
    }

    fn of_answer(status: StatusCode, code: String, retry_after: Option<Duration>) -> Self {
        let status = u16::from(status);
        let trouble = Trouble(format!("the service answered {status} {code}"));
        match (status, code.as_str()) {
            (404, "ContainerNotFound") | (409, "ContainerBeingDeleted") => Self::ContainerMissing,
            (404, _) => Self::Missing,
            (412, _) | (409, "BlobAlreadyExists" | "ContainerAlreadyExists") | (304, _) => {
                Self::Condition
            }
            (416, _) => Self::BehindTheEnd,
            (429, _) | (503, "ServerBusy") => Self::Throttled { trouble, retry_after },
            (408 | 500..=599, _) => Self::Unknown { trouble },
            (_, _) => Self::NotDone { trouble, retry_after, code, status },
        }
    }

    /// As the start-up check tells it.
    pub(super) fn at_start(
        self,
        right: &'static str,
        container: &str,
        endpoint: &str,
    ) -> OpenError {
        let (container, endpoint) = (container.to_owned(), endpoint.to_owned());
        let cause = match self {
            Self::ContainerMissing => return OpenError::ContainerMissing { container, endpoint },
            Self::NotDone { status: 401 | 403, code, .. } => {
                let is_right = code.starts_with("Authorization") || code.contains("Permission");
                return match is_right {
                    true => OpenError::NotPermitted { right, container, code },
                    false => OpenError::NotAuthenticated { code },
                };
            }
            Self::Missing => Trouble("the service answered 404".into()),
            Self::Condition => Trouble("the service answered 412".into()),
            Self::BehindTheEnd => Trouble("the service answered 416".into()),
            Self::Throttled { trouble, .. }
            | Self::NotDone { trouble, .. }
            | Self::Unknown { trouble } => trouble,
        };
        OpenError::Unusable { endpoint, right, cause }
    }

    fn unexpected(&self) -> Trouble {
        match self {
            Self::Missing => Trouble("a blob is missing".into()),
            Self::Condition => Trouble("a condition does not hold".into()),
            Self::BehindTheEnd => Trouble("a blob is shorter than it was".into()),
            Self::ContainerMissing => Trouble("the container is gone".into()),
            Self::Throttled { trouble, .. }
            | Self::NotDone { trouble, .. }
            | Self::Unknown { trouble } => trouble.clone(),
        }
    }

    /// Of a request that changes nothing, or whose effect nobody sees.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::Throttled { retry_after, .. } => StoreError::RateLimited { retry_after },
            Self::NotDone { ref trouble, retry_after, .. } => {
                StoreError::Unavailable { cause: Some(trouble.clone().into()), retry_after }
            }
            Self::Missing | Self::BehindTheEnd => {
                StoreError::Corrupt { detail: self.unexpected().to_string() }
            }
            Self::Condition | Self::ContainerMissing | Self::Unknown { .. } => {
                StoreError::unavailable(self.unexpected())
            }
        }
    }

    /// Of a request that may have been the write itself.
    pub(super) fn of_write(self) -> StoreError {
        match self {
            Self::Unknown { trouble } => StoreError::unknown(trouble),
            Self::Missing
            | Self::Condition
            | Self::BehindTheEnd
            | Self::ContainerMissing
            | Self::Throttled { .. }
            | Self::NotDone { .. } => self.of_read(),
        }
    }

    pub(super) fn of_document_read(self) -> DocumentError {
        let retry_after = match &self {
            Self::Throttled { retry_after, .. } | Self::NotDone { retry_after, .. } => *retry_after,
            Self::Missing
            | Self::Condition
            | Self::BehindTheEnd
            | Self::ContainerMissing
            | Self::Unknown { .. } => None,
        };
        DocumentError::Unavailable { cause: Some(self.unexpected().into()), retry_after }
    }

    pub(super) fn of_document_write(self) -> DocumentError {
        match self {
            // A document that is not there is in another state than the one that was named.
            Self::Condition | Self::Missing => DocumentError::Conflict,
            Self::Unknown { trouble } => {
                DocumentError::OutcomeUnknown { cause: Some(trouble.into()) }
            }
            Self::BehindTheEnd
            | Self::ContainerMissing
            | Self::Throttled { .. }
            | Self::NotDone { .. } => self.of_document_read(),
        }
    }
}

/// The wait that the service asks for: in milliseconds, or else in seconds.
fn retry_after(millis: Option<String>, seconds: Option<String>) -> Option<Duration> {
    let number = |text: Option<String>| text?.trim().parse().ok();
    number(millis).map(Duration::from_millis).or(number(seconds).map(Duration::from_secs))
}

/// The last error of the chain: those before it quote the address of the request.
fn innermost(error: &azure_core::Error) -> String {
    let mut last: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(next) = last.and_then(std::error::Error::source) {
        last = Some(next);
    }
    let text = last.map_or_else(|| error.to_string(), ToString::to_string);
    let names_address = text.contains("://") || text.contains("sig=");
    if names_address { error.kind().to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> CallError {
        CallError::of_answer(StatusCode::from(status), code.into(), Some(Duration::from_secs(3)))
    }

    #[test]
    fn only_answers_that_prove_it_say_that_nothing_was_done() {
        for (status, code) in
            [(500, "InternalError"), (500, "OperationTimedOut"), (503, ""), (502, "")]
        {
            let error = answer(status, code).of_write();
            assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{status} {code}");
            let error = answer(status, code).of_read();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{status} {code}");
        }
        for (status, code) in [(503, "ServerBusy"), (429, "")] {
            let Err(StoreError::RateLimited { retry_after }) =
                Err::<(), _>(answer(status, code).of_write())
            else {
                panic!("{status} {code} asks to slow down");
            };
            assert_eq!(retry_after, Some(Duration::from_secs(3)));
        }
    }

    #[test]
    fn an_address_with_its_signature_is_never_told() {
        let address = "error sending request for url (https://a.example/x?sig=hush)";
        let error = azure_core::Error::with_message(ErrorKind::Io, address);
        let told = format!("{:?}", CallError::of(error));
        assert!(!told.contains("hush"), "{told}");
    }

    #[test]
    fn the_start_up_check_says_what_is_missing() {
        let told =
            |status, code| answer(status, code).at_start("list", "events", "here").to_string();
        assert!(told(404, "ContainerNotFound").contains("no container events"));
        assert!(told(403, "AuthenticationFailed").contains("does not accept who we are"));
        assert!(told(403, "AuthorizationPermissionMismatch").contains("permission to list"));
    }
}
