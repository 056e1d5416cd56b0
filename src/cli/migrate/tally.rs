//! What became of many objects: counts, the overall display, the summary.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::output::{note, stderr_is_terminal};
use crate::cli::session::Session;
use crate::cli::values::{count_text, duration_of, duration_text, object_text};
use crate::grpc::v1;

/// Failures that are told one by one; the rest are counted.
const FAILURES_SHOWN: u64 = 20;
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How one object fared.
pub(super) enum Fate {
    /// It was moved, by this run or by one that was watched.
    Moved(Box<v1::Migration>),
    /// An earlier run had moved it, or it lives elsewhere by now.
    Already,
    Started,
    Checked,
    Failed {
        object: v1::ObjectRef,
        problem: String,
    },
}

#[derive(Default, Serialize)]
pub(super) struct Summary {
    pub(super) objects: u64,
    pub(super) moved: u64,
    pub(super) already_moved: u64,
    pub(super) started: u64,
    pub(super) checked: u64,
    pub(super) failed: u64,
    pub(super) events_copied: u64,
    pub(super) bytes_copied: u64,
    pub(super) appends_redirected: u64,
    pub(super) longest_append_ms: f64,
    pub(super) elapsed_ms: u64,
}

pub(super) struct Tally {
    pub(super) summary: Summary,
    bar: ProgressBar,
    is_terminal: bool,
    began: Duration,
    told_at: Duration,
}

impl Tally {
    /// `expected` objects, if that is known.
    pub(super) fn new(session: &Session, expected: Option<u64>) -> Self {
        let bar = match expected {
            Some(expected) => ProgressBar::new(expected).with_style(style("[{bar:24}] {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
        };
        let now = session.runtime.clock.monotonic();
        let summary = Summary::default();
        Self { summary, bar, is_terminal: stderr_is_terminal(), began: now, told_at: now }
    }

    pub(super) fn add(&mut self, fate: Fate) {
        let summary = &mut self.summary;
        summary.objects += 1;
        match fate {
            Fate::Moved(migration) => {
                summary.moved += 1;
                let progress = migration.progress.unwrap_or_default();
                summary.events_copied += progress.events_copied;
                summary.bytes_copied += progress.bytes_copied;
                summary.appends_redirected += progress.appends_redirected;
                let longest = progress.write_stall.and_then(|stall| stall.max);
                let longest = longest.map_or(Duration::ZERO, |longest| duration_of(&longest));
                let longest_ms = longest.as_secs_f64() * 1e3;
                summary.longest_append_ms = summary.longest_append_ms.max(longest_ms);
            }
            Fate::Already => summary.already_moved += 1,
            Fate::Started => summary.started += 1,
            Fate::Checked => summary.checked += 1,
            Fate::Failed { object, problem } => {
                summary.failed += 1;
                let line = format!("{}: {problem}", object_text(Some(&object)));
                if summary.failed <= FAILURES_SHOWN {
                    self.bar.suspend(|| note(&line));
                }
                if summary.failed == FAILURES_SHOWN {
                    self.bar.suspend(|| note("further failures are only counted"));
                }
            }
        }
    }

    /// Shows where it stands; on a terminal at once, elsewhere from time to time.
    pub(super) fn show(&mut self, now: Duration, running: usize) {
        self.summary.elapsed_ms =
            u64::try_from(now.saturating_sub(self.began).as_millis()).unwrap_or(u64::MAX);
        let text = format!("{running} running, {}", text_of(&self.summary));
        if self.is_terminal {
            self.bar.set_position(self.summary.objects);
            self.bar.set_message(text);
            self.bar.tick();
        } else if now.saturating_sub(self.told_at) >= LINE_EVERY {
            self.told_at = now;
            note(&text);
        }
    }

    pub(super) fn finish(self) -> Summary {
        self.bar.finish_and_clear();
        self.summary
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    style.progress_chars("=> ")
}

/// `1,434 objects: 1,400 moved, 34 moved before, 0 failed; 8,577 events in 2.1 s, ...`.
pub(super) fn text_of(summary: &Summary) -> String {
    let elapsed = Duration::from_millis(summary.elapsed_ms);
    let mut parts = Vec::new();
    let counts = [
        (summary.moved, "moved"),
        (summary.started, "started"),
        (summary.checked, "checked"),
        (summary.already_moved, "moved before"),
    ];
    for (count, what) in counts {
        if count > 0 {
            parts.push(format!("{} {what}", count_text(count)));
        }
    }
    parts.push(format!("{} failed", count_text(summary.failed)));
    let mut text = format!("{} objects: {}", count_text(summary.objects), parts.join(", "));
    text.push_str(&format!(
        "; {} events copied in {}, {} appends redirected",
        count_text(summary.events_copied),
        duration_text(elapsed),
        count_text(summary.appends_redirected),
    ));
    if summary.longest_append_ms > 0.0 {
        let longest = Duration::from_secs_f64(summary.longest_append_ms / 1e3);
        text.push_str(&format!(", longest append {}", duration_text(longest)));
    }
    text
}
