//! Why an embedded store does not open, and what the engine's failures mean to callers.

use std::io;
use std::path::PathBuf;

use super::layout::BadRecord;
use crate::documents::DocumentError;
use crate::domain::{ErrorClass, InvalidValue};
use crate::store::StoreError;
use crate::store::error::Cause;

/// The store was not opened, and nothing in its folder was changed but what the text tells.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the settings of the store are wrong: {}", listed(.0))]
    Invalid(Vec<InvalidValue>),
    #[error(
        "{} is in use: another process, or another store of this one, has it open",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "{} has format {found}, this release knows up to {known}; open it with the release that \
         wrote it, or a later one",
        path.display()
    )]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error(
        "{} holds files but no embedded store; name an empty folder, or one that does not exist",
        path.display()
    )]
    Foreign { path: PathBuf },
    #[error(
        "{} is damaged: {damage}. Put the whole folder back from a backup; do not mix files of \
         different moments",
        path.display()
    )]
    Damaged { path: PathBuf, damage: Damage },
    #[error("{} cannot be used", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        cause: Cause,
    },
}

/// What the check at opening found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the file {name} is missing")]
    FileMissing { name: String },
    #[error("the file {name} cannot be read: {problem}")]
    FileUnreadable { name: String, problem: String },
    #[error(
        "commits up to {acknowledged} were acknowledged, only those up to {found} are there. The \
         journals as they were before are kept in {kept}"
    )]
    EndMissing { acknowledged: u64, found: u64, kept: String },
    #[error("commit {missing} is missing, later ones are there")]
    CommitMissing { missing: u64 },
    #[error("commit {sequence} does not follow from the one before it: two histories are mixed")]
    HistoriesMixed { sequence: u64 },
    #[error("the file {name} is older than the rest: it knows {known} commits, {found} are there")]
    MarkTooOld { name: String, known: u64, found: u64 },
    #[error("{problem}")]
    Record { problem: String },
    #[error("the engine cannot open its files: {problem}")]
    Engine { problem: String },
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) | Self::Foreign { .. } => ErrorClass::Invalid,
            Self::Locked { .. } | Self::Unusable { .. } => ErrorClass::Unavailable,
            Self::NewerFormat { .. } | Self::Damaged { .. } => ErrorClass::Corrupt,
        }
    }
}

fn listed(faults: &[InvalidValue]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The engine stopped after a failure whose outcome is not known; reopening settles it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store stopped until it is opened again: {0}")]
pub(super) struct Stopped(pub(super) String);

/// Why the engine did not give what was asked of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Engine(#[from] fjall::Error),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("{0}")]
    Missing(String),
}

impl ReadError {
    fn is_damage(&self) -> bool {
        match self {
            Self::Stopped(_) => false,
            Self::Engine(error) => is_damage(error),
            Self::Record(_) | Self::Missing(_) => true,
        }
    }
}

/// Whether the engine met bytes that it did not write, and not a disk that is full or away.
pub(super) fn is_damage(error: &fjall::Error) -> bool {
    let bytes_are_wrong = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
        )
    };
    match error {
        fjall::Error::Io(error) => bytes_are_wrong(error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => bytes_are_wrong(error),
        fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted | fjall::Error::Locked => false,
        _ => true,
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        if error.is_damage() {
            return Self::Corrupt { detail: error.to_string() };
        }
        Self::unavailable(error)
    }
}

impl ReadError {
    pub(super) fn of_document(self, key: &str) -> DocumentError {
        if self.is_damage() {
            return DocumentError::Corrupt { key: key.into(), detail: self.to_string() };
        }
        DocumentError::Unavailable { cause: Some(Box::new(self)), retry_after: None }
    }
}

/// The two ways in which a write fails together with its commit.
pub(super) trait CommitFailure: Sized {
    /// The commit may be durable or not.
    fn unknown(stopped: &Stopped) -> Self;
    /// Nothing of it was, or ever will be, done.
    fn not_done(stopped: &Stopped) -> Self;
}

impl CommitFailure for StoreError {
    fn unknown(stopped: &Stopped) -> Self {
        Self::unknown(stopped.clone())
    }

    fn not_done(stopped: &Stopped) -> Self {
        Self::unavailable(stopped.clone())
    }
}

impl CommitFailure for DocumentError {
    fn unknown(stopped: &Stopped) -> Self {
        Self::OutcomeUnknown { cause: Some(Box::new(stopped.clone())) }
    }

    fn not_done(stopped: &Stopped) -> Self {
        Self::Unavailable { cause: Some(Box::new(stopped.clone())), retry_after: None }
    }
}
