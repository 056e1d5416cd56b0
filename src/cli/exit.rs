//! Exit codes: one for each family of error classes, so that a script knows what to do next.

use std::process::ExitCode;

use crate::domain::ErrorClass;

/// How a command ended. The numbers follow `sysexits.h` where it has a word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// The command ran, and what it found or did is not what was asked for.
    Unsuccessful,
    Usage,
    Configuration,
    Invalid,
    NotFound,
    Unavailable,
    Bug,
    Unsupported,
    Corrupt,
    Refused,
    LocalIo,
    TryAgain,
    OutcomeUnknown,
    NotAllowed,
    Interrupted,
}

/// The end of `--help`. `docs/cli.md` says more about each.
pub(crate) const HELP: &str = "\
Exit codes:
  0   done
  1   it ran, and the answer is no: lines failed, the migration did not succeed
  2   the command line is wrong
  64  the configuration is wrong
  65  the server finds the request invalid
  66  there is no such object, migration, store or file
  69  the server or a store cannot be reached; nothing was done
  70  a fault of streamgate
  71  this store or server cannot do that
  72  damaged data: stop and look
  73  refused in the present state: a wrong expected version, a running migration
  74  a local file or stream cannot be read or written
  75  try again, later or with more time
  76  it may be done or not: repeat only with the same ids
  77  not allowed
  130 interrupted";

impl Exit {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 16] = [
        Self::Done,
        Self::Unsuccessful,
        Self::Usage,
        Self::Configuration,
        Self::Invalid,
        Self::NotFound,
        Self::Unavailable,
        Self::Bug,
        Self::Unsupported,
        Self::Corrupt,
        Self::Refused,
        Self::LocalIo,
        Self::TryAgain,
        Self::OutcomeUnknown,
        Self::NotAllowed,
        Self::Interrupted,
    ];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unsuccessful => 1,
            Self::Usage => 2,
            Self::Configuration => 64,
            Self::Invalid => 65,
            Self::NotFound => 66,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Unsupported => 71,
            Self::Corrupt => 72,
            Self::Refused => 73,
            Self::LocalIo => 74,
            Self::TryAgain => 75,
            Self::OutcomeUnknown => 76,
            Self::NotAllowed => 77,
            Self::Interrupted => 130,
        }
    }

    pub(crate) const fn of(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Invalid => Self::Invalid,
            ErrorClass::Unauthenticated | ErrorClass::Forbidden => Self::NotAllowed,
            ErrorClass::NotFound => Self::NotFound,
            ErrorClass::AlreadyExists | ErrorClass::Conflict | ErrorClass::Refused => Self::Refused,
            ErrorClass::Moving | ErrorClass::Overloaded | ErrorClass::TimedOut => Self::TryAgain,
            ErrorClass::Unavailable => Self::Unavailable,
            ErrorClass::OutcomeUnknown => Self::OutcomeUnknown,
            ErrorClass::Unsupported => Self::Unsupported,
            ErrorClass::Corrupt => Self::Corrupt,
            ErrorClass::Bug => Self::Bug,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_differ_and_no_class_looks_like_success() {
        let codes: HashSet<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
        for class in ErrorClass::ALL {
            assert!(Exit::of(class).code() >= 64, "{class:?}");
        }
    }

    #[test]
    fn what_may_be_done_never_looks_like_what_is_not_done() {
        for class in ErrorClass::ALL {
            let is_unknown = class == ErrorClass::OutcomeUnknown;
            assert_eq!(Exit::of(class) == Exit::OutcomeUnknown, is_unknown, "{class:?}");
        }
    }
}
