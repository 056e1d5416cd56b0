//! The migrations that run in this process, for those who look and those who order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use super::progress::MigrationView;
use crate::domain::MigrationId;

/// One running migration as it shows itself.
pub struct Live {
    view: watch::Sender<MigrationView>,
    nudged: AtomicBool,
    nudge: Notify,
}

impl Live {
    fn new(view: MigrationView) -> Self {
        Self {
            view: watch::Sender::new(view),
            nudged: AtomicBool::new(false),
            nudge: Notify::new(),
        }
    }

    pub fn show(&self, view: MigrationView) {
        self.view.send_replace(view);
    }

    pub fn view(&self) -> MigrationView {
        self.view.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<MigrationView> {
        self.view.subscribe()
    }

    /// Tells the runner that its record was changed.
    pub fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.nudge.notify_one();
    }

    /// Resolves once [`Self::nudge`] was called.
    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    pub fn take_nudge(&self) -> bool {
        self.nudged.swap(false, Ordering::AcqRel)
    }
}

/// Which migrations run here.
#[derive(Default)]
pub struct LiveMigrations {
    running: Mutex<HashMap<MigrationId, Arc<Live>>>,
}

impl LiveMigrations {
    /// A place for a migration that starts to run here; none if it runs here already.
    pub fn enter(&self, view: MigrationView) -> Option<Arc<Live>> {
        let mut running = self.running.lock().expect("no holder panics");
        let id = view.record.migration;
        if running.contains_key(&id) {
            return None;
        }
        let live = Arc::new(Live::new(view));
        running.insert(id, Arc::clone(&live));
        Some(live)
    }

    pub fn leave(&self, id: MigrationId) {
        self.running.lock().expect("no holder panics").remove(&id);
    }

    pub fn count(&self) -> usize {
        self.running.lock().expect("no holder panics").len()
    }

    pub fn get(&self, id: MigrationId) -> Option<Arc<Live>> {
        self.running.lock().expect("no holder panics").get(&id).cloned()
    }
}
