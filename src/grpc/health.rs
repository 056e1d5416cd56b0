//! What `grpc.health.v1` says: the server as a whole, each service, and each store under
//! `store/<name>`.

use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::domain::StoreName;

/// The services that are reported beside the server as a whole.
const SERVICES: [&str; 3] =
    ["", "streamgate.v1.EventStoreService", "streamgate.v1.MigrationService"];

/// Where the composition root tells what it saw.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Default for Health {
    fn default() -> Self {
        Self(HealthReporter::new())
    }
}

impl Health {
    pub(crate) fn service(&self) -> HealthService {
        HealthService::from_health_reporter(self.0.clone())
    }

    /// Requests are taken, or no longer.
    pub async fn serving(&self, is_serving: bool) {
        for service in SERVICES {
            self.0.set_service_status(service, status(is_serving)).await;
        }
    }

    pub async fn store(&self, name: &StoreName, answers: bool) {
        self.0.set_service_status(format!("store/{name}"), status(answers)).await;
    }
}

fn status(is_serving: bool) -> ServingStatus {
    if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}
