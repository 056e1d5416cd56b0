//! A lock that is measured: how long its service takes, and how often it is away.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Lease, Lock, LockError, Owner};
use crate::domain::ObjectKey;
use crate::runtime::Clock;
use crate::telemetry::metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    outcome: &'static str,
}

type Durations = Family<CallLabels, Histogram, fn() -> Histogram>;

/// Measures every call to a lock.
pub struct ObserveLock {
    inner: Arc<dyn Lock>,
    clock: Arc<dyn Clock>,
    durations: Durations,
}

impl ObserveLock {
    pub fn new(inner: Arc<dyn Lock>, clock: Arc<dyn Clock>, registry: &mut Registry) -> Self {
        let durations: Durations =
            Family::new_with_constructor(|| Histogram::new(metrics::SECONDS));
        registry.register(
            metrics::LOCK_CALL_DURATION_SECONDS,
            "Time of a call to the lock service",
            durations.clone(),
        );
        Self { inner, clock, durations }
    }

    async fn watch<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, LockError>>,
    ) -> Result<T, LockError> {
        let began = self.clock.monotonic();
        let answer = call.await;
        let outcome = answer.as_ref().map_or_else(|error| error.class().label(), |_| "ok");
        let took = self.clock.monotonic().saturating_sub(began);
        let durations = self.durations.get_or_create(&CallLabels { operation, outcome });
        durations.observe(took.as_secs_f64());
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Lock for ObserveLock {
    async fn acquire(
        &self,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Lease, LockError> {
        self.watch("acquire", self.inner.acquire(object, owner, ttl)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LockError> {
        self.watch("renew", self.inner.renew(lease, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        self.watch("release", self.inner.release(lease)).await
    }

    async fn holder(&self, object: &ObjectKey) -> Result<Option<Lease>, LockError> {
        self.watch("holder", self.inner.holder(object)).await
    }
}
