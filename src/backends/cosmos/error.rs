//! Why a Cosmos DB store does not open, and what the service's answers mean to callers.

use std::time::Duration;

use azure_data_cosmos::diagnostics::DiagnosticsContext;
use azure_data_cosmos::error::{CosmosError, CosmosStatus};

use super::layout::BadItem;
use crate::documents::DocumentError;
use crate::domain::{ErrorClass, InvalidValue};
use crate::runtime::SecretMissing;
use crate::store::StoreError;

/// The store was not opened. The text says what is missing, and how to put it there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the settings of the store are wrong: {}", listed(.0))]
    Invalid(Vec<InvalidValue>),
    #[error("the account's key is not where the settings say")]
    Key(#[from] SecretMissing),
    #[error("{endpoint} cannot be the endpoint of an account")]
    Endpoint {
        endpoint: String,
        #[source]
        cause: Box<CosmosError>,
    },
    #[error(
        "{endpoint} does not know who this is: the key is wrong, or no credential was found; \
         set `key`, or let the process sign in (docs/stores/cosmos.md)"
    )]
    NotKnown {
        endpoint: String,
        #[source]
        cause: Box<CosmosError>,
    },
    #[error(
        "this process may not {what}; give it the role \"Cosmos DB Built-in Data Contributor\" \
         on the account, and let the account's firewall pass"
    )]
    Forbidden {
        what: &'static str,
        #[source]
        cause: Box<CosmosError>,
    },
    #[error("the account has no database {database}; make it, or set `create = true`")]
    NoDatabase { database: String },
    #[error(
        "the database {database} has no container {container}; make it with the partition key \
         /partition, or set `create = true`"
    )]
    NoContainer { database: String, container: String },
    #[error(
        "the container {container} has the partition key {found}, it must be /partition; name \
         another container, for a partition key cannot be changed"
    )]
    PartitionKey { container: String, found: String },
    #[error("the container {container} lets items expire; turn its time to live off")]
    Expires { container: String },
    #[error("the container {container} has no index; set its indexing mode to consistent")]
    NotIndexed { container: String },
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        endpoint: String,
        #[source]
        cause: Box<CosmosError>,
    },
}

fn listed(faults: &[InvalidValue]) -> String {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) | Self::Key(_) | Self::Endpoint { .. } => ErrorClass::Invalid,
            Self::NotKnown { .. } => ErrorClass::Unauthenticated,
            Self::Forbidden { .. } => ErrorClass::Forbidden,
            Self::NoDatabase { .. } | Self::NoContainer { .. } => ErrorClass::NotFound,
            Self::PartitionKey { .. } | Self::Expires { .. } | Self::NotIndexed { .. } => {
                ErrorClass::Refused
            }
            Self::Unreachable { .. } => ErrorClass::Unavailable,
        }
    }
}

/// What an answer that is no success means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such item.
    NotFound,
    /// There is such an item already.
    Exists,
    /// The item is not in the state that was named.
    Changed,
    /// More is asked for than was provisioned.
    Throttled { retry_after: Option<Duration> },
    /// Anything else; nobody can do anything about it here.
    Other,
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("the service answered {status}")]
pub(super) struct Failure {
    pub(super) refusal: Refusal,
    /// Whether some try of a write may have been done, or may still be: the client library sends
    /// a request again when its connection breaks, so that the answer to the last try says
    /// nothing about the first.
    pub(super) in_doubt: bool,
    status: u16,
    #[source]
    cause: Option<Box<CosmosError>>,
}

/// The status of an owner, of the database or container, that is not there.
const OWNER_NOT_FOUND: u16 = 1003;
/// The status of a read that waits for replication.
const READ_SESSION_NOT_AVAILABLE: u16 = 1002;

impl Failure {
    /// An error of the client library.
    pub(super) fn of(error: CosmosError) -> Self {
        let status = error.status();
        let code = code_of(status);
        let refusal = match error.response() {
            None => Refusal::Other,
            Some(answer) => {
                let delay = answer.headers().retry_after_ms.map(Duration::from_millis);
                refusal(code, status.sub_status().map(|sub| sub.value()), delay)
            }
        };
        let in_doubt = match error.diagnostics() {
            Some(told) => doubts(&told).any(|doubt| doubt),
            None => !is_refusal(code),
        };
        Self { refusal, in_doubt, status: code, cause: Some(Box::new(error)) }
    }

    /// The first operation of a batch that was refused, and with it the whole batch.
    pub(super) fn of_batch(code: u16, retry_after: Option<Duration>, in_doubt: bool) -> Self {
        let refusal = refusal(code, None, retry_after);
        let in_doubt = in_doubt || !is_refusal(code);
        Self { refusal, in_doubt, status: code, cause: None }
    }

    pub(super) fn of_read(self) -> StoreError {
        match self.refusal {
            Refusal::Throttled { retry_after } => StoreError::RateLimited { retry_after },
            Refusal::NotFound | Refusal::Exists | Refusal::Changed | Refusal::Other => {
                StoreError::unavailable(self)
            }
        }
    }

    /// Of a write that was not settled by what `refusal` says.
    pub(super) fn of_write(self) -> StoreError {
        if self.in_doubt { StoreError::unknown(self) } else { self.of_read() }
    }

    pub(super) fn of_document_read(self) -> DocumentError {
        let retry_after = match self.refusal {
            Refusal::Throttled { retry_after } => retry_after,
            Refusal::NotFound | Refusal::Exists | Refusal::Changed | Refusal::Other => None,
        };
        DocumentError::Unavailable { cause: Some(self.into()), retry_after }
    }

    /// A precondition that did not hold, at the last try. An earlier one of this very write may
    /// be why, so a conflict is told only when there was none.
    pub(super) fn of_document_write(self) -> DocumentError {
        if self.in_doubt {
            return DocumentError::OutcomeUnknown { cause: Some(self.into()) };
        }
        match self.refusal {
            Refusal::NotFound | Refusal::Exists | Refusal::Changed => DocumentError::Conflict,
            Refusal::Throttled { .. } | Refusal::Other => self.of_document_read(),
        }
    }
}

impl From<BadItem> for StoreError {
    fn from(bad: BadItem) -> Self {
        Self::Corrupt { detail: bad.to_string() }
    }
}

pub(super) fn code_of(status: CosmosStatus) -> u16 {
    u16::from(status.status_code())
}

fn refusal(code: u16, sub_status: Option<u16>, retry_after: Option<Duration>) -> Refusal {
    match (code, sub_status) {
        (404, Some(OWNER_NOT_FOUND | READ_SESSION_NOT_AVAILABLE)) => Refusal::Other,
        (404, _) => Refusal::NotFound,
        (409, _) => Refusal::Exists,
        (412, _) => Refusal::Changed,
        (429, _) => Refusal::Throttled { retry_after },
        _ => Refusal::Other,
    }
}

/// Whether the status says that the service looked at a request and did not do it. The service
/// may answer a timeout or an internal error also after it did.
fn is_refusal(code: u16) -> bool {
    matches!(code, 400 | 401 | 403 | 404 | 409 | 412 | 413 | 429 | 449)
}

/// Of each try of a call, in order, whether it may have been done.
pub(super) fn doubts(told: &DiagnosticsContext) -> impl DoubleEndedIterator<Item = bool> {
    let tries: Vec<bool> = told
        .requests()
        .iter()
        .filter(|request| request.pipeline_type().is_data_plane())
        .map(|request| {
            let refused = is_refusal(code_of(*request.status()));
            request.request_sent().may_have_been_sent() && !refused
        })
        .collect();
    tries.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_container_is_no_missing_stream() {
        assert_eq!(refusal(404, None, None), Refusal::NotFound);
        assert_eq!(refusal(404, Some(0), None), Refusal::NotFound);
        assert_eq!(refusal(404, Some(OWNER_NOT_FOUND), None), Refusal::Other);
        assert_eq!(refusal(404, Some(READ_SESSION_NOT_AVAILABLE), None), Refusal::Other);
    }

    #[test]
    fn only_what_was_refused_for_certain_was_not_done() {
        let delay = Some(Duration::from_millis(7));
        let throttled = Failure::of_batch(429, delay, false).of_write();
        assert!(
            matches!(throttled, StoreError::RateLimited { retry_after } if retry_after == delay)
        );
        let lost = Failure::of_batch(503, None, false).of_write();
        assert!(matches!(lost, StoreError::OutcomeUnknown { .. }));
        let refused = Failure::of_batch(403, None, false).of_write();
        assert!(matches!(refused, StoreError::Unavailable { .. }));
        let after_doubt = Failure::of_batch(429, delay, true).of_write();
        assert!(matches!(after_doubt, StoreError::OutcomeUnknown { .. }));
        let conflict = Failure::of_batch(412, None, false).of_document_write();
        assert!(matches!(conflict, DocumentError::Conflict));
        let own_doing = Failure::of_batch(412, None, true).of_document_write();
        assert!(matches!(own_doing, DocumentError::OutcomeUnknown { .. }));
    }
}
