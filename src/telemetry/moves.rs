//! The watch over appends to objects that move: how many were sent on from a closed source, and
//! how long each took. The proxy notes, a migration's progress shows; they meet here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use hdrhistogram::Histogram;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::metrics;
use crate::domain::ObjectKey;

/// The objects that move right now. Asking about one that does not move costs one atomic load
/// while nothing moves at all.
#[derive(Default)]
pub struct MoveWatch {
    watched: AtomicUsize,
    objects: RwLock<HashMap<ObjectKey, Arc<MoveStats>>>,
    /// Also those that met the close after the move had ended.
    redirected: Counter,
}

/// What writers of one moving object met in this process.
pub struct MoveStats {
    redirected: AtomicU64,
    appends_us: Mutex<Histogram<u32>>,
}

/// How long appends took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    pub count: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl MoveWatch {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            metrics::APPENDS_REDIRECTED,
            "Appends that met a closed stream and were done in its continuation",
            self.redirected.clone(),
        );
    }

    /// Notes an append that was done after it had met a CloseEvent.
    pub fn note_redirected(&self, stats: Option<&MoveStats>) {
        self.redirected.inc();
        if let Some(stats) = stats {
            stats.redirected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts to watch an object, or goes on with the watch that is there.
    pub fn begin(&self, object: &ObjectKey) -> Arc<MoveStats> {
        let mut objects = self.objects.write().expect("no holder panics");
        let stats = objects.entry(object.clone()).or_default();
        let stats = Arc::clone(stats);
        self.watched.store(objects.len(), Ordering::Release);
        stats
    }

    pub fn end(&self, object: &ObjectKey) {
        let mut objects = self.objects.write().expect("no holder panics");
        objects.remove(object);
        self.watched.store(objects.len(), Ordering::Release);
    }

    pub fn of(&self, object: &ObjectKey) -> Option<Arc<MoveStats>> {
        if self.watched.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.objects.read().expect("no holder panics").get(object).cloned()
    }
}

impl Default for MoveStats {
    fn default() -> Self {
        // One microsecond to one hour, two digits exact.
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 2);
        let appends_us = Mutex::new(histogram.expect("the bounds are in order"));
        Self { redirected: AtomicU64::new(0), appends_us }
    }
}

impl MoveStats {
    pub fn note_append(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.appends_us.lock().expect("no holder panics").saturating_record(micros.max(1));
    }

    pub fn redirected(&self) -> u64 {
        self.redirected.load(Ordering::Relaxed)
    }

    pub fn stall(&self) -> Stall {
        let histogram = self.appends_us.lock().expect("no holder panics");
        if histogram.is_empty() {
            return Stall::default();
        }
        Stall {
            count: histogram.len(),
            p50: Duration::from_micros(histogram.value_at_quantile(0.50)),
            p99: Duration::from_micros(histogram.value_at_quantile(0.99)),
            max: Duration::from_micros(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_watched_objects_are_noted() {
        let watch = MoveWatch::default();
        let object = ObjectKey::new("order", "1").unwrap();
        assert!(watch.of(&object).is_none());
        let stats = watch.begin(&object);
        watch.of(&object).unwrap().note_append(Duration::from_millis(3));
        watch.note_redirected(watch.of(&object).as_deref());
        assert_eq!((stats.stall().count, stats.redirected()), (1, 1));
        watch.end(&object);
        assert!(watch.of(&object).is_none());
        watch.note_redirected(watch.of(&object).as_deref());
        assert_eq!((stats.redirected(), watch.redirected.get()), (1, 2));
    }
}
