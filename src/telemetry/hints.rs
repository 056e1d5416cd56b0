//! What is measured of hints between proxies.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::metrics;

/// The hints of this process since it started. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct HintFigures {
    told: Family<Kind, Counter>,
    heard: Family<Kind, Counter>,
    untold: Counter,
    missed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl HintFigures {
    pub fn register(&self, registry: &mut Registry) {
        let about = "Hints that were told to other proxies";
        registry.register(metrics::HINTS_TOLD, about, self.told.clone());
        let about = "Hints that were heard from other proxies";
        registry.register(metrics::HINTS_HEARD, about, self.heard.clone());
        let about = "Hints that found no room, or nobody to tell them to";
        registry.register(metrics::HINTS_UNTOLD, about, self.untold.clone());
        let about = "Times at which hints of others may have been missed";
        registry.register(metrics::HINTS_MISSED, about, self.missed.clone());
    }

    pub fn note_told(&self, kind: &'static str) {
        self.told.get_or_create(&Kind { kind }).inc();
    }

    pub fn note_heard(&self, kind: &'static str) {
        self.heard.get_or_create(&Kind { kind }).inc();
    }

    pub fn note_untold(&self, hints: u64) {
        self.untold.inc_by(hints);
    }

    pub fn note_missed(&self) {
        self.missed.inc();
    }

    pub fn told(&self, kind: &'static str) -> u64 {
        self.told.get_or_create(&Kind { kind }).get()
    }

    pub fn heard(&self, kind: &'static str) -> u64 {
        self.heard.get_or_create(&Kind { kind }).get()
    }

    pub fn untold(&self) -> u64 {
        self.untold.get()
    }
}
