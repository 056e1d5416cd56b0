//! Following a migration to its end, across broken connections, with a live display.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::connection::{Connection, Patience, Retry};
use super::failure::Failure;
use super::output::{Output, note, stderr_is_terminal};
use super::present::{Migration, error_info, phase_word};
use super::session::Session;
use super::values::{count_text, duration_of, duration_text, object_text};
use super::verdict::{Effect, Origin, Verdict};
use crate::domain::ErrorClass;
use crate::grpc::v1;
use crate::grpc::v1::MigrationPhase as Phase;

/// Between two plain lines about one phase.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub(crate) const fn has_ended(phase: Phase) -> bool {
    match phase {
        Phase::Succeeded | Phase::Failed | Phase::Cancelled => true,
        Phase::Unspecified
        | Phase::Preparing
        | Phase::CatchingUp
        | Phase::Closing
        | Phase::Rerouting
        | Phase::Verifying => false,
    }
}

/// Who wants to hear of each change.
pub(crate) trait Observer {
    fn changed(&mut self, migration: &v1::Migration) -> Result<(), Failure>;
}

/// Follows until the migration has ended and returns its last state. A connection that breaks or
/// a server that stops is waited for: the migration goes on without anybody watching.
pub(crate) async fn follow(
    session: &Session,
    connection: &Connection,
    migration_id: &str,
    patience: Duration,
    observer: &mut dyn Observer,
) -> Result<v1::Migration, Failure> {
    let clock = &session.runtime.clock;
    let patience = Patience::long(session.timeout, patience);
    let mut retry = Retry::new(patience);
    let mut failing_since = clock.monotonic();
    loop {
        let request = v1::WatchMigrationRequest { migration_id: migration_id.to_owned() };
        let mut client = connection.migrations();
        let verdict = match client.watch_migration(request).await {
            Err(status) => Verdict::of(&status, Effect::Reads),
            Ok(response) => {
                let mut changes = response.into_inner();
                loop {
                    match changes.message().await {
                        Ok(Some(change)) => {
                            (retry, failing_since) = (Retry::new(patience), clock.monotonic());
                            let migration = change.migration.unwrap_or_default();
                            observer.changed(&migration)?;
                            if has_ended(migration.phase()) {
                                return Ok(migration);
                            }
                        }
                        Ok(None) => break ended_early(),
                        Err(status) => break Verdict::of(&status, Effect::Reads),
                    }
                }
            }
        };
        let spent = clock.monotonic().saturating_sub(failing_since);
        let wait = retry.wait_after(verdict, spent, &session.runtime)?;
        clock.sleep(wait).await;
    }
}

/// A server that stops may end its streams politely.
fn ended_early() -> Verdict {
    let mut verdict = Verdict::of(&tonic::Status::unavailable("the watch ended"), Effect::Reads);
    (verdict.origin, verdict.class) = (Origin::Broken, ErrorClass::Unavailable);
    verdict
}

/// One migration on stderr: a live bar on a terminal, plain lines elsewhere.
pub(crate) struct Display {
    bar: ProgressBar,
    is_terminal: bool,
    clock: std::sync::Arc<dyn crate::runtime::Clock>,
    last: Option<(Phase, bool, Duration)>,
}

impl Display {
    pub(crate) fn new(session: &Session) -> Self {
        let template = "{prefix} [{bar:24}] {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = ProgressBar::new(100).with_style(style.progress_chars("=> "));
        let clock = session.runtime.clock.clone();
        Self { bar, is_terminal: stderr_is_terminal(), clock, last: None }
    }

    fn line(&mut self, migration: &v1::Migration) {
        let (now, phase) = (self.clock.monotonic(), migration.phase());
        let is_due = self.last.is_none_or(|(last, paused, at)| {
            last != phase || paused != migration.paused || now >= at + LINE_EVERY
        });
        if is_due {
            self.last = Some((phase, migration.paused, now));
            note(&format!("{}: {}", object_text(migration.object.as_ref()), state_text(migration)));
        }
    }
}

impl Observer for Display {
    fn changed(&mut self, migration: &v1::Migration) -> Result<(), Failure> {
        if !self.is_terminal {
            self.line(migration);
            return Ok(());
        }
        let progress = migration.progress.unwrap_or_default();
        self.bar.set_prefix(object_text(migration.object.as_ref()));
        self.bar.set_position(progress.percent_complete.clamp(0.0, 100.0) as u64);
        self.bar.set_message(state_text(migration));
        if has_ended(migration.phase()) {
            self.bar.finish_and_clear();
        }
        Ok(())
    }
}

/// Each change as a line of JSON on stdout.
pub(crate) struct JsonLines(pub(crate) Output);

impl Observer for JsonLines {
    fn changed(&mut self, migration: &v1::Migration) -> Result<(), Failure> {
        self.0.json(&Migration::from(migration))?;
        self.0.flush()
    }
}

/// Nobody.
pub(crate) struct Silence;

impl Observer for Silence {
    fn changed(&mut self, _migration: &v1::Migration) -> Result<(), Failure> {
        Ok(())
    }
}

/// Phase, round, what is behind, rate, time left, stall.
pub(crate) fn state_text(migration: &v1::Migration) -> String {
    let progress = migration.progress.unwrap_or_default();
    let mut parts = vec![phase_word(migration.phase()).to_owned()];
    if migration.paused {
        parts.push("paused".into());
    }
    if progress.iteration > 0 {
        parts.push(format!("round {}", progress.iteration));
    }
    if !has_ended(migration.phase()) {
        parts.push(format!("{} behind", count_text(progress.events_behind)));
        parts.push(format!("{}/s", count_text(progress.events_per_second.max(0.0) as u64)));
    } else {
        parts.push(format!("{} copied", count_text(progress.events_copied)));
    }
    if let Some(left) = &progress.time_left {
        parts.push(format!("{} left", duration_text(duration_of(left))));
    }
    if let Some(stall) = progress.write_stall.and_then(|stall| stall.max) {
        parts.push(format!("longest append {}", duration_text(duration_of(&stall))));
    }
    parts.join(", ")
}

/// The end of a command that moved one object: an exit code that says how it went.
pub(crate) fn outcome(migration: &v1::Migration) -> Result<(), Failure> {
    if migration.phase() == Phase::Succeeded {
        return Ok(());
    }
    let why = migration.error.as_ref().map(|status| match error_info(status) {
        Some(info) => format!(": {}: {}", info.reason, status.message),
        None => format!(": {}", status.message),
    });
    Err(Failure::unsuccessful(format!(
        "Migration {} of {} is {}{}",
        migration.migration_id,
        object_text(migration.object.as_ref()),
        phase_word(migration.phase()),
        why.unwrap_or_default(),
    )))
}
