//! What `grpc.health.v1` says: the server as a whole, each service, and each store under
//! `store/<name>`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::domain::StoreName;

/// The services that are reported beside the server as a whole.
const SERVICES: [&str; 3] =
    ["", "streamgate.v1.EventStoreService", "streamgate.v1.MigrationService"];

/// Where the composition root tells what it saw.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// The names under which stores are reported, and whether each answered when it was asked.
    stores: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { reporter: HealthReporter::new(), stores: Arc::default() }
    }
}

impl Health {
    pub(crate) fn service(&self) -> HealthService {
        HealthService::from_health_reporter(self.reporter.clone())
    }

    /// Requests are taken, or no longer.
    pub async fn serving(&self, is_serving: bool) {
        for service in SERVICES {
            self.reporter.set_service_status(service, status(is_serving)).await;
        }
    }

    /// Says that nothing is served, and lets go of those who watch, who would otherwise keep the
    /// server from its end.
    pub async fn stop(&self) {
        self.serving(false).await;
        let mut reporter = self.reporter.clone();
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
        let stores = std::mem::take(&mut *self.stores());
        for store in stores.keys() {
            reporter.clear_service_status(store).await;
        }
    }

    pub async fn store(&self, name: &StoreName, answers: bool) {
        let service = service_of(name);
        self.stores().insert(service.clone(), answers);
        self.reporter.set_service_status(service, status(answers)).await;
    }

    /// Whether the store answered when it was last asked.
    pub(crate) fn store_answers(&self, name: &StoreName) -> bool {
        self.stores().get(&service_of(name)).copied().unwrap_or(false)
    }

    fn stores(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.stores.lock().expect("no holder panics")
    }
}

fn service_of(store: &StoreName) -> String {
    format!("store/{store}")
}

fn status(is_serving: bool) -> ServingStatus {
    if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}
