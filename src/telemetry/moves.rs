//! The watch over appends to objects that move: how many were sent on from a closed source, and
//! how long each took. The proxy notes, a migration's progress shows; they meet here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics;
use crate::domain::ObjectKey;

/// The objects that move right now. Asking about one that does not move costs one atomic load
/// while nothing moves at all.
#[derive(Default)]
pub struct MoveWatch {
    watched: AtomicUsize,
    objects: RwLock<HashMap<ObjectKey, Arc<MoveStats>>>,
    figures: Figures,
}

/// The figures of all moves of this process since it started.
struct Figures {
    running: Gauge,
    ended: Family<Ended, Counter>,
    stepped_aside: Family<SteppedAside, Counter>,
    pauses: Family<Asked, Counter>,
    events_copied: Counter,
    bytes_copied: Counter,
    /// Also those that met the close after the move had ended.
    redirected: Counter,
    appends: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SteppedAside {
    loss: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    outcome: &'static str,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            running: Gauge::default(),
            ended: Family::default(),
            stepped_aside: Family::default(),
            pauses: Family::default(),
            events_copied: Counter::default(),
            bytes_copied: Counter::default(),
            redirected: Counter::default(),
            appends: Histogram::new(metrics::SECONDS),
        }
    }
}

/// What writers of one moving object met in this process.
pub struct MoveStats {
    redirected: AtomicU64,
    appends_us: Mutex<hdrhistogram::Histogram<u32>>,
    /// Those of all moving objects together.
    appends: Histogram,
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
        let Figures {
            running,
            ended,
            stepped_aside,
            pauses,
            events_copied,
            bytes_copied,
            redirected,
            appends,
        } = &self.figures;
        let about = "Migrations that run in this process";
        registry.register(metrics::MIGRATIONS_RUNNING, about, running.clone());
        let about = "Migrations that ended in this process";
        registry.register(metrics::MIGRATIONS_ENDED, about, ended.clone());
        let about = "Migrations that this process let go because their lease was lost";
        registry.register(metrics::MIGRATIONS_STEPPED_ASIDE, about, stepped_aside.clone());
        let about = "Pauses of an object's appends that migrations in this process asked for";
        registry.register(metrics::SOURCE_PAUSES, about, pauses.clone());
        let about = "Events that were copied to targets";
        registry.register(metrics::MIGRATION_EVENTS_COPIED, about, events_copied.clone());
        let about = "Bytes of the events that were copied to targets";
        registry.register(metrics::MIGRATION_BYTES_COPIED, about, bytes_copied.clone());
        let about = "Appends that met a closed stream and were done in its continuation";
        registry.register(metrics::APPENDS_REDIRECTED, about, redirected.clone());
        let about = "Time of appends to objects while they moved";
        registry.register(metrics::MOVING_APPEND_DURATION_SECONDS, about, appends.clone());
    }

    /// Notes events that a target took.
    pub fn note_copied(&self, events: u64, bytes: u64) {
        self.figures.events_copied.inc_by(events);
        self.figures.bytes_copied.inc_by(bytes);
    }

    /// Notes a migration that ended, by the word of its last phase.
    pub fn note_ended(&self, phase: &'static str) {
        self.figures.ended.get_or_create(&Ended { phase }).inc();
    }

    /// Notes a migration that was let go, by why its lease was lost.
    pub fn note_stepped_aside(&self, loss: &'static str) {
        self.figures.stepped_aside.get_or_create(&SteppedAside { loss }).inc();
    }

    /// Notes a pause of an object's appends that a migration asked for.
    pub fn note_pause(&self, granted: bool) {
        let outcome = if granted { "granted" } else { "unavailable" };
        self.figures.pauses.get_or_create(&Asked { outcome }).inc();
    }

    /// Notes an append that was done after it had met a CloseEvent.
    pub fn note_redirected(&self, stats: Option<&MoveStats>) {
        self.figures.redirected.inc();
        if let Some(stats) = stats {
            stats.redirected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts to watch an object, or goes on with the watch that is there.
    pub fn begin(&self, object: &ObjectKey) -> Arc<MoveStats> {
        let mut objects = self.objects.write().expect("no holder panics");
        let stats = objects
            .entry(object.clone())
            .or_insert_with(|| Arc::new(MoveStats::new(self.figures.appends.clone())));
        let stats = Arc::clone(stats);
        self.note_watched(objects.len());
        stats
    }

    pub fn end(&self, object: &ObjectKey) {
        let mut objects = self.objects.write().expect("no holder panics");
        objects.remove(object);
        self.note_watched(objects.len());
    }

    fn note_watched(&self, objects: usize) {
        self.watched.store(objects, Ordering::Release);
        self.figures.running.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    pub fn of(&self, object: &ObjectKey) -> Option<Arc<MoveStats>> {
        if self.watched.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.objects.read().expect("no holder panics").get(object).cloned()
    }
}

impl MoveStats {
    fn new(appends: Histogram) -> Self {
        // One microsecond to one hour, two digits exact.
        let histogram = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 2);
        let appends_us = Mutex::new(histogram.expect("the bounds are in order"));
        Self { redirected: AtomicU64::new(0), appends_us, appends }
    }

    pub fn note_append(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.appends_us.lock().expect("no holder panics").saturating_record(micros.max(1));
        self.appends.observe(took.as_secs_f64());
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
        assert_eq!((stats.redirected(), watch.figures.redirected.get()), (1, 2));
    }
}
