//! Why a command did not do what it was asked to: what is printed, and with which exit code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use super::exit::Exit;
use super::output::{Format, note};
use super::session::Session;
use super::verdict::Verdict;
use crate::domain::ErrorClass;

/// The end of a command that did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Found only after the arguments were parsed.
    Usage {
        problem: String,
    },
    /// Every fault of the configuration, each with its path.
    Configuration {
        problems: Vec<String>,
    },
    /// A server that does not start, because of a store that is not what it should be.
    Start {
        text: String,
        class: ErrorClass,
    },
    /// A call ended with an error.
    Call(Box<Verdict>),
    /// A local file or stream.
    Local {
        what: String,
        error: io::Error,
    },
    /// Whoever read stdout has had enough.
    ReaderLeft,
    /// Everything ran, and the answer is no. What happened was shown already; this is the summary.
    Unsuccessful {
        summary: String,
    },
    Interrupted,
}

impl Failure {
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into() }
    }

    pub(crate) fn local(what: impl Into<String>, error: io::Error) -> Self {
        Self::Local { what: what.into(), error }
    }

    pub(crate) fn unsuccessful(summary: impl Into<String>) -> Self {
        Self::Unsuccessful { summary: summary.into() }
    }

    pub(crate) fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::local("write to stdout", error),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Configuration { .. } => Exit::Configuration,
            Self::Start { class, .. } => Exit::of(*class),
            Self::Call(verdict) => Exit::of(verdict.class),
            Self::Local { error, .. } if error.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Self::Local { .. } => Exit::LocalIo,
            Self::ReaderLeft => Exit::Done,
            Self::Unsuccessful { .. } => Exit::Unsuccessful,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// Prints it to stderr in the form that was asked for.
    pub(crate) fn report(self, session: &Session) -> ExitCode {
        if !matches!(self, Self::ReaderLeft) {
            match session.format() {
                Format::Text => note(&self.text()),
                Format::Json => note(&self.json()),
            }
        }
        self.exit().into()
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Usage { problem } => format!("error: {problem}"),
            Self::Configuration { problems } => {
                let mut text = String::from("error: the configuration is wrong");
                for problem in problems {
                    _ = write!(text, "\n  {problem}");
                }
                text
            }
            Self::Start { text, .. } => format!("error: {text}"),
            Self::Call(verdict) => verdict.text(),
            Self::Local { what, error } => format!("error: cannot {what}: {error}"),
            Self::ReaderLeft => String::new(),
            Self::Unsuccessful { summary } => summary.clone(),
            Self::Interrupted => "interrupted".into(),
        }
    }

    pub(crate) fn json(&self) -> String {
        let exit_code = self.exit().code();
        let plain = |reason, class, message: String| ErrorObject {
            reason,
            class,
            code: None,
            message,
            metadata: &EMPTY,
            violations: Vec::new(),
            retry_after_ms: None,
            request_id: None,
            next: None,
            exit_code,
        };
        let object = match self {
            Self::Usage { problem } => plain("USAGE", "usage", problem.clone()),
            Self::Configuration { problems } => {
                plain("CONFIGURATION", "configuration", problems.join("; "))
            }
            Self::Start { text, class } => plain("START", class.label(), text.clone()),
            Self::Call(verdict) => ErrorObject {
                reason: &verdict.reason,
                class: verdict.class.label(),
                code: Some(format!("{:?}", verdict.code)),
                message: verdict.message.clone(),
                metadata: &verdict.metadata,
                violations: verdict
                    .violations
                    .iter()
                    .map(|(field, problem)| Violation { field, problem })
                    .collect(),
                retry_after_ms: verdict
                    .retry_after
                    .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                request_id: verdict.request_id.as_deref(),
                next: Some(verdict.next()),
                exit_code,
            },
            Self::Local { what, error } => {
                plain("LOCAL", "local", format!("cannot {what}: {error}"))
            }
            Self::ReaderLeft => plain("READER_LEFT", "local", String::new()),
            Self::Unsuccessful { summary } => {
                plain("UNSUCCESSFUL", "unsuccessful", summary.clone())
            }
            Self::Interrupted => plain("INTERRUPTED", "local", self.text()),
        };
        // Only text and numbers: nothing that JSON could not hold.
        serde_json::to_string(&ErrorLine { error: object }).unwrap_or_default()
    }
}

impl From<Box<Verdict>> for Failure {
    fn from(verdict: Box<Verdict>) -> Self {
        Self::Call(verdict)
    }
}

impl From<Verdict> for Failure {
    fn from(verdict: Verdict) -> Self {
        Self::Call(Box::new(verdict))
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    reason: &'a str,
    class: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    message: String,
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
    exit_code: u8,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    problem: &'a str,
}
