//! Whether the stores answer, told to health and to readiness.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Resources;
use crate::documents::DocumentKey;
use crate::domain::{ErrorClass, StoreName, StreamId};
use crate::grpc::Health;
use crate::runtime::{Deadline, Runtime};
use crate::store::EventStore;
use crate::telemetry::fields;
use crate::telemetry::http::Readiness;

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks every store for something that is not there.
pub(super) struct Probe {
    resources: Resources,
    health: Health,
    readiness: Readiness,
    runtime: Runtime,
    answered: BTreeMap<StoreName, bool>,
}

impl Probe {
    pub(super) fn new(
        resources: Resources,
        health: Health,
        readiness: Readiness,
        runtime: Runtime,
    ) -> Self {
        Self { resources, health, readiness, runtime, answered: BTreeMap::new() }
    }

    pub(super) async fn watch(mut self, interval: Duration) {
        let shutdown = self.runtime.shutdown.clone();
        let clock = std::sync::Arc::clone(&self.runtime.clock);
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => return,
                () = async { clock.sleep(interval).await; self.look().await } => {}
            }
        }
    }

    pub(super) async fn look(&mut self) {
        let stores = self.resources.stores.clone();
        for (name, store) in stores.iter() {
            let answers = self.within_patience(answers(&**store)).await;
            self.note(name, answers).await;
        }
        let documents = std::sync::Arc::clone(&self.resources.documents);
        let key = DocumentKey::deployment();
        let is_ready = self.within_patience(async { documents.get(&key).await.is_ok() }).await;
        self.readiness.set(is_ready);
    }

    async fn within_patience(&self, question: impl Future<Output = bool>) -> bool {
        let clock = &*self.runtime.clock;
        Deadline::after(clock, PATIENCE).bound(clock, question).await.unwrap_or(false)
    }

    async fn note(&mut self, name: &StoreName, answers: bool) {
        let before = self.answered.insert(name.clone(), answers);
        if before == Some(answers) {
            return;
        }
        self.health.store(name, answers).await;
        match answers {
            true if before.is_some() => {
                tracing::info!({ fields::STORE_NAME } = %name, "store answers again");
            }
            true => {}
            false => tracing::warn!({ fields::STORE_NAME } = %name, "store does not answer"),
        }
    }
}

/// A store that says that it has no such stream is well.
async fn answers(store: &dyn EventStore) -> bool {
    let nothing = StreamId::new("streamgate/nothing").expect("the id is well formed");
    match store.tail(&nothing).await {
        Ok(_) => true,
        Err(error) => error.class() == ErrorClass::NotFound,
    }
}
