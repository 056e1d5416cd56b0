//! Finds unfinished migrations that nobody runs and goes on with them, without a person.
//!
//! Each proxy of a fleet does. They share the work without knowing each other: a scan begins at a
//! random place, goes on at random moments, and takes the more time for what it picks up the more
//! runs here already, so that those with less to do take more.

use std::ops::ControlFlow;
use std::time::Duration;

use super::journal::{Shelf, StoredRecord};
use super::service::Migrations;
use crate::documents::DocumentKey;
use crate::domain::MigrationId;
use crate::lock::LockError;
use crate::telemetry::fields;

/// The longest that a process waits before it goes on with what another left, so that a fleet does
/// not reach for one lock all at once.
const WANTED_SPREAD_MS: u64 = 50;

/// Records that one call looks at.
const PAGE: usize = 256;

/// What a scan has picked up since it waited.
#[derive(Default)]
struct PickedUp(usize);

impl Migrations {
    /// Looks at once and then again and again, at moments of its own choosing so that a fleet does
    /// not look all at once, until shutdown begins.
    pub async fn supervise(self) {
        let runtime = self.inner.runtime.clone();
        loop {
            self.scan().await;
            let wait = self.time_to_next_scan();
            tokio::select! {
                biased;
                () = runtime.shutdown.begun() => return,
                () = runtime.clock.sleep(wait) => {}
            }
        }
    }

    /// At most one lease: what a process left that died just after it had renewed is found within
    /// two.
    fn time_to_next_scan(&self) -> Duration {
        let settings = &self.inner.settings;
        self.about(settings.scan_interval.min(settings.lease_ttl * 2 / 3))
    }

    /// A length of time between a half and one and a half times this one.
    fn about(&self, length: Duration) -> Duration {
        let spread = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        length / 2 + Duration::from_micros(self.inner.runtime.entropy.below(spread.max(1)))
    }

    /// Launches every unfinished migration that nobody runs.
    pub async fn scan(&self) {
        let start = MigrationId(self.inner.runtime.entropy.uuid());
        let start = DocumentKey::migration_unfinished(start);
        let mut picked_up = PickedUp::default();
        if self.scan_between(Some(&start), None, &mut picked_up).await.is_continue() {
            let _ = self.scan_between(None, Some(&start), &mut picked_up).await;
        }
    }

    /// Those whose key lies after `after`, up to and with `last`.
    async fn scan_between(
        &self,
        after: Option<&DocumentKey>,
        last: Option<&DocumentKey>,
        picked_up: &mut PickedUp,
    ) -> ControlFlow<()> {
        let mut after = after.cloned();
        loop {
            let page = self.inner.journal.list(Shelf::Unfinished, after.as_ref(), PAGE).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!({ fields::ERROR } = %error, "migrations cannot be listed");
                    return ControlFlow::Break(());
                }
            };
            for listed in page.records {
                let key = DocumentKey::migration_unfinished(listed.record.migration);
                if last.is_some_and(|last| key > *last) {
                    return ControlFlow::Continue(());
                }
                if !self.runs_or_is_left(listed.record.migration) {
                    self.look_at(&listed, picked_up).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Whether it runs here, or others shall have their turn first.
    fn runs_or_is_left(&self, id: MigrationId) -> bool {
        let now = self.inner.runtime.clock.monotonic();
        self.inner.live.get(id).is_some() || self.inner.left.is_left(id, now)
    }

    /// Launches one that does not run here, unless it runs elsewhere.
    async fn look_at(&self, listed: &StoredRecord, picked_up: &mut PickedUp) -> ControlFlow<()> {
        match self.inner.lock.holder(&listed.record.object).await {
            Ok(Some(lease)) if lease.owner != self.inner.owner => return ControlFlow::Continue(()),
            Ok(_) | Err(LockError::Held { .. } | LockError::Lost) => {}
            // Nothing can run; the next scan looks again.
            Err(error @ LockError::Unavailable { .. }) => {
                tracing::debug!({ fields::ERROR } = %error, "migrations wait for the lock");
                return ControlFlow::Break(());
            }
        }
        let id = listed.record.migration;
        // A finished record rules: the process that wrote it died before it cleared this one, or
        // this is a creation that was on its way for so long that it landed after the end. It may
        // even be another request under the same id, which must not run.
        match self.inner.journal.get(id).await {
            Ok(Some(stored)) if !stored.finished && !stored.record.is_final() => {
                self.launch(stored);
                picked_up.0 += 1;
                self.give_others_time(picked_up).await
            }
            Ok(Some(_)) => {
                drop(self.inner.journal.clear(id).await);
                ControlFlow::Continue(())
            }
            // What cannot be looked at now is found again by the next scan.
            Ok(None) | Err(_) => ControlFlow::Continue(()),
        }
    }

    /// Between two batches, waits the longer the more runs here.
    async fn give_others_time(&self, picked_up: &mut PickedUp) -> ControlFlow<()> {
        let settings = &self.inner.settings;
        if picked_up.0 < settings.pick_up_batch {
            return ControlFlow::Continue(());
        }
        picked_up.0 = 0;
        let batches = self.inner.live.count().div_ceil(settings.pick_up_batch);
        let wait = settings.pick_up_wait * u32::try_from(batches).unwrap_or(u32::MAX);
        let runtime = &self.inner.runtime;
        tokio::select! {
            biased;
            () = runtime.shutdown.begun() => ControlFlow::Break(()),
            () = runtime.clock.sleep(self.about(wait)) => ControlFlow::Continue(()),
        }
    }
    /// Another process left this migration: goes on with it here, if nobody else is faster.
    pub fn wanted(&self, id: MigrationId) {
        if self.runs_or_is_left(id) {
            return;
        }
        let (migrations, runtime) = (self.clone(), self.inner.runtime.clone());
        self.inner.runtime.shutdown.spawn(async move {
            let wait = Duration::from_millis(runtime.entropy.below(WANTED_SPREAD_MS));
            tokio::select! {
                biased;
                () = runtime.shutdown.begun() => return,
                () = runtime.clock.sleep(wait) => {}
            }
            // What cannot be looked at now is found by the next scan.
            if let Ok(Some(stored)) = migrations.inner.journal.get(id).await
                && !stored.finished
                && !stored.record.is_final()
            {
                migrations.launch(stored);
            }
        });
    }
}
