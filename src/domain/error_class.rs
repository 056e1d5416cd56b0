//! What the caller of a failed call should do next. The class alone decides retrying, the gRPC
//! code, the metric label and the log level.

/// The classes across all layers. Adding one is a decision; adding a reason within one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Fix the request.
    Invalid,
    /// Say who you are.
    Unauthenticated,
    /// Ask for the right to do this.
    Forbidden,
    /// It does not exist.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Read again, decide again, append again.
    Conflict,
    /// Not until someone changes the state.
    Refused,
    /// The same call, shortly.
    Moving,
    /// The same call, later, and less of it.
    Overloaded,
    /// Certainly not done; the same call again.
    Unavailable,
    /// Nothing was changed; the same call with more time.
    TimedOut,
    /// May be done; repeat only with the same event ids.
    OutcomeUnknown,
    /// This store cannot.
    Unsupported,
    /// Stop and call someone.
    Corrupt,
    /// Ours.
    Bug,
}

impl ErrorClass {
    pub const ALL: [Self; 15] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Refused,
        Self::Moving,
        Self::Overloaded,
        Self::Unavailable,
        Self::TimedOut,
        Self::OutcomeUnknown,
        Self::Unsupported,
        Self::Corrupt,
        Self::Bug,
    ];

    /// The label of metrics and of the field `error.class`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Moving => "moving",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::Bug => "bug",
        }
    }

    /// Whether the same call, unchanged, may succeed a little later without harm.
    pub const fn may_be_repeated(self) -> bool {
        match self {
            Self::Moving | Self::Overloaded | Self::Unavailable | Self::TimedOut => true,
            Self::Invalid
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::Refused
            | Self::OutcomeUnknown
            | Self::Unsupported
            | Self::Corrupt
            | Self::Bug => false,
        }
    }
}
