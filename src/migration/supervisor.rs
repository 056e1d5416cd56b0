//! Finds unfinished migrations that nobody runs and goes on with them, without a person.

use std::time::Duration;

use super::journal::Shelf;
use super::service::Migrations;
use crate::telemetry::fields;

/// Records that one call looks at.
const PAGE: usize = 256;

impl Migrations {
    /// Looks at once and then again and again, at moments of its own choosing so that a fleet does
    /// not look all at once, until shutdown begins.
    pub async fn supervise(self) {
        let runtime = self.inner.runtime.clone();
        loop {
            self.scan().await;
            let interval = self.inner.settings.scan_interval;
            let spread = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
            let wait = interval / 2 + Duration::from_millis(runtime.entropy.below(spread.max(1)));
            tokio::select! {
                biased;
                () = runtime.shutdown.begun() => return,
                () = runtime.clock.sleep(wait) => {}
            }
        }
    }

    /// Launches every unfinished migration; one that runs elsewhere finds its lock held.
    pub async fn scan(&self) {
        let mut after = None;
        loop {
            let page = self.inner.journal.list(Shelf::Unfinished, after.as_ref(), PAGE).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!({ fields::ERROR } = %error, "migrations cannot be listed");
                    return;
                }
            };
            for listed in page.records {
                let id = listed.record.migration;
                if self.inner.live.get(id).is_some() {
                    continue;
                }
                // A finished record rules: the process that wrote it died before it cleared this
                // one, or this is a creation that was on its way for so long that it landed after
                // the end. It may even be another request under the same id, which must not run.
                match self.inner.journal.get(id).await {
                    Ok(Some(stored)) if !stored.finished && !stored.record.is_final() => {
                        self.launch(stored);
                    }
                    Ok(Some(_)) => drop(self.inner.journal.clear(id).await),
                    // What cannot be looked at now is found again by the next scan.
                    Ok(None) | Err(_) => {}
                }
            }
            after = page.next;
            if after.is_none() {
                return;
            }
        }
    }
}
