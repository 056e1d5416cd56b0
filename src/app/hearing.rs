//! Takes what other proxies tell to the parts of this one that want to know.

use std::sync::{Arc, OnceLock};

use crate::domain::StreamAddress;
use crate::lock::{Ears, Heard, Hint, Hints, Pauses};
use crate::migration::Migrations;
use crate::proxy::Proxy;
use crate::runtime::Runtime;
use crate::store::Stores;
use crate::store::wakeups::Elsewhere;

/// Whom hints concern in one proxy.
pub struct Hearing {
    pub proxy: Arc<Proxy>,
    pub migrations: Migrations,
    pub pauses: Arc<dyn Pauses>,
    pub stores: Stores,
    pub runtime: Runtime,
}

impl Hearing {
    /// Listens until shutdown begins. Nobody is held back after that: nobody would hear that the
    /// pause is over.
    pub async fn run(self, mut ears: Ears) {
        loop {
            tokio::select! {
                biased;
                () = self.runtime.shutdown.begun() => break,
                heard = ears.hear() => self.take(&heard),
            }
        }
        self.pauses.heard(&Heard::Missed);
    }

    /// Order: within what was told together, a changed route is known before its pause is over, so
    /// that appends go on at the new place.
    fn take(&self, heard: &Heard) {
        match heard {
            Heard::Hints(hints) => {
                for hint in &**hints {
                    self.take_hint(hint);
                }
            }
            Heard::Missed => self.stores.all_changed(),
        }
        self.pauses.heard(heard);
    }

    fn take_hint(&self, hint: &Hint) {
        match hint {
            Hint::RouteChanged { object, revision, document } => {
                self.proxy.route_changed(object, *revision, document.as_deref());
            }
            Hint::StreamChanged { stream } => self.stores.changed(stream),
            Hint::MigrationWanted { migration } => self.migrations.wanted(*migration),
            Hint::OrdersChanged { migration } => self.migrations.orders_changed(*migration),
            // The pauses hear of these themselves.
            Hint::Paused { .. } | Hint::Resumed { .. } => {}
        }
    }
}

/// Tells other proxies of changed streams, for stores that leave it to their callers.
#[derive(Default)]
pub struct ToldByHints(OnceLock<Arc<dyn Hints>>);

impl ToldByHints {
    pub fn through(hints: Arc<dyn Hints>) -> Self {
        Self(hints.into())
    }

    /// From now on; before, nothing is told. Stores open before it is known who can be told.
    pub fn begin(&self, hints: Arc<dyn Hints>) {
        // Whoever was told first is told on.
        let _ = self.0.set(hints);
    }
}

impl Elsewhere for ToldByHints {
    fn changed(&self, stream: StreamAddress) {
        if let Some(hints) = self.0.get() {
            hints.tell(Hint::StreamChanged { stream });
        }
    }
}
