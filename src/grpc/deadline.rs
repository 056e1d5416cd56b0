//! The deadline that a client put into `grpc-timeout`.

use std::time::Duration;

use tonic::codegen::http::HeaderMap;

use crate::runtime::{Clock, Deadline};

/// The time that an answer needs to reach the client before it stops waiting.
const MARGIN_MAX: Duration = Duration::from_millis(50);

/// Until when a caller waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Less a margin for the way back, so that it hears what became of its request and does not
    /// only see its own deadline pass.
    pub(crate) to_answer: Deadline,
    /// After this nobody listens.
    pub(crate) to_the_last: Deadline,
}

/// None: the caller waits for ever.
pub(crate) fn both(headers: &HeaderMap, clock: &dyn Clock) -> Option<Deadlines> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let timeout = parse(text)?;
    let margin = (timeout / 10).min(MARGIN_MAX);
    let to_answer = Deadline::after(clock, timeout - margin);
    Some(Deadlines { to_answer, to_the_last: Deadline::after(clock, timeout) })
}

/// The moment until which the caller waits for an answer.
pub(crate) fn of(headers: &HeaderMap, clock: &dyn Clock) -> Option<Deadline> {
    both(headers, clock).map(|deadlines| deadlines.to_answer)
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("123456789S", None),
            ("1ä", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
