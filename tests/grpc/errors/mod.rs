//! Every reason of `docs/errors.md`, provoked over the wire: its code, its domain, its values and
//! its details are what the page says, and no reason is left out.
//!
//! Reading order: [`seen`] (an error as it arrives), [`page`] (what the document promises),
//! [`appends`] and [`moves`] (how each is provoked), this file (what holds for all).

mod appends;
mod moves;
mod page;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use streamgate::domain::Reason;
use streamgate::grpc::status::code_of;

use page::Promise;
use seen::{Seen, Way};

/// One way to an error.
struct Row {
    reason: Reason,
    /// What somebody did.
    when: &'static str,
    /// What stands in the metadata; none where the value is not known before.
    values: &'static [(&'static str, Option<&'static str>)],
    /// The fields that are found fault with.
    fields: &'static [&'static str],
    /// After which wait to come back.
    delay: Delay,
    provoke: fn() -> BoxFuture<'static, Seen>,
}

/// The longest that an error is waited for, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(60);

enum Delay {
    None,
    Some,
    Millis(u64),
}

/// A row without values, fields and delay.
fn row(reason: Reason, when: &'static str, provoke: fn() -> BoxFuture<'static, Seen>) -> Row {
    Row { reason, when, values: &[], fields: &[], delay: Delay::None, provoke }
}

fn rows() -> Vec<Row> {
    appends::rows().into_iter().chain(moves::rows()).collect()
}

impl Row {
    async fn check(&self, promises: &BTreeMap<String, Promise>) {
        let Self { reason, when, .. } = self;
        let seen = tokio::time::timeout(PATIENCE, (self.provoke)()).await;
        let seen = seen.unwrap_or_else(|_| panic!("{reason} never came: {when}"));
        let case = format!("{when}: {seen:?}");
        let info = seen.details.error_info().unwrap_or_else(|| panic!("no ErrorInfo, {case}"));
        assert_eq!(info.reason, reason.as_str(), "{case}");
        assert_eq!(info.domain, "streamgate", "{case}");
        assert_eq!(seen.code, code_of(reason.class()), "{case}");
        assert!(!seen.message.is_empty(), "{case}");

        let keys: BTreeSet<&str> = info.metadata.keys().map(String::as_str).collect();
        assert_eq!(keys, self.values.iter().map(|(key, _)| *key).collect(), "{case}");
        for (key, expected) in self.values {
            match expected {
                Some(expected) => assert_eq!(info.metadata[*key], *expected, "{key}, {case}"),
                None => assert!(!info.metadata[*key].is_empty(), "{key}, {case}"),
            }
        }
        let promised = &promises[reason.as_str()].metadata;
        assert!(keys.iter().all(|key| promised.contains(*key)), "{promised:?}, {case}");

        let bad = seen.details.bad_request();
        let faults = bad.map_or(&[][..], |bad| &bad.field_violations);
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, self.fields, "{case}");
        assert!(faults.iter().all(|fault| !fault.description.is_empty()), "{case}");
        self.check_delay(&seen, &case);
        if let Way::Answer(headers) = &seen.way {
            assert!(headers.contains_key("x-request-id"), "{case}");
        }
    }

    fn check_delay(&self, seen: &Seen, case: &str) {
        let info = seen.details.retry_info().and_then(|info| info.retry_delay);
        match self.delay {
            Delay::None => assert_eq!(info, None, "{case}"),
            Delay::Some => assert!(info.is_some_and(|delay| !delay.is_zero()), "{case}"),
            Delay::Millis(millis) => {
                assert_eq!(info.map(|delay| delay.as_millis()), Some(millis.into()), "{case}");
            }
        }
        if let Way::Answer(headers) = &seen.way {
            let pushback = headers.get("grpc-retry-pushback-ms");
            let pushback = pushback.map(|value| value.to_str().unwrap().parse().unwrap());
            assert_eq!(pushback, info.map(|delay| delay.as_millis()), "{case}");
        }
    }
}

#[tokio::test]
async fn every_reason_arrives_as_the_page_says() {
    let promises = page::promises();
    for row in rows() {
        row.check(&promises).await;
    }
}

#[test]
fn every_reason_is_provoked_with_every_value_that_the_page_promises() {
    let promises = page::promises();
    for reason in Reason::ALL {
        let rows: Vec<Row> = rows().into_iter().filter(|row| row.reason == reason).collect();
        assert!(!rows.is_empty(), "nothing provokes {reason}");
        let promise = &promises[reason.as_str()];
        assert!(promise.advice.len() > 20, "{reason} does not say what the client should do");
        // Each setting has a test of its own beside what it bounds.
        if reason == Reason::TooManyInFlight {
            continue;
        }
        let shown = rows.iter().flat_map(|row| row.values.iter().map(|(key, _)| *key));
        let shown: BTreeSet<&str> = shown.collect();
        let promised: BTreeSet<&str> = promise.metadata.iter().map(String::as_str).collect();
        assert_eq!(shown, promised, "{reason}");
        let delays = rows.iter().any(|row| !matches!(row.delay, Delay::None));
        assert_eq!(delays, promise.has_delay, "{reason} has a delay or has none");
    }
}
