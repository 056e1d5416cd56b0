//! How far a migration is, for people who watch.

use std::time::Duration;

use super::machine::Machine;
use super::record::{MigrationRecord, RecordedProgress};
use super::steps::{Effect, Outcome};
use crate::domain::Head;
use crate::telemetry::moves::{MoveStats, Stall};

/// Figures of one migration at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub iteration: u32,
    pub source_head: Head,
    pub target_head: Head,
    pub events_behind: u64,
    pub events_copied: u64,
    pub bytes_copied: u64,
    pub percent_complete: f64,
    pub events_per_second: f64,
    /// Until the copy has caught up at the present rate.
    pub time_left: Option<Duration>,
    pub close_attempts: u32,
    pub appends_redirected: u64,
    pub stall: Stall,
}

/// A migration as it is shown: what is remembered, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationView {
    pub record: MigrationRecord,
    pub progress: Progress,
}

impl MigrationView {
    /// What the record alone tells, when no process here runs the migration.
    pub fn remembered(record: MigrationRecord) -> Self {
        let kept = record.progress;
        let mut progress = Progress {
            iteration: kept.iteration,
            source_head: kept.source_head,
            target_head: kept.target_head,
            events_copied: kept.events_copied,
            bytes_copied: kept.bytes_copied,
            close_attempts: kept.close_attempts,
            appends_redirected: kept.appends_redirected,
            stall: Stall {
                count: kept.stall_count,
                p50: Duration::from_micros(kept.stall_p50_us),
                p99: Duration::from_micros(kept.stall_p99_us),
                max: Duration::from_micros(kept.stall_max_us),
            },
            ..Progress::default()
        };
        progress.complete();
        Self { record, progress }
    }
}

impl Progress {
    /// Fills in what follows from the heads.
    fn complete(&mut self) {
        let (source, target) = (self.source_head.next().0, self.target_head.next().0);
        self.events_behind = source.saturating_sub(target);
        let share = if source == 0 { 1.0 } else { target.min(source) as f64 / source as f64 };
        self.percent_complete = share * 100.0;
        if self.events_per_second > 0.0 {
            let seconds = self.events_behind as f64 / self.events_per_second;
            self.time_left = Some(Duration::from_secs_f64(seconds.min(1e9)));
        }
    }

    pub fn to_record(self) -> RecordedProgress {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        RecordedProgress {
            iteration: self.iteration,
            source_head: self.source_head,
            target_head: self.target_head,
            events_copied: self.events_copied,
            bytes_copied: self.bytes_copied,
            close_attempts: self.close_attempts,
            appends_redirected: self.appends_redirected,
            stall_count: self.stall.count,
            stall_p50_us: micros(self.stall.p50),
            stall_p99_us: micros(self.stall.p99),
            stall_max_us: micros(self.stall.max),
        }
    }
}

/// Counts what one process copied, on top of what the record remembers from others.
pub struct Meter {
    before: RecordedProgress,
    events: u64,
    bytes: u64,
    iteration: u32,
    close_attempts: u32,
    began: Duration,
    /// Events per second, smoothed over about a second.
    rate: f64,
    last: (Duration, u64),
}

impl Meter {
    pub fn new(before: RecordedProgress, now: Duration) -> Self {
        Self {
            before,
            events: 0,
            bytes: 0,
            iteration: 1,
            close_attempts: 0,
            began: now,
            rate: 0.0,
            last: (now, 0),
        }
    }

    /// A close that found the source ahead begins another round of catch-up.
    pub fn note_round(&mut self, effect: &Effect, outcome: &Outcome) {
        if !matches!(effect, Effect::CloseSource { .. }) || *outcome == Outcome::Lost {
            return;
        }
        self.close_attempts += 1;
        if matches!(outcome, Outcome::HeadMoved { .. }) {
            self.iteration += 1;
        }
    }

    pub fn note_copied(&mut self, events: u64, bytes: u64) {
        self.events += events;
        self.bytes += bytes;
    }

    pub fn progress(&mut self, machine: &Machine, stats: &MoveStats, now: Duration) -> Progress {
        self.update_rate(now);
        let target_head = Head::before(machine.copied().next);
        let mut progress = Progress {
            iteration: self.before.iteration.saturating_add(self.iteration),
            // The source is at least as long as the verified copy of it.
            source_head: machine.source_head().max(target_head),
            target_head,
            events_copied: self.before.events_copied + self.events,
            bytes_copied: self.before.bytes_copied + self.bytes,
            events_per_second: self.rate,
            close_attempts: self.before.close_attempts.saturating_add(self.close_attempts),
            appends_redirected: self.before.appends_redirected + stats.redirected(),
            stall: self.stall(stats),
            ..Progress::default()
        };
        progress.complete();
        progress
    }

    fn update_rate(&mut self, now: Duration) {
        let (then, events) = self.last;
        let passed = now.saturating_sub(then).as_secs_f64();
        if passed < 0.2 && self.rate > 0.0 {
            return;
        }
        if passed > 0.0 {
            let present = (self.events - events) as f64 / passed;
            let weight = passed.min(1.0);
            let first = self.last.0 == self.began;
            self.rate =
                if first { present } else { self.rate.mul_add(1.0 - weight, present * weight) };
            self.last = (now, self.events);
        }
    }

    /// This process's figures, or those of one before it if appends came only there.
    fn stall(&self, stats: &MoveStats) -> Stall {
        let here = stats.stall();
        if here.count > 0 {
            return here;
        }
        Stall {
            count: self.before.stall_count,
            p50: Duration::from_micros(self.before.stall_p50_us),
            p99: Duration::from_micros(self.before.stall_p99_us),
            max: Duration::from_micros(self.before.stall_max_us),
        }
    }
}
