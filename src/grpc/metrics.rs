//! What the server measures of its requests.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::method::Method;
use crate::domain::{ErrorClass, Timestamp};
use crate::telemetry::metrics;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error(ErrorClass),
    /// The client went away, or its deadline passed here.
    Cancelled,
}

impl Outcome {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error(class) => class.label(),
            Self::Cancelled => "cancelled",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Cancelled => 1,
            Self::Error(class) => 2 + class as usize,
        }
    }
}

const OUTCOMES: usize = 2 + ErrorClass::ALL.len();
const SERIES: usize = Method::ALL.len() * OUTCOMES;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    outcome: &'static str,
}

/// Handles made once from a registry that is handed in.
pub struct RpcMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    /// The series that were used before: a look at an index instead of one into a map.
    used: [OnceLock<Histogram>; SERIES],
    in_flight: Gauge,
    open_streams: Gauge,
    session_requests: Family<SessionLabels, Counter>,
    connections: ConnectionMetrics,
}

/// What is measured of connections.
#[derive(Clone, Default)]
pub(crate) struct ConnectionMetrics {
    open: Gauge,
    refused: Counter,
}

impl ConnectionMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(metrics::CONNECTIONS, "Connections that are open", self.open.clone());
        registry.register(
            metrics::CONNECTIONS_REFUSED,
            "Connections that were closed because there were too many",
            self.refused.clone(),
        );
    }

    pub(crate) fn opened(&self) {
        self.open.inc();
    }

    pub(crate) fn closed(&self) {
        self.open.dec();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TlsLabels {
    outcome: &'static str,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Ok,
    /// The two sides do not agree: about certificates, most often.
    Failed,
    TimedOut,
}

/// What became of files that had changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    Taken,
    /// They cannot be used, and the old ones stay in force.
    Refused,
}

/// What is measured of TLS; nothing where there is none.
pub(crate) struct TlsMetrics {
    handshakes: Family<TlsLabels, Counter>,
    reloads: Family<TlsLabels, Counter>,
    expires: Gauge,
}

impl TlsMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let (handshakes, reloads, expires) =
            (Family::default(), Family::default(), Gauge::default());
        registry.register(
            metrics::TLS_HANDSHAKES,
            "Handshakes that ended",
            Family::clone(&handshakes),
        );
        registry.register(
            metrics::TLS_RELOADS,
            "Changes of the files of certificate and key that were noticed",
            Family::clone(&reloads),
        );
        registry.register(
            metrics::TLS_CERTIFICATE_EXPIRES_SECONDS,
            "When the certificate in force expires, in seconds since 1970",
            Gauge::clone(&expires),
        );
        Self { handshakes, reloads, expires }
    }

    pub(crate) fn handshake(&self, ended: Handshake) {
        let outcome = match ended {
            Handshake::Ok => "ok",
            Handshake::Failed => "failed",
            Handshake::TimedOut => "timed_out",
        };
        self.handshakes.get_or_create(&TlsLabels { outcome }).inc();
    }

    pub(crate) fn reloaded(&self, reload: Reload) {
        let outcome = match reload {
            Reload::Taken => "taken",
            Reload::Refused => "refused",
        };
        self.reloads.get_or_create(&TlsLabels { outcome }).inc();
    }

    pub(crate) fn certificate_expires(&self, at: Timestamp) {
        let (seconds, _) = at.parts();
        self.expires.set(seconds);
    }
}

fn durations() -> Histogram {
    Histogram::new(metrics::SECONDS)
}

impl RpcMetrics {
    pub fn new(registry: &mut Registry) -> Self {
        let durations: Family<Labels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(durations);
        registry.register(
            metrics::RPC_DURATION_SECONDS,
            "Time from the first byte of a request to the end of its answer",
            durations.clone(),
        );
        let in_flight = Gauge::default();
        registry.register(
            metrics::RPCS_IN_FLIGHT,
            "Requests of one answer that were begun and have not ended",
            in_flight.clone(),
        );
        let open_streams = Gauge::default();
        registry.register(
            metrics::OPEN_STREAMS,
            "Reads, follows, watches and sessions that were begun and have not ended",
            open_streams.clone(),
        );
        let session_requests = Family::default();
        registry.register(
            metrics::SESSION_REQUESTS,
            "Requests that were answered within sessions",
            session_requests.clone(),
        );
        let connections = ConnectionMetrics::default();
        connections.register(registry);
        let used = [const { OnceLock::new() }; SERIES];
        Self { durations, used, in_flight, open_streams, session_requests, connections }
    }

    pub(crate) fn connections(&self) -> &ConnectionMetrics {
        &self.connections
    }

    pub(crate) fn session_request(&self, outcome: Outcome) {
        let labels = SessionLabels { outcome: outcome.label() };
        self.session_requests.get_or_create(&labels).inc();
    }

    fn gauge(&self, method: Method) -> &Gauge {
        if method.streams() { &self.open_streams } else { &self.in_flight }
    }

    pub(crate) fn begun(&self, method: Method) {
        self.gauge(method).inc();
    }

    pub(crate) fn ended(&self, method: Method, outcome: Outcome, took: Duration) {
        self.gauge(method).dec();
        let series = &self.used[method as usize * OUTCOMES + outcome.index()];
        let series = series.get_or_init(|| {
            let labels = Labels { method: method.label(), outcome: outcome.label() };
            self.durations.get_or_create(&labels).clone()
        });
        series.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_and_outcome_has_a_series_of_its_own() {
        let mut registry = Registry::default();
        let rpcs = RpcMetrics::new(&mut registry);
        let errors = ErrorClass::ALL.map(Outcome::Error);
        for outcome in [Outcome::Ok, Outcome::Cancelled].into_iter().chain(errors) {
            for method in Method::ALL {
                rpcs.ended(method, outcome, Duration::from_millis(1));
            }
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let ones = text.lines().filter(|line| line.contains("_count{") && line.ends_with(" 1"));
        assert_eq!(ones.count(), SERIES);
    }
}
