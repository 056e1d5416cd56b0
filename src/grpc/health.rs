//! What `grpc.health.v1` says: the server as a whole, each service, and each store under
//! `store/<name>`.

use std::collections::BTreeSet;
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
    /// The names under which stores are reported.
    stores: Arc<Mutex<BTreeSet<String>>>,
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
        for store in stores {
            reporter.clear_service_status(&store).await;
        }
    }

    pub async fn store(&self, name: &StoreName, answers: bool) {
        let service = format!("store/{name}");
        self.stores().insert(service.clone());
        self.reporter.set_service_status(service, status(answers)).await;
    }

    fn stores(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.stores.lock().expect("no holder panics")
    }
}

fn status(is_serving: bool) -> ServingStatus {
    if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}
