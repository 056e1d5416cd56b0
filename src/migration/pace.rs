//! How fast a migration and its source are, measured on the way, and what follows for a pause:
//! how many events may be left when it begins, if it is to end in time.
//!
//! A pause is announced, what was on its way ends, what is left is copied as one page, the source
//! is closed and the document rerouted. Each of these was done before, or something much like it,
//! so each is expected to take as long as lately. Nothing here decides more than whether to try.

use std::fmt;
use std::time::Duration;

use super::steps::{Effect, Outcome};
use crate::domain::Head;

/// The weight of the newest measurement.
const NEWEST: f64 = 0.25;
/// How much of all pages before counts beside a new page.
const KEPT: f64 = 0.9;
/// A pause that was not kept halves what the next one may take, this often at most.
const HALVINGS_MAX: u32 = 6;

/// What the machine is told of the pace. Without measurements nothing is foreseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that the source took per second lately.
    pub written_per_second: Option<u64>,
    /// Events that can be copied per second, a full page at a time.
    pub copied_per_second: Option<u64>,
    /// The most events that may be left when a pause begins; none while nothing is known.
    pub pause_gap_max: Option<u64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(written) = self.written_per_second {
            write!(f, "; the source takes {written} events/s")?;
        }
        if let Some(copied) = self.copied_per_second {
            write!(f, "; the copy can take {copied} events/s")?;
        }
        Ok(())
    }
}

/// The measurements of one process.
#[derive(Debug, Default)]
pub struct Pace {
    pages: Pages,
    /// What the page on its way has taken so far.
    page: Duration,
    close: Usual,
    document: Usual,
    pause: Usual,
    written: Usual,
    head: Option<(Duration, u64)>,
    /// A pause was granted, and the source was not closed yet.
    is_pausing: bool,
    /// Pauses that ended before the source was closed.
    not_kept: u32,
}

/// A figure as it was lately.
#[derive(Clone, Copy, Debug, Default)]
struct Usual(Option<f64>);

/// How long pages take, by their size: a part for each page and a part for each event, fitted to
/// the pages lately.
#[derive(Clone, Copy, Debug, Default)]
struct Pages {
    weight: f64,
    events: f64,
    seconds: f64,
    events_squared: f64,
    events_seconds: f64,
}

impl Pace {
    /// Notes what an effect took, without the waits that a limit on the speed imposed.
    pub fn note(&mut self, effect: &Effect, outcome: &Outcome, took: Duration, now: Duration) {
        match (effect, outcome) {
            (Effect::ReadSource { .. }, Outcome::SourcePage { head, .. }) => {
                self.page = took;
                self.note_head(*head, now);
            }
            (Effect::ReadSourceTail, Outcome::SourceTail { head, .. }) => {
                self.page = took;
                self.note_head(*head, now);
                self.pages.note(0, took);
            }
            (Effect::AppendTarget { .. }, Outcome::Appended) => self.page += took,
            (Effect::ReadBack { count, .. }, Outcome::ReadBack { .. }) => {
                self.pages.note(*count, self.page + took);
            }
            (Effect::CloseSource { .. }, Outcome::HeadMoved { head }) => {
                self.close.note(took.as_secs_f64());
                self.note_head(*head, now);
            }
            (Effect::CloseSource { .. }, Outcome::Closed(_)) => self.is_pausing = false,
            (Effect::ReadDocument, Outcome::Document(_))
            | (Effect::ClaimDocument, Outcome::Claimed { .. }) => {
                self.document.note(took.as_secs_f64());
            }
            (Effect::PauseSource, Outcome::SourcePaused { granted: true }) => {
                self.pause.note(took.as_secs_f64());
                self.note_pause_ended();
                self.is_pausing = true;
            }
            // A round that waits again is one whose pause is over.
            (Effect::Wait, _) => self.note_pause_ended(),
            _ => {}
        }
    }

    fn note_pause_ended(&mut self) {
        if std::mem::take(&mut self.is_pausing) {
            self.not_kept += 1;
        }
    }

    fn note_head(&mut self, head: Head, now: Duration) {
        let next = head.next().0;
        if let Some((then, before)) = self.head {
            let passed = now.saturating_sub(then);
            // Two looks close to each other say little of a rate.
            if passed < Duration::from_millis(10) {
                return;
            }
            self.written.note(next.saturating_sub(before) as f64 / passed.as_secs_f64());
        }
        self.head = Some((now, next));
    }

    pub fn figures(&self, page_events_max: usize, pause_max: Duration) -> Figures {
        let page = page_events_max as f64;
        let copied = self.pages.seconds_of(page).filter(|seconds| *seconds > 0.0);
        Figures {
            written_per_second: self.written.0.map(whole),
            copied_per_second: copied.map(|seconds| whole(page / seconds)),
            pause_gap_max: self.pause_gap_max(pause_max),
        }
    }

    /// How many events may be left when a pause of at most this length begins.
    fn pause_gap_max(&self, pause_max: Duration) -> Option<u64> {
        let fixed = self.pages.seconds_of(0.0)?;
        // Before the first close it is taken to cost what a page does beside its events.
        let close = self.close.0.unwrap_or(fixed);
        // Read and written once each. Before the first pause, an append that is waited for takes
        // about as long as a close, and telling others about as long again.
        let document = 2.0 * self.document.0.unwrap_or(close);
        let begins = self.pause.0.unwrap_or(2.0 * close);
        let halvings = self.not_kept.min(HALVINGS_MAX);
        let whole_time = pause_max.as_secs_f64() / f64::from(1_u32 << halvings);
        let left = whole_time - begins - fixed - close - document;
        if left < 0.0 {
            return Some(0);
        }
        let each = self.pages.seconds_of(1.0)? - fixed;
        let comes_meanwhile = self.written.0.unwrap_or(0.0) * begins;
        // Without a cost of each event, the bound of one page remains.
        let fits = if each > 0.0 { left / each } else { f64::MAX };
        Some(whole((fits - comes_meanwhile).max(0.0)))
    }
}

impl Usual {
    fn note(&mut self, newest: f64) {
        self.0 = Some(self.0.map_or(newest, |usual| usual + NEWEST * (newest - usual)));
    }
}

impl Pages {
    fn note(&mut self, events: u64, took: Duration) {
        let (events, seconds) = (events as f64, took.as_secs_f64());
        let sums = [
            (&mut self.weight, 1.0),
            (&mut self.events, events),
            (&mut self.seconds, seconds),
            (&mut self.events_squared, events * events),
            (&mut self.events_seconds, events * seconds),
        ];
        for (sum, newest) in sums {
            *sum = KEPT.mul_add(*sum, newest);
        }
    }

    /// What a page of so many events takes; none before the first page.
    fn seconds_of(&self, events: f64) -> Option<f64> {
        if self.weight == 0.0 {
            return None;
        }
        let (usual_events, usual_seconds) = (self.events / self.weight, self.seconds / self.weight);
        let spread = self.weight.mul_add(self.events_squared, -(self.events * self.events));
        let each = if spread > 1e-3 * self.events_squared {
            let together = self.weight.mul_add(self.events_seconds, -(self.events * self.seconds));
            // A page does not get cheaper by what it holds, and none costs less than nothing.
            (together / spread).clamp(0.0, usual_seconds / usual_events.max(1.0))
        } else {
            // All alike: taken as if each event had its share and pages cost nothing.
            usual_seconds / usual_events.max(1.0)
        };
        Some((usual_seconds + each * (events - usual_events)).max(0.0))
    }
}

fn whole(figure: f64) -> u64 {
    figure.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Version;
    use crate::migration::steps::Copied;

    const MS: Duration = Duration::from_millis(1);

    fn at() -> Copied {
        Copied::nothing(Version::FIRST)
    }

    /// Pages that take 1 ms and 10 us an event, closes that take 1 ms, and a source that takes
    /// `written` events in each 100 ms.
    fn measured(written: u64) -> Pace {
        let mut pace = Pace::default();
        for round in 0..20_u64 {
            let now = u32::try_from(round * 100).unwrap() * MS;
            let count = [1_000, 20][usize::from(round % 2 == 0)];
            let took = MS + Duration::from_micros(10 * count);
            let head = Head::before(Version(written * round));
            pace.pages.note(count, took);
            let close = Effect::CloseSource { head, checksum: None };
            pace.note(&close, &Outcome::HeadMoved { head }, MS, now);
        }
        pace
    }

    #[test]
    fn a_page_costs_something_and_each_event_in_it() {
        let pages = measured(0).pages;
        let of_many = pages.seconds_of(500.0).unwrap();
        assert!((of_many - 0.006).abs() < 1e-4, "{of_many}");
        let of_none = pages.seconds_of(0.0).unwrap();
        assert!((of_none - 0.001).abs() < 1e-4, "{of_none}");
    }

    #[test]
    fn what_fits_into_a_pause_follows_from_the_rates() {
        // 50 ms, less 2 to begin, 1 for the page, 1 for the close, 2 for the document: 44 ms.
        let quiet = measured(0).figures(1_000, 50 * MS);
        let fits = quiet.pause_gap_max.unwrap();
        assert!((4_300..4_500).contains(&fits), "{fits}");
        // A source that takes 100,000 events a second takes 200 more until it is held.
        let busy = measured(10_000).figures(1_000, 50 * MS);
        assert!(busy.pause_gap_max.unwrap().abs_diff(fits - 200) < 10, "{busy:?}");
        assert_eq!(busy.written_per_second, Some(100_000));
        assert!(busy.copied_per_second.unwrap().abs_diff(90_909) < 2_000, "{busy:?}");
        assert_eq!(measured(0).figures(1_000, 5 * MS).pause_gap_max, Some(0));
    }

    #[test]
    fn nothing_is_foreseen_before_anything_was_measured() {
        let figures = Pace::default().figures(1_000, 500 * MS);
        assert_eq!(figures, Figures::default());
        assert_eq!(figures.to_string(), "");
    }

    #[test]
    fn a_pause_that_was_not_kept_makes_the_next_one_shorter() {
        let mut pace = measured(0);
        let before = pace.figures(1_000, 100 * MS).pause_gap_max.unwrap();
        let paused = Outcome::SourcePaused { granted: true };
        pace.note(&Effect::PauseSource, &paused, 2 * MS, 3_000 * MS);
        pace.note(&Effect::Wait, &Outcome::Waited, 100 * MS, 3_200 * MS);
        let after = pace.figures(1_000, 100 * MS).pause_gap_max.unwrap();
        assert!(after < before - 4_500, "{before}, then {after}");
        // One that was kept changes nothing.
        pace.note(&Effect::PauseSource, &paused, 2 * MS, 4_000 * MS);
        pace.note(&Effect::ReadBack { at: at(), count: 0 }, &Outcome::Lost, MS, 4_001 * MS);
        let before = pace.not_kept;
        pace.is_pausing = false;
        pace.note(&Effect::Wait, &Outcome::Waited, MS, 4_002 * MS);
        assert_eq!(pace.not_kept, before);
    }
}
