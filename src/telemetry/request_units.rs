//! What the calls to stores cost that charge for each request.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::calls::Operation;
use super::metrics;
use crate::domain::StoreName;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    store: String,
    operation: &'static str,
}

type Units = Family<Labels, Counter<f64, AtomicU64>>;

/// The costs of all stores, made once from a registry that is handed in.
pub struct RequestUnitMetrics {
    units: Units,
    throttled: Family<Labels, Counter>,
}

impl RequestUnitMetrics {
    pub fn new(registry: &mut Registry) -> Self {
        let units = Units::default();
        registry.register(
            metrics::STORE_REQUEST_UNITS,
            "Request units that a store charged",
            units.clone(),
        );
        let throttled: Family<Labels, Counter> = Family::default();
        registry.register(
            metrics::STORE_REQUESTS_THROTTLED,
            "Requests that a store refused because it was asked for too much",
            throttled.clone(),
        );
        Self { units, throttled }
    }

    /// The handles of one store.
    pub fn of(&self, store: &StoreName) -> Arc<RequestUnits> {
        Arc::new(RequestUnits {
            store: store.to_string(),
            units: self.units.clone(),
            throttled: self.throttled.clone(),
        })
    }
}

/// The costs of one store.
pub struct RequestUnits {
    store: String,
    units: Units,
    throttled: Family<Labels, Counter>,
}

impl RequestUnits {
    pub fn charged(&self, operation: Operation, units: f64) {
        // A counter that is handed nonsense must not go back.
        if units.is_finite() && units > 0.0 {
            self.units.get_or_create(&self.labels(operation)).inc_by(units);
        }
    }

    pub fn throttled(&self, operation: Operation) {
        self.throttled.get_or_create(&self.labels(operation)).inc();
    }

    fn labels(&self, operation: Operation) -> Labels {
        Labels { store: self.store.clone(), operation: operation.label() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_by_store_and_operation() {
        let mut registry = Registry::default();
        let metrics = RequestUnitMetrics::new(&mut registry);
        let units = metrics.of(&StoreName::new("hot").unwrap());
        for charge in [1.5, 2.25, f64::NAN, -1.0] {
            units.charged(Operation::Append, charge);
        }
        units.throttled(Operation::Read);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let series = [
            "store_request_units_total{store=\"hot\",operation=\"append\"} 3.75",
            "store_requests_throttled_total{store=\"hot\",operation=\"read\"} 1",
        ];
        for line in series {
            assert!(text.contains(line), "{text}");
        }
    }
}
