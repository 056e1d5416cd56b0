//! What the demo saw, and whether all of it is as promised.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Ledger;
use super::movers::Moved;
use super::proof::Proof;
use super::writers::Written;
use super::{SOURCE, TARGET};
use crate::cli::failure::Failure;
use crate::cli::values::{count_text, duration_text};

#[derive(Serialize)]
pub(super) struct Report {
    objects: u64,
    objects_moved: u64,
    appends: u64,
    events_appended: u64,
    events_per_second: u64,
    events_moved: u64,
    bytes_moved: u64,
    appends_redirected: u64,
    appends_while_moving: u64,
    /// By the clients' clocks, on objects that moved and on objects that did not.
    longest_append_moving_ms: f64,
    longest_append_resting_ms: f64,
    append_p50_ms: f64,
    append_p99_ms: f64,
    /// By the server's own count in the migrations.
    longest_append_by_migrations_ms: f64,
    objects_verified: u64,
    events_verified: u64,
    client_errors: u64,
    faults: u64,
    elapsed_ms: u64,
    first_client_errors: Vec<String>,
    first_faults: Vec<String>,
}

impl Report {
    pub(super) fn of(
        ledger: &Ledger,
        moved: Moved,
        mut written: Written,
        proof: Proof,
        wrote_for: Duration,
    ) -> Self {
        let millis = |micros: u64| micros as f64 / 1e3;
        let max = |histogram: &Histogram<u64>| millis(histogram.max());
        let (moving, resting) = (max(&written.moving), max(&written.resting));
        _ = written.resting.add(&written.moving);
        let all = written.resting;
        let events = ledger.events.load(Ordering::Relaxed);
        Self {
            objects: ledger.objects.len() as u64,
            objects_moved: moved.objects,
            appends: ledger.appends.load(Ordering::Relaxed),
            events_appended: events,
            events_per_second: (events as f64 / wrote_for.as_secs_f64().max(0.001)) as u64,
            events_moved: moved.events,
            bytes_moved: moved.bytes,
            appends_redirected: ledger.redirected.load(Ordering::Relaxed),
            appends_while_moving: moved.appends_while_moving,
            longest_append_moving_ms: moving,
            longest_append_resting_ms: resting,
            append_p50_ms: millis(all.value_at_quantile(0.5)),
            append_p99_ms: millis(all.value_at_quantile(0.99)),
            longest_append_by_migrations_ms: moved.longest_append.as_secs_f64() * 1e3,
            objects_verified: proof.objects,
            events_verified: proof.events,
            client_errors: ledger.client_errors.count(),
            faults: ledger.faults.count(),
            elapsed_ms: u64::try_from(wrote_for.as_millis()).unwrap_or(u64::MAX),
            first_client_errors: ledger.client_errors.first(),
            first_faults: ledger.faults.first(),
        }
    }

    pub(super) fn text(&self, writers: u16) -> String {
        let shown = |millis: f64| duration_text(Duration::from_secs_f64(millis / 1e3));
        let elapsed = Duration::from_millis(self.elapsed_ms);
        let mut text = String::new();
        let mut fact = |name: &str, value: String| _ = writeln!(text, "{name:<20} {value}");
        fact(
            "events appended",
            format!(
                "{} by {writers} clients in {}",
                count_text(self.events_appended),
                duration_text(elapsed)
            ),
        );
        fact("events per second", count_text(self.events_per_second));
        fact(
            "events moved",
            format!(
                "{} of {} objects, {SOURCE} -> {TARGET}",
                count_text(self.events_moved),
                count_text(self.objects_moved)
            ),
        );
        fact(
            "appends redirected",
            format!(
                "{}; {} appends went to objects while they moved",
                count_text(self.appends_redirected),
                count_text(self.appends_while_moving)
            ),
        );
        fact(
            "longest write stall",
            format!(
                "{} for the clients (on objects at rest: {}), {} by the migrations' own count",
                shown(self.longest_append_moving_ms),
                shown(self.longest_append_resting_ms),
                shown(self.longest_append_by_migrations_ms)
            ),
        );
        fact(
            "append latency",
            format!("p50 {}, p99 {}", shown(self.append_p50_ms), shown(self.append_p99_ms)),
        );
        fact(
            "verified",
            format!(
                "{} events of {} objects: each once, in order, byte for byte",
                count_text(self.events_verified),
                count_text(self.objects_verified)
            ),
        );
        for (what, list) in [("error", &self.first_client_errors), ("FAULT", &self.first_faults)] {
            for entry in list {
                fact(what, entry.clone());
            }
        }
        if self.faults > 0 {
            fact("faults", count_text(self.faults));
        }
        text.push_str(&format!("client errors: {}", self.client_errors));
        text
    }

    /// An error unless everything is as promised.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let mut problems = Vec::new();
        let mut expect = |is_so: bool, problem: &str| {
            if !is_so {
                problems.push(problem.to_owned());
            }
        };
        expect(self.client_errors == 0, "clients saw errors");
        expect(self.faults == 0, "faults were found");
        expect(self.objects_moved == self.objects, "not every object was moved");
        expect(self.objects_verified == self.objects, "not every object is proven");
        expect(self.events_verified == self.events_appended, "the numbers of events differ");
        match problems.is_empty() {
            true => Ok(()),
            false => {
                Err(Failure::unsuccessful(format!("NOT as promised: {}", problems.join(", "))))
            }
        }
    }
}
