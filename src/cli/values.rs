//! Values as people type them, and as people read them.

use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::Timestamp;
use crate::grpc::v1;
use crate::grpc::v1::expected_version::Kind;

/// `500ms`, `30s`, `1h 30m`; longer than nothing.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err("must be longer than nothing, as 500ms or 30s".into()),
    }
}

/// `key=value`; the value may be empty and may hold further `=`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must look like KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `any`, `no_stream`, `stream_exists` or a version.
pub(crate) fn parse_expected_version(text: &str) -> Result<Kind, String> {
    match text {
        "any" => Ok(Kind::Any(())),
        "no_stream" => Ok(Kind::NoStream(())),
        "stream_exists" => Ok(Kind::StreamExists(())),
        number => number
            .parse()
            .map(Kind::Exact)
            .map_err(|_| "must be any, no_stream, stream_exists or a version".into()),
    }
}

/// RFC 3339.
pub(crate) fn parse_moment(text: &str) -> Result<prost_types::Timestamp, String> {
    let moment: Timestamp = text.parse().map_err(|error| format!("{error}"))?;
    let (seconds, nanos) = moment.parts();
    Ok(prost_types::Timestamp { seconds, nanos })
}

/// RFC 3339 in UTC, with every digit that the server sent.
pub(crate) fn moment_text(moment: &prost_types::Timestamp) -> String {
    match Timestamp::from_parts(moment.seconds, moment.nanos) {
        Some(timestamp) => timestamp.to_string(),
        None => format!("{}s {}ns", moment.seconds, moment.nanos),
    }
}

pub(crate) fn duration_of(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
}

pub(crate) fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    // The wire holds 10,000 years; nobody means more.
    prost_types::Duration::try_from(duration)
        .unwrap_or(prost_types::Duration { seconds: 315_576_000_000, nanos: 0 })
}

/// Three digits that matter: `820 us`, `1.24 ms`, `3.1 s`, `4m 05s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 120.0 {
        let whole = duration.as_secs();
        let (hours, minutes) = (whole / 3600, whole / 60 % 60);
        return match hours {
            0 => format!("{minutes}m {:02}s", whole % 60),
            hours => format!("{hours}h {minutes:02}m"),
        };
    }
    if seconds >= 1.0 {
        return format!("{seconds:.1} s");
    }
    let millis = seconds * 1e3;
    match millis {
        millis if millis >= 100.0 => format!("{millis:.0} ms"),
        millis if millis >= 10.0 => format!("{millis:.1} ms"),
        millis if millis >= 1.0 => format!("{millis:.2} ms"),
        millis => format!("{:.0} us", millis * 1e3),
    }
}

/// `12,345,678`.
pub(crate) fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `order/42`.
pub(crate) fn object_text(object: Option<&v1::ObjectRef>) -> String {
    object.map(|object| format!("{}/{}", object.object_name, object.object_id)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_typed_as_people_write_them() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "0s", "-1s", "30", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_with_the_digits_that_matter() {
        let shown = |nanos| duration_text(Duration::from_nanos(nanos));
        assert_eq!(shown(820_400), "820 us");
        assert_eq!(shown(1_240_000), "1.24 ms");
        assert_eq!(shown(42_000_000), "42.0 ms");
        assert_eq!(shown(3_100_000_000), "3.1 s");
        assert_eq!(shown(245_000_000_000), "4m 05s");
        assert_eq!(shown(7_500_000_000_000), "2h 05m");
    }

    #[test]
    fn expected_versions_are_the_four_words_of_the_interface() {
        assert_eq!(parse_expected_version("any"), Ok(Kind::Any(())));
        assert_eq!(parse_expected_version("no_stream"), Ok(Kind::NoStream(())));
        assert_eq!(parse_expected_version("stream_exists"), Ok(Kind::StreamExists(())));
        assert_eq!(parse_expected_version("0"), Ok(Kind::Exact(0)));
        for bad in ["", "-1", "ANY", "1.5", "18446744073709551616"] {
            assert!(parse_expected_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_keep_every_digit() {
        let moment = parse_moment("2010-10-02T07:20:39.266000001Z").unwrap();
        assert_eq!(moment_text(&moment), "2010-10-02T07:20:39.266000001Z");
        assert!(parse_moment("yesterday").is_err());
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count_text(0), "0");
        assert_eq!(count_text(999), "999");
        assert_eq!(count_text(1_000), "1,000");
        assert_eq!(count_text(12_345_678), "12,345,678");
    }

    #[test]
    fn a_pair_ends_its_key_at_the_first_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_pair("a="), Ok(("a".into(), String::new())));
        assert!(parse_pair("a").is_err());
    }
}
