//! How an import stands, on stderr, and how it went, on stdout.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::output::{note, stderr_is_terminal};
use crate::cli::values::{count_text, duration_text};

const LINE_EVERY: Duration = Duration::from_secs(2);

#[derive(Default, Serialize)]
pub(super) struct Counts {
    pub(super) appended: u64,
    pub(super) replayed: u64,
    pub(super) failed: u64,
    /// Lines of objects that lost a line before them.
    pub(super) held_back: u64,
    /// How often an append was sent again.
    pub(super) repeats: u64,
    pub(super) elapsed_ms: u64,
    /// Where to go on, if not everything is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resume_at_line: Option<u64>,
}

pub(super) struct Display {
    bar: ProgressBar,
    is_terminal: bool,
    told_at: Duration,
}

impl Display {
    pub(super) fn new(size: Option<u64>, now: Duration) -> Self {
        let template = match size {
            Some(_) => "[{bar:24}] {percent}% {msg}, {eta} left",
            None => "{spinner} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let bar = bar.with_style(style.progress_chars("=> "));
        Self { bar, is_terminal: stderr_is_terminal(), told_at: now }
    }

    pub(super) fn show(&mut self, counts: &Counts, taken: u64, now: Duration) {
        if self.is_terminal {
            self.bar.set_position(taken);
            self.bar.set_message(text_of(counts));
            self.bar.tick();
        } else if now.saturating_sub(self.told_at) >= LINE_EVERY {
            self.told_at = now;
            note(&text_of(counts));
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

pub(super) fn text_of(counts: &Counts) -> String {
    let elapsed = Duration::from_millis(counts.elapsed_ms);
    let lines = counts.appended + counts.replayed;
    let rate = lines as f64 / elapsed.as_secs_f64().max(0.001);
    let mut text = format!(
        "{} appended, {} replayed, {} failed in {} ({}/s)",
        count_text(counts.appended),
        count_text(counts.replayed),
        count_text(counts.failed),
        duration_text(elapsed),
        count_text(rate as u64),
    );
    if counts.held_back > 0 {
        text.push_str(&format!(", {} held back", count_text(counts.held_back)));
    }
    if counts.repeats > 0 {
        text.push_str(&format!(", {} repeats", count_text(counts.repeats)));
    }
    text
}
