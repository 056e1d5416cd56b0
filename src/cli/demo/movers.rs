//! The operator: starts a migration for every object, spread over the time, and watches each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::TARGET;
use super::ledger::Ledger;
use crate::cli::connection::Connection;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::values::duration_of;
use crate::cli::verdict::{Effect, Verdict};
use crate::cli::watch::{has_ended, outcome};
use crate::grpc::v1;

/// Objects that move at once.
const AT_ONCE: usize = 8;
/// The part of the time in which migrations begin, after a first part without any.
const FIRST_AFTER: f64 = 0.05;
const LAST_AFTER: f64 = 0.85;

/// Whether a client has made an object yet.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the migrations themselves say.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) objects: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) appends_while_moving: u64,
    pub(super) longest_append: Duration,
}

pub(super) async fn move_all(
    session: &Session,
    server: &str,
    ledger: &Ledger,
    seconds: Duration,
) -> Result<Moved, Failure> {
    let connection = Connection::to(server, session)?;
    let clock = &session.runtime.clock;
    let began = clock.monotonic();
    let count = ledger.objects.len();
    let due = |index: usize| {
        let part = index as f64 / count as f64;
        began + seconds.mul_f64(FIRST_AFTER + part * (LAST_AFTER - FIRST_AFTER))
    };
    let mut moved = Moved::default();
    let mut running = FuturesUnordered::new();
    let mut next = 0;
    while next < count || !running.is_empty() {
        let may_begin = next < count && running.len() < AT_ONCE;
        let wait = match may_begin {
            true => due(next).saturating_sub(clock.monotonic()),
            false => Duration::MAX,
        };
        tokio::select! {
            biased;
            Some(ended) = running.next() => moved.add(ledger, ended),
            () = clock.sleep(wait), if may_begin => {
                running.push(move_one(session, &connection, ledger, next));
                next += 1;
            }
        }
    }
    Ok(moved)
}

/// None: it went wrong, which was counted.
async fn move_one(
    session: &Session,
    connection: &Connection,
    ledger: &Ledger,
    index: usize,
) -> Option<v1::Migration> {
    let object = &ledger.objects[index];
    while !object.was_written() {
        session.runtime.clock.sleep(LOOK_EVERY).await;
    }
    ledger.begin_moving(index);
    let ended = start_and_watch(session, connection, ledger, index).await;
    ledger.end_moving(index);
    ended
}

async fn start_and_watch(
    session: &Session,
    connection: &Connection,
    ledger: &Ledger,
    index: usize,
) -> Option<v1::Migration> {
    let object = &ledger.objects[index].object;
    let failed = |what: &str, status: &tonic::Status| {
        let verdict = Verdict::of(status, Effect::Writes);
        let id = &object.object_id;
        let text = format!("{what} order/{id}: {}: {}", verdict.reason, verdict.message);
        ledger.client_errors.add(text);
    };
    let request = v1::MigrateRequest {
        request_id: session.runtime.entropy.uuid().to_string(),
        object: Some(object.clone()),
        kind: v1::MigrationKind::Copy.into(),
        target_store: TARGET.to_owned(),
        ..Default::default()
    };
    let started = connection.migrations().migrate(request).await;
    let started = started.map_err(|status| failed("migrate", &status)).ok()?.into_inner();
    let migration_id = started.migration.unwrap_or_default().migration_id;
    let watch = v1::WatchMigrationRequest { migration_id };
    let changes = connection.migrations().watch_migration(watch).await;
    let mut changes = changes.map_err(|status| failed("watch", &status)).ok()?.into_inner();
    loop {
        match changes.message().await {
            Ok(Some(change)) => {
                let migration = change.migration.unwrap_or_default();
                if has_ended(migration.phase()) {
                    return Some(migration);
                }
            }
            Ok(None) => {
                ledger.faults.add(format!("order/{}: the watch ended early", object.object_id));
                return None;
            }
            Err(status) => {
                failed("watch", &status);
                return None;
            }
        }
    }
}

impl Moved {
    fn add(&mut self, ledger: &Ledger, ended: Option<v1::Migration>) {
        let Some(migration) = ended else { return };
        if let Err(failure) = outcome(&migration) {
            ledger.faults.add(failure.text());
            return;
        }
        let is_proven = migration.certificate.as_ref().is_some_and(|certificate| {
            !certificate.source_checksum.is_empty()
                && certificate.source_checksum == certificate.target_checksum
        });
        if !is_proven {
            let id = &migration.migration_id;
            ledger.faults.add(format!("migration {id} has no certificate of equal sides"));
        }
        let progress = migration.progress.unwrap_or_default();
        self.objects += 1;
        self.events += progress.events_copied;
        self.bytes += progress.bytes_copied;
        ledger.moved.fetch_add(1, Ordering::Relaxed);
        if let Some(stall) = progress.write_stall {
            self.appends_while_moving += stall.count;
            let longest = stall.max.map_or(Duration::ZERO, |max| duration_of(&max));
            self.longest_append = self.longest_append.max(longest);
        }
    }
}
