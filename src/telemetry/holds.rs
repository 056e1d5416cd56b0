//! What is measured of appends that a pause holds back.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics;

/// The appends that pauses held in this process since it started. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct HoldFigures {
    held: Counter,
    ended: Family<Ended, Counter>,
    refused: Counter,
    waiting: Gauge,
}

/// How the wait of a held append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It went on.
    Released,
    /// Its deadline passed.
    TimedOut,
    /// Its caller went away.
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

impl HoldEnd {
    const fn label(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl HoldFigures {
    pub fn register(&self, registry: &mut Registry) {
        let about = "Appends that a pause of their object held back";
        registry.register(metrics::APPENDS_HELD, about, self.held.clone());
        let about = "Held appends whose wait ended";
        registry.register(metrics::HELD_APPENDS_ENDED, about, self.ended.clone());
        let about = "Appends that were not held, because too many were";
        registry.register(metrics::HOLDS_REFUSED, about, self.refused.clone());
        let about = "Appends that are held back now";
        registry.register(metrics::APPENDS_WAITING, about, self.waiting.clone());
    }

    pub fn note_held(&self) {
        self.held.inc();
        self.waiting.inc();
    }

    pub fn note_ended(&self, end: HoldEnd) {
        self.waiting.dec();
        self.ended.get_or_create(&Ended { outcome: end.label() }).inc();
    }

    pub fn note_refused(&self) {
        self.refused.inc();
    }

    /// Appends that began to wait.
    pub fn held(&self) -> u64 {
        self.held.get()
    }

    /// Waits that ended so.
    pub fn ended(&self, end: HoldEnd) -> u64 {
        self.ended.get_or_create(&Ended { outcome: end.label() }).get()
    }

    pub fn refused(&self) -> u64 {
        self.refused.get()
    }
}
