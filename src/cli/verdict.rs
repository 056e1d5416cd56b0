//! What a `Status` means: whose word it is, what is certain after it, and what to do next.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use rustls::AlertDescription;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::values::duration_text;
use crate::domain::{ErrorClass, Reason};

/// The domain of the server's own errors.
const DOMAIN: &str = "streamgate";

/// Whether a call that did not answer may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
}

/// Whose word it is that the call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The server's, with its reason.
    Server,
    /// No connection could be made: nothing was sent.
    Unreachable,
    /// This side did not take the server's certificate: nothing was sent.
    Untrusted,
    /// The server did not take this side's, or wants one: it looked at nothing else.
    Refused,
    /// The connection broke with the call on it.
    Broken,
    /// The caller's own patience ended.
    Deadline,
    /// Somebody's who is not this server: a proxy between, or another service at that address.
    Foreign,
}

/// An error as a client sees it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) reason: String,
    pub(crate) class: ErrorClass,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Fields and what is wrong with them.
    pub(crate) violations: Vec<(String, String)>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) request_id: Option<String>,
    pub(crate) origin: Origin,
    /// The server asked not to be asked again.
    is_final: bool,
}

impl Verdict {
    pub(crate) fn of(status: &Status, effect: Effect) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let origin = match info {
            Some(_) => Origin::Server,
            None => origin_without_info(status),
        };
        let known = info.and_then(|info| Reason::parse(&info.reason));
        let class = match known {
            Some(reason) => reason.class(),
            None => class_without_reason(status.code(), origin, effect),
        };
        let reason = match info {
            Some(info) => info.reason.clone(),
            None => reason_without_info(origin, class).to_owned(),
        };
        let violations = details.bad_request().map(|bad| &bad.field_violations);
        let asked = details.retry_info().and_then(|info| info.retry_delay);
        let push_back = push_back(status);
        Self {
            reason,
            class,
            code: status.code(),
            message: message_of(status, origin),
            metadata: info.map(|info| sorted(&info.metadata)).unwrap_or_default(),
            violations: violations
                .into_iter()
                .flatten()
                .map(|violation| (violation.field.clone(), violation.description.clone()))
                .collect(),
            retry_after: asked.max(push_back.unwrap_or(None)),
            request_id: header(status, "x-request-id").map(str::to_owned),
            origin,
            is_final: push_back == Some(None),
        }
    }

    /// The caller's own patience ended before any answer that could be relied on.
    pub(crate) fn out_of_time(after: Duration, effect: Effect, last: Option<Self>) -> Self {
        let class = match effect {
            Effect::Reads => ErrorClass::TimedOut,
            Effect::Writes => ErrorClass::OutcomeUnknown,
        };
        let mut message = format!("no answer within {}", duration_text(after));
        if let Some(last) = last {
            // The last word of the server is worth more than the clock's.
            if !last.leaves_doubt() {
                return last;
            }
            _ = write!(message, "; before that: {}", last.message);
        }
        Self {
            reason: reason_without_info(Origin::Deadline, class).to_owned(),
            class,
            code: Code::DeadlineExceeded,
            message,
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            retry_after: None,
            request_id: None,
            origin: Origin::Deadline,
            is_final: true,
        }
    }

    /// Whether the same call may be sent again with the same ids. All calls of this client can be:
    /// appends carry event ids, migrations request ids, and the rest changes nothing twice.
    pub(crate) fn may_be_repeated(&self) -> bool {
        let is_worth_it = match self.origin {
            Origin::Server => self.class.may_be_repeated() || self.leaves_doubt(),
            // Ended by the caller's patience for all attempts, not for one.
            Origin::Unreachable | Origin::Broken | Origin::Deadline => true,
            Origin::Foreign => self.class == ErrorClass::Unavailable,
            Origin::Untrusted | Origin::Refused => false,
        };
        is_worth_it && !self.is_final
    }

    /// Whether it says something about the server and nothing about this request.
    pub(crate) fn is_about_the_server(&self) -> bool {
        self.origin != Origin::Server || self.leaves_doubt()
    }

    fn leaves_doubt(&self) -> bool {
        self.class == ErrorClass::OutcomeUnknown
    }

    /// What to do next, in one sentence.
    pub(crate) fn next(&self) -> &'static str {
        match self.origin {
            Origin::Unreachable => {
                "Start a server with `streamgate serve`, or name another with --server."
            }
            Origin::Refused => "Show a certificate that the server takes; see --tls-cert-file.",
            Origin::Untrusted => {
                "Name who signed the server's certificate with --tls-ca-file, and the name that it \
                 bears with --tls-server-name."
            }
            Origin::Foreign if self.class == ErrorClass::Unsupported => {
                "What answers at this address is no Streamgate of this release; see --server."
            }
            Origin::Server | Origin::Broken | Origin::Deadline | Origin::Foreign => {
                next_after(self.class)
            }
        }
    }

    /// For people: reason and message, then what is known, then what to do.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}: {}", self.reason, self.message);
        for (field, problem) in &self.violations {
            _ = write!(text, "\n  {field}: {problem}");
        }
        for (key, value) in &self.metadata {
            _ = write!(text, "\n  {key} = {value}");
        }
        if let Some(wait) = self.retry_after {
            _ = write!(text, "\n  retry after {}", duration_text(wait));
        }
        if let Some(id) = &self.request_id {
            _ = write!(text, "\n  request id {id}");
        }
        _ = write!(text, "\nnext: {}", self.next());
        text
    }
}

const fn next_after(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Invalid => "Correct the request; repeating it as it is cannot help.",
        ErrorClass::Unauthenticated => "Say who you are.",
        ErrorClass::Forbidden => "Ask for the right to do this.",
        ErrorClass::NotFound => "Check the name; `streamgate objects list` shows what is there.",
        ErrorClass::AlreadyExists => "It is there already: read it and compare.",
        ErrorClass::Conflict => "Read again, decide again, then send a new request.",
        ErrorClass::Refused => "It takes another state first; the values above say which.",
        ErrorClass::Moving => "Repeat the same call, shortly.",
        ErrorClass::Overloaded => "Repeat the same call later, with fewer at a time.",
        ErrorClass::Unavailable => "Nothing was done: repeat the same call.",
        ErrorClass::TimedOut => "Nothing was changed: repeat the call with a longer --timeout.",
        ErrorClass::OutcomeUnknown => {
            "It may be done or not. Repeat with the same ids: that never does it twice."
        }
        ErrorClass::Unsupported => "This store or server cannot do it: choose another.",
        ErrorClass::Corrupt => "Stop, keep what is there, and look at the server's log.",
        ErrorClass::Bug => "A fault of the server: its log has the details of this request.",
    }
}

fn origin_without_info(status: &Status) -> Origin {
    let mut source: Option<&(dyn Error + 'static)> = status.source();
    let mut is_local = false;
    let mut is_unreachable = false;
    while let Some(error) = source {
        is_local = true;
        if let Some(origin) = origin_in_tls(error) {
            return origin;
        }
        // Why not stands further in.
        is_unreachable |= error.is::<tonic::ConnectError>();
        if error.is::<tonic::TimeoutExpired>() {
            return Origin::Deadline;
        }
        source = error.source();
    }
    if is_unreachable {
        return Origin::Unreachable;
    }
    match status.code() {
        Code::DeadlineExceeded => Origin::Deadline,
        // Without a source, the library itself noticed that the connection or stream ended.
        Code::Cancelled | Code::Unknown => Origin::Broken,
        _ if is_local => Origin::Broken,
        _ => Origin::Foreign,
    }
}

/// What TLS found wrong, if it was TLS.
fn origin_in_tls(error: &(dyn Error + 'static)) -> Option<Origin> {
    let error = error.downcast_ref::<std::io::Error>()?;
    // An I/O error passes over what it holds when it is asked for its source.
    let held = error.get_ref().and_then(|held| held.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(_)) = held {
        return Some(Origin::Untrusted);
    }
    // The server looks at the client's certificate when for the client the handshake is over;
    // what it says then comes as text.
    let text = error.to_string();
    let refusals = REFUSALS.map(|alert| rustls::Error::AlertReceived(alert).to_string());
    refusals.contains(&text).then_some(Origin::Refused)
}

/// How a server says that it does not take the client's certificate, or misses one.
const REFUSALS: [AlertDescription; 9] = [
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::DecryptError,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];

fn class_without_reason(code: Code, origin: Origin, effect: Effect) -> ErrorClass {
    let in_doubt = |without_effect| match effect {
        Effect::Reads => without_effect,
        Effect::Writes => ErrorClass::OutcomeUnknown,
    };
    match origin {
        Origin::Unreachable | Origin::Untrusted => ErrorClass::Unavailable,
        Origin::Refused => ErrorClass::Unauthenticated,
        Origin::Broken => in_doubt(ErrorClass::Unavailable),
        Origin::Deadline => in_doubt(ErrorClass::TimedOut),
        // A reason that this release does not know, or another service: the code says what it can.
        Origin::Server | Origin::Foreign => match code {
            Code::Ok => ErrorClass::Bug,
            Code::InvalidArgument | Code::OutOfRange => ErrorClass::Invalid,
            Code::NotFound => ErrorClass::NotFound,
            Code::AlreadyExists => ErrorClass::AlreadyExists,
            Code::PermissionDenied => ErrorClass::Forbidden,
            Code::Unauthenticated => ErrorClass::Unauthenticated,
            Code::ResourceExhausted => ErrorClass::Overloaded,
            Code::FailedPrecondition => ErrorClass::Refused,
            Code::Aborted => ErrorClass::Conflict,
            Code::Unimplemented => ErrorClass::Unsupported,
            Code::DataLoss => ErrorClass::Corrupt,
            Code::Internal => in_doubt(ErrorClass::Bug),
            Code::Unavailable if origin == Origin::Server => ErrorClass::Unavailable,
            Code::Unavailable => in_doubt(ErrorClass::Unavailable),
            Code::DeadlineExceeded | Code::Cancelled => in_doubt(ErrorClass::TimedOut),
            Code::Unknown => in_doubt(ErrorClass::Unavailable),
        },
    }
}

/// A word for what no server gave a reason.
fn reason_without_info(origin: Origin, class: ErrorClass) -> &'static str {
    match origin {
        Origin::Unreachable => "SERVER_UNREACHABLE",
        Origin::Untrusted => "SERVER_UNTRUSTED",
        Origin::Refused => "CERTIFICATE_REFUSED",
        Origin::Broken => "CONNECTION_BROKEN",
        Origin::Deadline => "NO_ANSWER_IN_TIME",
        Origin::Server | Origin::Foreign => match class {
            ErrorClass::Unsupported => "NOT_A_STREAMGATE",
            _ => "FOREIGN_ERROR",
        },
    }
}

/// The server's words; of the library's own, the innermost cause.
fn message_of(status: &Status, origin: Origin) -> String {
    let mut message = status.message().to_owned();
    if !matches!(origin, Origin::Server | Origin::Deadline | Origin::Foreign) {
        let mut source = status.source();
        while let Some(error) = source {
            let inner = error.to_string();
            if !message.contains(&inner) {
                _ = write!(message, ": {inner}");
            }
            source = error.source();
        }
    }
    if message.is_empty() {
        message = status.code().description().to_owned();
    }
    message
}

/// None: nothing was said. A none inside: do not come back.
fn push_back(status: &Status) -> Option<Option<Duration>> {
    let millis = header(status, "grpc-retry-pushback-ms")?;
    Some(millis.parse().ok().map(Duration::from_millis))
}

fn header<'a>(status: &'a Status, name: &str) -> Option<&'a str> {
    status.metadata().get(name).and_then(|value| value.to_str().ok())
}

fn sorted(metadata: &std::collections::HashMap<String, String>) -> BTreeMap<String, String> {
    metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests;
