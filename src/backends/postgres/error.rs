//! What went wrong at the server or on the way to it, and what that means to callers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::documents::DocumentError;
use crate::domain::{ErrorClass, InvalidValue};
use crate::runtime::SecretMissing;
use crate::store::StoreError;

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// When to ask again a server that is not there, or has no room.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Why a store does not open, and so what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("its settings are wrong: {}", join(.0))]
    Invalid(Vec<InvalidValue>),
    #[error("the URL is none that PostgreSQL knows: postgres://user@host:port/database")]
    Url,
    #[error("a secret is missing")]
    Secret(#[from] SecretMissing),
    #[error("the certificate or key in {} cannot be used", file.display())]
    Certificate {
        file: PathBuf,
        #[source]
        cause: Cause,
    },
    #[error("{place} cannot be reached")]
    Unreachable {
        place: String,
        #[source]
        cause: Cause,
    },
    /// A wrong password, no such database, no such user, or no permission.
    #[error("{place} refuses: {refusal}")]
    Refused { place: String, refusal: ServerError },
    #[error("{place} cannot serve as a store: {problem}")]
    Unfit { place: String, problem: String },
    #[error("{place} lacks permissions for schema {schema}: {}", missing.join(", "))]
    Forbidden { place: String, schema: String, missing: Vec<String> },
    #[error(
        "schema {schema} of {place} has version {found}, this release knows up to {known}; \
         run the release that made it, or a newer one"
    )]
    NewerSchema { place: String, schema: String, found: i32, known: i32 },
    #[error(
        "schema {schema} of {place} holds something else than a store; name another in `schema`"
    )]
    ForeignSchema { place: String, schema: String },
}

fn join(faults: &[InvalidValue]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) | Self::Url | Self::Secret(_) | Self::Certificate { .. } => {
                ErrorClass::Invalid
            }
            Self::Unreachable { .. } => ErrorClass::Unavailable,
            Self::Refused { .. } | Self::Forbidden { .. } => ErrorClass::Forbidden,
            Self::Unfit { .. } | Self::ForeignSchema { .. } => ErrorClass::Refused,
            Self::NewerSchema { .. } => ErrorClass::Corrupt,
        }
    }

    /// What a failed call says of a store that is being opened.
    pub(super) fn of(place: &str, failure: Failure) -> Self {
        let place = place.to_owned();
        match failure {
            Failure::Refused(refusal) => Self::Refused { place, refusal },
            Failure::NotSent(cause) | Failure::Lost(cause) => match refusal_in(&*cause) {
                Some(refusal) => Self::Refused { place, refusal },
                None => Self::Unreachable { place, cause },
            },
            Failure::Crowded => {
                Self::Unreachable { place, cause: "every connection is busy".into() }
            }
        }
    }
}

/// A connection that the server itself turned down, not for the moment alone.
fn refusal_in(cause: &(dyn std::error::Error + 'static)) -> Option<ServerError> {
    let error = cause.downcast_ref::<tokio_postgres::Error>()?.as_db_error()?;
    let passing = ["53", "57", "08"].iter().any(|class| error.code().code().starts_with(class));
    (!passing).then(|| ServerError::of(error))
}

/// The server has as many connections as it is allowed to have.
fn has_no_room(cause: &(dyn std::error::Error + 'static)) -> bool {
    let error = cause.downcast_ref::<tokio_postgres::Error>();
    error.and_then(tokio_postgres::Error::code) == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// What the server said. Never the values of a row, which its details may hold.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    pub code: String,
    pub message: String,
}

impl ServerError {
    pub(super) fn of(error: &DbError) -> Self {
        Self { code: error.code().code().to_owned(), message: error.message().to_owned() }
    }

    /// A stream holds one of the ids already, where the statement does not look for them.
    pub(super) fn is_duplicate_key(&self) -> bool {
        self.code == "23505"
    }

    /// The server refuses for a reason that lies in this very request.
    pub(super) fn is_about_the_request(&self) -> bool {
        matches!(self.reaction(), Reaction::Bug)
    }

    fn reaction(&self) -> Reaction {
        match self.code.as_str() {
            // Pages that do not read, a key that I1 keeps free, a table that is not there.
            "XX001" | "XX002" | "23505" | "42P01" | "42883" | "42703" | "3F000" | "3D000" => {
                return Reaction::Damaged;
            }
            "42501" => return Reaction::Later,
            _ => {}
        }
        match self.code.get(..2) {
            // Connections, a server that is read-only or rolls back, permissions, resources,
            // locks and states, operators, the system.
            Some("08" | "25" | "28" | "40" | "53" | "55" | "57" | "58") => Reaction::Later,
            Some(_) | None => Reaction::Bug,
        }
    }
}

#[derive(Clone, Copy)]
enum Reaction {
    Later,
    Damaged,
    Bug,
}

/// How a call ended without an answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection, so nothing was sent.
    NotSent(Cause),
    /// Every connection is busy, so nothing was sent.
    Crowded,
    /// The server rolled the call back and said so.
    Refused(ServerError),
    /// It was sent, and nobody knows.
    Lost(Cause),
}

impl Failure {
    pub(super) fn of_answer(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) if was_rolled_back(refusal) => Self::Refused(ServerError::of(refusal)),
            Some(_) | None => Self::Lost(error.into()),
        }
    }

    /// The failure of a call that many wait for.
    pub(super) fn shared(self) -> SharedFailure {
        let shared = |cause: Cause| SharedCause(Arc::from(cause));
        match self {
            Self::NotSent(cause) => SharedFailure::NotSent(shared(cause)),
            Self::Crowded => SharedFailure::Crowded,
            Self::Refused(refusal) => SharedFailure::Refused(refusal),
            Self::Lost(cause) => SharedFailure::Lost(shared(cause)),
        }
    }

    /// The connection is of no more use: it is broken, or leads to a server that does not write.
    pub(super) fn spoils_the_connection(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Crowded => false,
            Self::Refused(refusal) => refusal.code == "25006",
            Self::Lost(_) => true,
        }
    }

    pub(super) fn of_write(self) -> StoreError {
        match self {
            Self::Lost(cause) => StoreError::unknown(cause),
            other => other.of_read(),
        }
    }

    pub(super) fn of_read(self) -> StoreError {
        let retry_after = Some(RETRY_AFTER);
        match self {
            Self::NotSent(cause) if has_no_room(&*cause) => StoreError::RateLimited { retry_after },
            Self::NotSent(cause) | Self::Lost(cause) => {
                StoreError::Unavailable { cause: Some(cause), retry_after }
            }
            Self::Crowded => StoreError::Overloaded { retry_after },
            Self::Refused(refusal) => match refusal.reaction() {
                Reaction::Later => {
                    StoreError::Unavailable { cause: Some(refusal.into()), retry_after }
                }
                Reaction::Damaged => StoreError::Corrupt { detail: refusal.to_string() },
                Reaction::Bug => StoreError::Bug { detail: refusal.to_string() },
            },
        }
    }

    pub(super) fn of_document_write(self, key: &str) -> DocumentError {
        match self {
            Self::Lost(cause) => DocumentError::OutcomeUnknown { cause: Some(cause) },
            other => other.of_document_read(key),
        }
    }

    pub(super) fn of_document_read(self, key: &str) -> DocumentError {
        match self.of_read() {
            StoreError::Unavailable { cause, retry_after } => {
                DocumentError::Unavailable { cause, retry_after }
            }
            StoreError::Overloaded { retry_after } | StoreError::RateLimited { retry_after } => {
                DocumentError::Unavailable { cause: None, retry_after }
            }
            other => DocumentError::Corrupt { key: key.to_owned(), detail: other.to_string() },
        }
    }
}

/// A failure that each of several callers is told.
pub(super) enum SharedFailure {
    NotSent(SharedCause),
    Crowded,
    Refused(ServerError),
    Lost(SharedCause),
}

impl SharedFailure {
    pub(super) fn share(&self) -> Failure {
        match self {
            Self::NotSent(cause) => Failure::NotSent(cause.clone().into()),
            Self::Crowded => Failure::Crowded,
            Self::Refused(refusal) => Failure::Refused(refusal.clone()),
            Self::Lost(cause) => Failure::Lost(cause.clone().into()),
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SharedCause(Arc<dyn std::error::Error + Send + Sync>);

/// An error of the server ends its transaction, and none is raised behind a commit. But a server
/// or pooler that ends the connection may have committed before.
fn was_rolled_back(error: &DbError) -> bool {
    let code = error.code().code();
    let is_error = match error.parsed_severity() {
        Some(severity) => severity == Severity::Error,
        None => error.severity() == "ERROR",
    };
    is_error && !code.starts_with("08") && !code.starts_with("57P")
}

/// A row that is not what the schema promises.
pub(super) fn damaged(detail: impl Into<String>) -> StoreError {
    StoreError::Corrupt { detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Failure {
        Failure::Refused(ServerError { code: code.into(), message: "no".into() })
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_unknown_and_a_read_is_not_done() {
        let lost = || Failure::Lost("cut".into());
        assert!(matches!(lost().of_write(), StoreError::OutcomeUnknown { .. }));
        assert!(matches!(lost().of_read(), StoreError::Unavailable { .. }));
        let write = lost().of_document_write("a");
        assert!(matches!(write, DocumentError::OutcomeUnknown { .. }));
        let not_sent = || Failure::NotSent("refused".into());
        assert!(matches!(not_sent().of_write(), StoreError::Unavailable { .. }));
        let write = not_sent().of_document_write("a");
        assert!(matches!(write, DocumentError::Unavailable { .. }));
    }

    #[test]
    fn what_the_server_says_decides_what_callers_do() {
        for code in ["25006", "40001", "40P01", "42501", "53100", "53300", "55P03", "57014"] {
            let error = refused(code).of_write();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{code}: {error:?}");
        }
        for code in ["23505", "42P01", "42883", "XX001"] {
            let error = refused(code).of_write();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{code}: {error:?}");
        }
        for code in ["22021", "42601", "XX000", ""] {
            let error = refused(code).of_write();
            assert!(matches!(error, StoreError::Bug { .. }), "{code}: {error:?}");
        }
        assert!(matches!(Failure::Crowded.of_write(), StoreError::Overloaded { .. }));
        assert!(refused("25006").spoils_the_connection());
        assert!(!refused("40001").spoils_the_connection());
    }
}
