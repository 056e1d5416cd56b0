//! Errors as clients see them: one match from class to code, and the details beside it.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::load::Exceeded;
use super::scope::Scope;
use crate::domain::limits::LimitExceeded;
use crate::domain::{ErrorClass, InvalidValue, Reason, StreamRef};
use crate::migration::MigrationError;
use crate::proxy::ProxyError;
use crate::telemetry::fields;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "streamgate";

/// When to come back to a server that has too much to do.
pub(crate) const BUSY_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Bytes of all violations that one answer shows. Clients refuse long headers, and an error that
/// does not arrive says nothing.
const VIOLATION_BYTES_MAX: usize = 4096;

/// The code of a class.
pub const fn code_of(class: ErrorClass) -> Code {
    match class {
        ErrorClass::Invalid => Code::InvalidArgument,
        ErrorClass::Unauthenticated => Code::Unauthenticated,
        ErrorClass::Forbidden => Code::PermissionDenied,
        ErrorClass::NotFound => Code::NotFound,
        ErrorClass::AlreadyExists => Code::AlreadyExists,
        ErrorClass::Conflict => Code::Aborted,
        ErrorClass::Refused => Code::FailedPrecondition,
        ErrorClass::Moving | ErrorClass::Unavailable => Code::Unavailable,
        ErrorClass::Overloaded => Code::ResourceExhausted,
        ErrorClass::TimedOut => Code::DeadlineExceeded,
        ErrorClass::OutcomeUnknown => Code::Unknown,
        ErrorClass::Unsupported => Code::Unimplemented,
        ErrorClass::Corrupt => Code::DataLoss,
        ErrorClass::Bug => Code::Internal,
    }
}

/// An error that a request can end with.
pub(crate) trait Refusal: Error {
    fn reason(&self) -> Reason;

    /// How long to wait before the same call again, where that helps.
    fn retry_after(&self) -> Option<Duration>;

    /// The dynamic values, for `ErrorInfo.metadata`.
    fn values(&self) -> Vec<(&'static str, String)>;

    /// The fields that are at fault.
    fn violations(&self) -> Vec<InvalidValue>;
}

/// Everything that is wrong with one request.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_line(.0))]
pub(crate) struct InvalidRequest(pub(crate) Vec<InvalidValue>);

fn one_line(faults: &[InvalidValue]) -> String {
    match faults {
        [] => "the request is not valid".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// A refusal of the server itself, before any service was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerRefusal {
    #[error("too much is in flight: {} is {}", .0.setting, .0.max)]
    TooManyInFlight(Exceeded),
    #[error("the deadline passed before there was an answer")]
    DeadlinePassed,
    #[error("{problem}")]
    MessageTooLarge { problem: String },
    #[error("{problem}")]
    NotAMessage { problem: String },
    #[error("a fault of this proxy: {detail}")]
    Bug { detail: String },
}

impl Refusal for ServerRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::TooManyInFlight(_) => Reason::TooManyInFlight,
            Self::DeadlinePassed => Reason::StoreUnavailable,
            Self::MessageTooLarge { .. } => Reason::BatchTooLarge,
            Self::NotAMessage { .. } => Reason::InvalidArgument,
            Self::Bug { .. } => Reason::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyInFlight(_) | Self::DeadlinePassed => Some(BUSY_RETRY_AFTER),
            Self::MessageTooLarge { .. } | Self::NotAMessage { .. } | Self::Bug { .. } => None,
        }
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::TooManyInFlight(Exceeded { setting, max }) => vec![(setting, max.to_string())],
            Self::DeadlinePassed
            | Self::MessageTooLarge { .. }
            | Self::NotAMessage { .. }
            | Self::Bug { .. } => vec![],
        }
    }

    fn violations(&self) -> Vec<InvalidValue> {
        Vec::new()
    }
}

impl Refusal for InvalidRequest {
    fn reason(&self) -> Reason {
        Reason::InvalidArgument
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn violations(&self) -> Vec<InvalidValue> {
        self.0.clone()
    }
}

impl Refusal for ProxyError {
    fn reason(&self) -> Reason {
        self.reason()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after()
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::ObjectNotFound { object } => {
                vec![("object_name", object.name.to_string()), ("object_id", object.id.to_string())]
            }
            Self::UnknownStore(unknown) => vec![("store", unknown.store.clone())],
            Self::StreamNotFound { stream } | Self::StreamGone { stream } => vec![
                ("stream_store", stream.store.to_string()),
                ("stream_id", stream.stream_id.to_string()),
            ],
            Self::WrongExpectedVersion(wrong) => {
                vec![("expected", wrong.expected.to_string()), ("actual", wrong.actual.to_string())]
            }
            Self::DuplicateEventId { event_id } => vec![("event_id", event_id.to_string())],
            Self::StreamClosed { stream, continuation } => {
                let mut values = vec![
                    ("stream_store", stream.store.to_string()),
                    ("stream_id", stream.stream_id.to_string()),
                ];
                values.extend(continuation.iter().flat_map(|next| continuation_values(next)));
                values
            }
            Self::LimitExceeded(LimitExceeded::EventTooLarge { index, size, limit }) => vec![
                ("index", index.to_string()),
                ("size", size.to_string()),
                ("limit", limit.to_string()),
            ],
            Self::LimitExceeded(LimitExceeded::BatchTooLarge {
                events,
                bytes,
                events_max,
                bytes_max,
            }) => vec![
                ("events", events.to_string()),
                ("bytes", bytes.to_string()),
                ("events_max", events_max.to_string()),
                ("bytes_max", bytes_max.to_string()),
            ],
            Self::TooManyContinuations { followed, .. } => vec![("followed", followed.to_string())],
            Self::Contended { attempts, .. } => vec![("attempts", attempts.to_string())],
            Self::RateLimited { store, .. } | Self::StoreUnavailable { store, .. } => {
                vec![("store", store.clone())]
            }
            Self::Unsupported { what } => vec![("what", (*what).to_owned())],
            Self::Invalid(_)
            | Self::CutoverInProgress { .. }
            | Self::TooManyInFlight { .. }
            | Self::DeadlinePassed { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Corrupt { .. }
            | Self::Bug { .. } => Vec::new(),
        }
    }

    fn violations(&self) -> Vec<InvalidValue> {
        match self {
            Self::Invalid(invalid) => vec![invalid.clone()],
            Self::LimitExceeded(LimitExceeded::EventTooLarge { index, size, limit }) => {
                let problem = format!("has {size} bytes, the limit is {limit}");
                vec![InvalidValue::new(format!("events[{index}].payload"), problem)]
            }
            Self::LimitExceeded(limit @ LimitExceeded::BatchTooLarge { .. }) => {
                vec![InvalidValue::new("events", limit.to_string())]
            }
            Self::ObjectNotFound { .. }
            | Self::UnknownStore(_)
            | Self::StreamNotFound { .. }
            | Self::StreamGone { .. }
            | Self::WrongExpectedVersion(_)
            | Self::DuplicateEventId { .. }
            | Self::StreamClosed { .. }
            | Self::CutoverInProgress { .. }
            | Self::TooManyContinuations { .. }
            | Self::Contended { .. }
            | Self::TooManyInFlight { .. }
            | Self::RateLimited { .. }
            | Self::StoreUnavailable { .. }
            | Self::DeadlinePassed { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Unsupported { .. }
            | Self::Corrupt { .. }
            | Self::Bug { .. } => Vec::new(),
        }
    }
}

/// What a client needs to go on in the continuation by itself.
fn continuation_values(next: &StreamRef) -> Vec<(&'static str, String)> {
    let mut values = vec![
        ("continuation_store", next.address.store.to_string()),
        ("continuation_stream_id", next.address.stream_id.to_string()),
        ("continuation_base_version", next.base.to_string()),
    ];
    values.extend(next.made_by.map(|made_by| ("continuation_made_by", made_by.to_string())));
    values
}

impl Refusal for MigrationError {
    fn reason(&self) -> Reason {
        self.reason()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after()
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::ObjectNotFound { object } => {
                vec![("object_name", object.name.to_string()), ("object_id", object.id.to_string())]
            }
            Self::MigrationNotFound { migration } => vec![("migration_id", migration.to_string())],
            Self::UnknownStore(unknown) => vec![("store", unknown.store.clone())],
            Self::AlreadyRunning { running } => vec![("running_migration", running.to_string())],
            Self::TargetNotEmpty { target } => vec![
                ("target_store", target.store.to_string()),
                ("target_stream_id", target.stream_id.to_string()),
            ],
            Self::UnexpectedSource { expected, actual } => vec![
                ("expected", expected.clone()),
                ("actual_store", actual.store.to_string()),
                ("actual_stream_id", actual.stream_id.to_string()),
            ],
            Self::InvalidTransition { phase, verb } => {
                vec![("phase", phase.as_str().to_owned()), ("verb", (*verb).to_owned())]
            }
            Self::Unsupported { what } => vec![("what", what.clone())],
            Self::Invalid(_)
            | Self::LockUnavailable { .. }
            | Self::StoreUnavailable { .. }
            | Self::Corrupt { .. }
            | Self::Bug { .. } => Vec::new(),
        }
    }

    fn violations(&self) -> Vec<InvalidValue> {
        match self {
            Self::Invalid(invalid) => vec![invalid.clone()],
            Self::ObjectNotFound { .. }
            | Self::MigrationNotFound { .. }
            | Self::UnknownStore(_)
            | Self::AlreadyRunning { .. }
            | Self::TargetNotEmpty { .. }
            | Self::UnexpectedSource { .. }
            | Self::InvalidTransition { .. }
            | Self::Unsupported { .. }
            | Self::LockUnavailable { .. }
            | Self::StoreUnavailable { .. }
            | Self::Corrupt { .. }
            | Self::Bug { .. } => Vec::new(),
        }
    }
}

/// Ends a request with an error: notes its class, logs it once, and says it to the client.
pub(crate) fn refuse(scope: &Scope, refusal: &dyn Refusal) -> Status {
    scope.settle_error(refusal.reason().class());
    refuse_one(scope, refusal)
}

/// Says an error of one of many requests of a call that goes on: logs it once.
pub(crate) fn refuse_one(scope: &Scope, refusal: &dyn Refusal) -> Status {
    let class = refusal.reason().class();
    log(scope, class, refusal);
    match class {
        // The detail is for whoever looks after this proxy; it stands in the log.
        ErrorClass::Corrupt | ErrorClass::Bug => {
            let request_id = scope.request_id();
            let message = match class == ErrorClass::Corrupt {
                true => format!("stored data is damaged; see the log under request {request_id}"),
                false => format!("a fault of this proxy; see the log under request {request_id}"),
            };
            let values = vec![("request_id", request_id.to_owned())];
            build(refusal.reason(), message, values, Vec::new(), None)
        }
        ErrorClass::Invalid
        | ErrorClass::Unauthenticated
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::AlreadyExists
        | ErrorClass::Conflict
        | ErrorClass::Refused
        | ErrorClass::Moving
        | ErrorClass::Overloaded
        | ErrorClass::Unavailable
        | ErrorClass::TimedOut
        | ErrorClass::OutcomeUnknown
        | ErrorClass::Unsupported => {
            let (values, violations) = (refusal.values(), refusal.violations());
            let retry_after = refusal.retry_after();
            build(refusal.reason(), refusal.to_string(), values, violations, retry_after)
        }
    }
}

/// The status that a record's failure stands for.
pub(crate) fn status_of_failure(reason: Reason, message: String) -> Status {
    build(reason, message, Vec::new(), Vec::new(), None)
}

/// Ends a stream because the server stops. It carries no reason: nothing was refused, and the
/// same call goes on at another server, or here after the restart.
pub(crate) fn stopping(scope: &Scope) -> Status {
    connect_again(scope, "the server stops; connect again")
}

/// Ends a stream because its connection has reached its age: like [`stopping`].
pub(crate) fn moving_on(scope: &Scope) -> Status {
    connect_again(scope, "this connection has reached its age; connect again")
}

fn connect_again(scope: &Scope, message: &str) -> Status {
    scope.settle_error(ErrorClass::Unavailable);
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(BUSY_RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

fn build(
    reason: Reason,
    message: String,
    values: Vec<(&'static str, String)>,
    violations: Vec<InvalidValue>,
    retry_after: Option<Duration>,
) -> Status {
    let mut details = ErrorDetails::new();
    let metadata: HashMap<String, String> =
        values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    details.set_error_info(reason.as_str(), DOMAIN, metadata);
    if !violations.is_empty() {
        details.set_bad_request(fitting(violations));
    }
    if let Some(delay) = retry_after {
        details.set_retry_info(Some(delay));
    }
    let mut status = Status::with_error_details(code_of(reason.class()), message, details);
    if let Some(delay) = retry_after {
        let delay = MetadataValue::from(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        status.metadata_mut().insert("grpc-retry-pushback-ms", delay);
    }
    status
}

/// As many violations as an answer can carry, and how many were left out.
fn fitting(violations: Vec<InvalidValue>) -> Vec<FieldViolation> {
    let (mut shown, mut bytes, total) = (Vec::new(), 0, violations.len());
    for InvalidValue { field, problem } in violations {
        bytes += field.len() + problem.len();
        if bytes > VIOLATION_BYTES_MAX && !shown.is_empty() {
            let left_out = format!("{} more are not shown", total - shown.len());
            shown.push(FieldViolation::new("", left_out));
            break;
        }
        shown.push(FieldViolation::new(field, problem));
    }
    shown
}

fn log(scope: &Scope, class: ErrorClass, refusal: &dyn Refusal) {
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                { fields::REQUEST_ID } = scope.request_id(),
                { fields::RPC_METHOD } = scope.method().label(),
                { fields::ERROR_CLASS } = class.label(),
                { fields::ERROR_REASON } = refusal.reason().as_str(),
                { fields::ERROR } = %with_causes(refusal),
                "request refused"
            )
        };
    }
    match class {
        ErrorClass::Corrupt | ErrorClass::Bug => say!(error),
        ErrorClass::Unavailable | ErrorClass::OutcomeUnknown | ErrorClass::TimedOut => say!(warn),
        ErrorClass::Invalid
        | ErrorClass::Unauthenticated
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::AlreadyExists
        | ErrorClass::Conflict
        | ErrorClass::Refused
        | ErrorClass::Moving
        | ErrorClass::Overloaded
        | ErrorClass::Unsupported => say!(debug),
    }
}

fn with_causes(refusal: &dyn Refusal) -> String {
    let mut text = refusal.to_string();
    let mut cause = refusal.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_codes_of_the_table() {
        let codes: Vec<Code> = ErrorClass::ALL.into_iter().map(code_of).collect();
        assert_eq!(
            codes,
            [
                Code::InvalidArgument,
                Code::Unauthenticated,
                Code::PermissionDenied,
                Code::NotFound,
                Code::AlreadyExists,
                Code::Aborted,
                Code::FailedPrecondition,
                Code::Unavailable,
                Code::ResourceExhausted,
                Code::Unavailable,
                Code::DeadlineExceeded,
                Code::Unknown,
                Code::Unimplemented,
                Code::DataLoss,
                Code::Internal,
            ]
        );
    }

    #[test]
    fn violations_fit_into_an_answer_and_say_what_they_leave_out() {
        let faults = |count: usize| {
            (0..count).map(|n| InvalidValue::new(format!("events[{n}]"), "x".repeat(300))).collect()
        };
        assert_eq!(fitting(faults(3)).len(), 3);
        let shown = fitting(faults(1_000));
        assert!(shown.len() < 20);
        let last = shown.last().unwrap();
        assert_eq!(last.description, format!("{} more are not shown", 1_001 - shown.len()));
    }
}
