//! Places in an object's history, and what a caller expects the head to be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Place of an event in its object's history: 0-based, without gaps, the same before and after
/// a migration.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    pub const FIRST: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of the last business event; none before the first.
///
/// A stream that continues another and has no event of its own has the head `base - 1`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Head(Option<Version>);

impl Head {
    /// Nothing has happened yet.
    pub const NONE: Self = Self(None);

    pub const fn at(version: Version) -> Self {
        Self(Some(version))
    }

    /// The head of a stream whose first event would take `base` and that has none yet.
    pub const fn before(base: Version) -> Self {
        match base.0.checked_sub(1) {
            Some(last) => Self(Some(Version(last))),
            None => Self(None),
        }
    }

    pub const fn version(self) -> Option<Version> {
        self.0
    }

    /// The version that the next event takes.
    pub const fn next(self) -> Version {
        match self.0 {
            Some(last) => last.next(),
            None => Version::FIRST,
        }
    }

    /// The head after `count` more events.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self::before(self.next().plus(count))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(version) => version.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// What the caller of an append expects, judged on the object and not on its newest stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExpectedVersion {
    /// At the head, whatever it is.
    #[default]
    Any,
    /// The object has no events.
    NoStream,
    /// The object has at least one event.
    StreamExists,
    /// The object's last event has exactly this version.
    Exact(Version),
}

/// The head is not what the caller expected. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, the head is {actual}")]
pub struct WrongExpectedVersion {
    pub expected: ExpectedVersion,
    pub actual: Head,
}

impl ExpectedVersion {
    /// The expectation that only this very head meets.
    pub const fn exactly(head: Head) -> Self {
        match head.version() {
            Some(version) => Self::Exact(version),
            None => Self::NoStream,
        }
    }

    /// Whether it is met, whatever the head was, directly behind `count` events, at least one, that
    /// were appended under `before`.
    pub fn is_met_behind(self, before: Self, count: u64) -> bool {
        match (self, before) {
            (Self::Any | Self::StreamExists, _) => true,
            // The greatest version is one that a caller may name, and no stream reaches.
            (Self::Exact(version), Self::Exact(head)) => {
                head.0.checked_add(count) == Some(version.0)
            }
            (Self::Exact(version), Self::NoStream) => Head::at(version) == Head::NONE.plus(count),
            (Self::Exact(_), Self::Any | Self::StreamExists) | (Self::NoStream, _) => false,
        }
    }

    pub fn judge(self, actual: Head) -> Result<(), WrongExpectedVersion> {
        let met = match self {
            Self::Any => true,
            Self::NoStream => actual == Head::NONE,
            Self::StreamExists => actual != Head::NONE,
            Self::Exact(version) => actual == Head::at(version),
        };
        if met { Ok(()) } else { Err(WrongExpectedVersion { expected: self, actual }) }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::NoStream => f.write_str("no_stream"),
            Self::StreamExists => f.write_str("stream_exists"),
            Self::Exact(version) => version.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_meets_every_head_as_the_table_says() {
        let none = Head::NONE;
        let two = Head::at(Version(2));
        let table = [
            (ExpectedVersion::Any, true, true),
            (ExpectedVersion::NoStream, true, false),
            (ExpectedVersion::StreamExists, false, true),
            (ExpectedVersion::Exact(Version(2)), false, true),
            (ExpectedVersion::Exact(Version(1)), false, false),
            (ExpectedVersion::Exact(Version(3)), false, false),
        ];
        for (mode, on_none, on_two) in table {
            assert_eq!(mode.judge(none).is_ok(), on_none, "{mode} on none");
            assert_eq!(mode.judge(two).is_ok(), on_two, "{mode} on 2");
        }
    }

    #[test]
    fn what_is_met_behind_an_append_is_met_by_every_head_that_it_can_leave() {
        let exact = |version| ExpectedVersion::Exact(Version(version));
        let (any, exists, none) =
            (ExpectedVersion::Any, ExpectedVersion::StreamExists, ExpectedVersion::NoStream);
        let heads = || std::iter::once(Head::NONE).chain((0..6).map(|it| Head::at(Version(it))));
        let modes = || [any, exists, none].into_iter().chain((0..8).map(exact));
        for (before, next) in modes().flat_map(|it| modes().map(move |next| (it, next))) {
            let fits = |head: &Head| before.judge(*head).is_ok();
            // Of heads beyond these nothing is known.
            if !heads().any(|head| fits(&head)) {
                continue;
            }
            for count in 1..3 {
                let mut left = heads().filter(fits).map(|head| head.plus(count));
                let met = left.all(|head| next.judge(head).is_ok());
                assert_eq!(next.is_met_behind(before, count), met, "{next} behind {before}");
            }
        }
        assert!(!exact(0).is_met_behind(exact(u64::MAX), 1), "nothing lies behind the greatest");
    }

    #[test]
    fn head_and_next_are_neighbours() {
        assert_eq!(Head::NONE.next(), Version(0));
        assert_eq!(Head::before(Version(0)), Head::NONE);
        assert_eq!(Head::before(Version(5)).next(), Version(5));
        assert_eq!(Head::NONE.plus(3), Head::at(Version(2)));
        assert_eq!(Head::at(Version(2)).plus(0), Head::at(Version(2)));
    }
}
