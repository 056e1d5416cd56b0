//! A moment as whole nanoseconds since 1970-01-01T00:00:00Z, so that none is lost anywhere.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch; reaches from the year 1677 to 2262.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Seconds and nanoseconds as the wire carries them; none when out of reach.
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        let whole = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        i64::try_from(whole).ok().map(Self)
    }

    /// Seconds (rounded down) and the nanoseconds that remain, 0 to 999,999,999.
    pub const fn parts(self) -> (i64, i32) {
        (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000) as i32)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many decimals as are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = super::InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || super::InvalidValue::new("timestamp", "must be RFC 3339 within 1677-2262");
        let moment: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
        i64::try_from(moment.as_nanosecond()).map(Self).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip_on_both_sides_of_the_epoch() {
        for nanos in [0, 1, -1, i64::MAX, i64::MIN, -1_000_000_001] {
            let (seconds, rest) = Timestamp(nanos).parts();
            assert_eq!(Timestamp::from_parts(seconds, rest), Some(Timestamp(nanos)));
        }
        assert_eq!(Timestamp::from_parts(0, -1), None);
        assert_eq!(Timestamp::from_parts(i64::MAX, 0), None);
    }

    #[test]
    fn text_round_trips() {
        let moment: Timestamp = "2010-10-02T07:20:39.266Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2010-10-02T07:20:39.266Z");
    }
}
