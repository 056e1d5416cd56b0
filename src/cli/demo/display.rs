//! How the demo stands: a live line on a terminal, a plain one from time to time elsewhere.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::ledger::Ledger;
use crate::cli::output::{note, stderr_is_terminal};
use crate::cli::session::Session;
use crate::cli::values::{count_text, duration_text};
use crate::runtime::Clock;

const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The rate is that of the last few looks.
const LOOKS: usize = 10;

pub(super) struct Display {
    bar: ProgressBar,
    is_terminal: bool,
    clock: Arc<dyn Clock>,
    ledger: Arc<Ledger>,
    began: Duration,
    looks: Vec<(Duration, u64)>,
}

impl Display {
    pub(super) fn new(session: &Session, ledger: &Arc<Ledger>) -> Self {
        let style = ProgressStyle::with_template("[{bar:24}] {msg}")
            .expect("the template is well formed")
            .progress_chars("=> ");
        let clock = session.runtime.clock.clone();
        let began = clock.monotonic();
        Self {
            bar: ProgressBar::new(ledger.objects.len() as u64).with_style(style),
            is_terminal: stderr_is_terminal(),
            clock,
            ledger: Arc::clone(ledger),
            began,
            looks: vec![(began, 0)],
        }
    }

    /// Shows how it stands until `work` is done.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let every = if self.is_terminal { REDRAW } else { LINE_EVERY };
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.show();
                    self.bar.finish_and_clear();
                    return done;
                }
                () = self.clock.sleep(every) => self.show(),
            }
        }
    }

    fn show(&mut self) {
        let text = self.text();
        if self.is_terminal {
            self.bar.set_position(self.ledger.moved.load(Ordering::Relaxed));
            self.bar.set_message(text);
        } else {
            note(&text);
        }
    }

    fn text(&mut self) -> String {
        let ledger = &self.ledger;
        let now = self.clock.monotonic();
        let events = ledger.events.load(Ordering::Relaxed);
        self.looks.push((now, events));
        if self.looks.len() > LOOKS {
            self.looks.remove(0);
        }
        let (since, before) = self.looks[0];
        let seconds = now.saturating_sub(since).as_secs_f64().max(0.001);
        let longest = Duration::from_micros(ledger.longest_append_us.load(Ordering::Relaxed));
        format!(
            "{}: {} events ({}/s), {} of {} objects moved, {} appends redirected, longest append \
             {}, client errors {}",
            duration_text(now.saturating_sub(self.began)),
            count_text(events),
            count_text(((events - before) as f64 / seconds) as u64),
            ledger.moved.load(Ordering::Relaxed),
            ledger.objects.len(),
            count_text(ledger.redirected.load(Ordering::Relaxed)),
            duration_text(longest),
            ledger.client_errors.count(),
        )
    }
}
