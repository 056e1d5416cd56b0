//! The wrappers around a backend's documents, in the one order that makes sense.

use std::sync::Arc;

use super::DocumentStore;
use super::observe::ObserveDocuments;
use super::retry::RetryDocuments;
use super::timeout::TimeoutDocuments;
use crate::runtime::{Patience, Runtime};
use crate::telemetry::calls::StoreCalls;

/// A document store as the rest of the process calls it: **timeout** next to the backend, so that
/// each try has its own time; **retry** around it; **observe** outside, so that what is measured
/// holds the repetitions. Documents are small and few, so nothing limits them but their callers.
pub fn stack(
    backend: Arc<dyn DocumentStore>,
    patience: Patience,
    runtime: &Runtime,
    calls: Arc<StoreCalls>,
) -> Arc<dyn DocumentStore> {
    let clock = || Arc::clone(&runtime.clock);
    let timed = TimeoutDocuments::new(backend, clock(), patience);
    let repeated = RetryDocuments::new(Arc::new(timed), runtime.clone(), patience);
    Arc::new(ObserveDocuments::new(Arc::new(repeated), clock(), calls))
}
