//! The wrappers around a backend, in the one order that makes sense.

use std::sync::Arc;

use super::announce::AnnounceStore;
use super::limit::LimitStore;
use super::observe::ObserveStore;
use super::retry::RetryStore;
use super::timeout::TimeoutStore;
use super::{EventStore, StoreOptions, StoreWakeups};
use crate::runtime::Runtime;
use crate::telemetry::calls::StoreCalls;

/// A backend as the rest of the process calls it.
///
/// From the inside out:
///
/// 1. **timeout**, next to the backend: each try has its own time, and a write that passes it is
///    in doubt from then on.
/// 2. **retry** around it: it repeats what timed out or was refused for the moment, and knows
///    which tries are in doubt.
/// 3. **limit** around both: a call holds one place for all its tries, so a store in trouble is
///    asked less and not more. What is beyond the store's limits costs nobody a place.
/// 4. **observe** outside: what is measured holds the waits and the repetitions, as callers meet
///    them.
/// 5. **announce** outermost: followers are woken by what callers were answered.
pub fn stack(
    backend: Arc<dyn EventStore>,
    options: &StoreOptions,
    runtime: &Runtime,
    calls: Arc<StoreCalls>,
    wakeups: StoreWakeups,
) -> Arc<dyn EventStore> {
    let clock = || Arc::clone(&runtime.clock);
    let timed = TimeoutStore::new(backend, clock(), options.patience());
    let repeated = RetryStore::new(Arc::new(timed), runtime.clone(), options.patience());
    let limited = LimitStore::new(Arc::new(repeated), clock(), options);
    let observed = ObserveStore::new(Arc::new(limited), clock(), calls);
    Arc::new(AnnounceStore::new(Arc::new(observed), wakeups))
}
