//! What is measured of the calls to stores: how long, and how they ended.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics;
use crate::domain::{ErrorClass, StoreName};

/// Every call that a store or document store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Append,
    Read,
    Tail,
    Find,
    Close,
    Remove,
    GetDocument,
    PutDocument,
    ListDocuments,
    DeleteDocument,
}

impl Operation {
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Append,
        Self::Read,
        Self::Tail,
        Self::Find,
        Self::Close,
        Self::Remove,
        Self::GetDocument,
        Self::PutDocument,
        Self::ListDocuments,
        Self::DeleteDocument,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Append => "append",
            Self::Read => "read",
            Self::Tail => "tail",
            Self::Find => "find",
            Self::Close => "close",
            Self::Remove => "remove",
            Self::GetDocument => "get_document",
            Self::PutDocument => "put_document",
            Self::ListDocuments => "list_documents",
            Self::DeleteDocument => "delete_document",
        }
    }
}

/// How a call ended: none when its caller went away first.
type Ended = Option<Result<(), ErrorClass>>;

const fn outcome_label(ended: Ended) -> &'static str {
    match ended {
        Some(Ok(())) => "ok",
        Some(Err(class)) => class.label(),
        None => "cancelled",
    }
}

const fn outcome_index(ended: Ended) -> usize {
    match ended {
        Some(Ok(())) => 0,
        None => 1,
        Some(Err(class)) => 2 + class as usize,
    }
}

const OUTCOMES: usize = 2 + ErrorClass::ALL.len();
const SERIES: usize = Operation::ALL.len() * OUTCOMES;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    store: String,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabel {
    store: String,
}

type Durations = Family<CallLabels, Histogram, fn() -> Histogram>;

fn durations() -> Histogram {
    Histogram::new(metrics::SECONDS)
}

/// The calls to all stores, made once from a registry that is handed in.
pub struct CallMetrics {
    durations: Durations,
    in_flight: Family<StoreLabel, Gauge>,
}

impl CallMetrics {
    pub fn new(registry: &mut Registry) -> Self {
        let durations: Durations = Family::new_with_constructor(durations);
        registry.register(
            metrics::STORE_CALL_DURATION_SECONDS,
            "Time of a call to a store, with its waits and repetitions",
            durations.clone(),
        );
        let in_flight: Family<StoreLabel, Gauge> = Family::default();
        registry.register(
            metrics::STORE_CALLS_IN_FLIGHT,
            "Calls to a store that were begun and have not ended",
            in_flight.clone(),
        );
        Self { durations, in_flight }
    }

    /// The handles of one store.
    pub fn of(&self, store: &StoreName) -> Arc<StoreCalls> {
        let label = StoreLabel { store: store.to_string() };
        Arc::new(StoreCalls {
            store: store.clone(),
            durations: self.durations.clone(),
            used: [const { OnceLock::new() }; SERIES],
            in_flight: self.in_flight.get_or_create(&label).clone(),
        })
    }
}

/// The calls to one store.
pub struct StoreCalls {
    store: StoreName,
    durations: Durations,
    /// The series that were used before: a look at an index instead of one into a map.
    used: [OnceLock<Histogram>; SERIES],
    in_flight: Gauge,
}

impl StoreCalls {
    pub fn store(&self) -> &StoreName {
        &self.store
    }

    /// Measures a call by a clock until [`Running::ended`], or until it is dropped unended.
    pub fn begin<N: Fn() -> Duration>(&self, operation: Operation, now: N) -> Running<'_, N> {
        self.in_flight.inc();
        Running { calls: self, operation, begun: now(), now, ended: None }
    }

    fn observe(&self, operation: Operation, ended: Ended, took: Duration) {
        self.in_flight.dec();
        let series = &self.used[operation as usize * OUTCOMES + outcome_index(ended)];
        let series = series.get_or_init(|| {
            let labels = CallLabels {
                store: self.store.to_string(),
                operation: operation.label(),
                outcome: outcome_label(ended),
            };
            self.durations.get_or_create(&labels).clone()
        });
        series.observe(took.as_secs_f64());
    }
}

/// A call that runs.
pub struct Running<'a, N: Fn() -> Duration> {
    calls: &'a StoreCalls,
    operation: Operation,
    begun: Duration,
    now: N,
    ended: Ended,
}

impl<N: Fn() -> Duration> Running<'_, N> {
    pub fn ended(mut self, outcome: Result<(), ErrorClass>) {
        self.ended = Some(outcome);
    }
}

impl<N: Fn() -> Duration> Drop for Running<'_, N> {
    fn drop(&mut self) {
        let took = (self.now)().saturating_sub(self.begun);
        self.calls.observe(self.operation, self.ended, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn every_operation_and_outcome_has_a_series_of_its_own() {
        let mut registry = Registry::default();
        let calls = CallMetrics::new(&mut registry).of(&StoreName::new("hot").unwrap());
        let errors = ErrorClass::ALL.map(|class| Some(Err(class)));
        for ended in [Some(Ok(())), None].into_iter().chain(errors) {
            for operation in Operation::ALL {
                let running = calls.begin(operation, || Duration::ZERO);
                match ended {
                    Some(outcome) => running.ended(outcome),
                    None => drop(running),
                }
            }
        }
        let text = text_of(&registry);
        let ones = text.lines().filter(|line| line.contains("_count{") && line.ends_with(" 1"));
        assert_eq!(ones.count(), SERIES);
    }

    #[test]
    fn what_runs_is_in_flight_and_its_time_is_that_of_the_clock() {
        let mut registry = Registry::default();
        let calls = CallMetrics::new(&mut registry).of(&StoreName::new("hot").unwrap());
        let time = std::cell::Cell::new(Duration::from_secs(3));
        let running = calls.begin(Operation::Append, || time.get());
        assert!(text_of(&registry).contains("store_calls_in_flight{store=\"hot\"} 1"));
        time.set(Duration::from_secs(5));
        running.ended(Err(ErrorClass::Conflict));
        let text = text_of(&registry);
        assert!(text.contains("store_calls_in_flight{store=\"hot\"} 0"));
        let labels = "{store=\"hot\",operation=\"append\",outcome=\"conflict\"}";
        assert!(text.contains(&format!("store_call_duration_seconds_sum{labels} 2.0")), "{text}");
    }
}
