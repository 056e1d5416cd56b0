//! The table: bar, ours, the other side, their ratio, met or missed.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::Scale;

/// Whether a bar holds. A missed one is reported, not an error: the machine may be busy.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// A figure beside the bars.
    Shown,
}

impl Verdict {
    pub(crate) fn of(holds: bool) -> Self {
        if holds { Self::Met } else { Self::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Shown => "",
        }
    }
}

pub(crate) struct Report {
    scale: Scale,
    began: Instant,
    rows: Vec<[String; 6]>,
}

const TITLES: [&str; 6] = ["what", "ours", "the other side", "ratio", "bar", ""];

impl Report {
    pub(crate) fn new(scale: Scale) -> Self {
        Self { scale, began: Instant::now(), rows: Vec::new() }
    }

    pub(crate) fn begin(&mut self, group: &str) {
        eprintln!("{:>4} s  {group}", self.began.elapsed().as_secs());
    }

    pub(crate) fn row(
        &mut self,
        what: impl Display,
        ours: impl Display,
        other: impl Display,
        ratio: impl Display,
        bar: impl Display,
        verdict: Verdict,
    ) {
        // A quick run judges nothing.
        let word = if self.scale.turns > 1 { verdict.word() } else { "" }.to_owned();
        let texts = [&what as &dyn Display, &ours, &other, &ratio, &bar].map(ToString::to_string);
        let [what, ours, other, ratio, bar] = texts;
        eprintln!("        {what}: {ours}; {other}; {ratio} {word}");
        self.rows.push([what, ours, other, ratio, bar, word]);
    }

    /// A rate beside another, with the least ratio that is asked for.
    pub(crate) fn rates(
        &mut self,
        what: impl Display,
        ours: f64,
        other: (&str, f64),
        bar: Option<f64>,
    ) {
        let ratio = ours / other.1;
        let (text, verdict) = match bar {
            Some(bar) => (format!("at least {bar:.2}"), Verdict::of(ratio >= bar)),
            None => (String::new(), Verdict::Shown),
        };
        let other = format!("{} {}", other.0, rate(other.1));
        self.row(what, rate(ours), other, format!("{ratio:.2}"), text, verdict);
    }

    pub(crate) fn print(&self) {
        let mut widths = TITLES.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = std::io::stdout().lock();
        let mut line = |cells: [&str; 6]| {
            let padded: Vec<String> = std::iter::zip(widths, cells)
                .map(|(width, cell)| format!("{cell:width$}"))
                .collect();
            // Nobody is left to tell when the output is gone.
            let _ = writeln!(out, "| {} |", padded.join(" | "));
        };
        line(TITLES);
        let rules = widths.map(|width| "-".repeat(width));
        line(rules.each_ref().map(String::as_str));
        for row in &self.rows {
            line(row.each_ref().map(String::as_str));
        }
        if self.scale.turns == 1 {
            eprintln!("A quick run: these figures mean nothing.");
        }
        eprintln!("{} s in all", self.began.elapsed().as_secs());
    }
}

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2}M/s", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1}k/s", rate / 1e3),
        rate => format!("{rate:.0}/s"),
    }
}

pub(crate) fn time(time: Duration) -> String {
    match time.as_micros() {
        micros if micros >= 10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{micros} us"),
    }
}

pub(crate) fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes >= 1024.0 * 1024.0 => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
        bytes if bytes >= 1024.0 => format!("{:.1} KiB", bytes / 1024.0),
        bytes => format!("{bytes:.0} B"),
    }
}
