//! The bounds of the server, and who may call it from a browser.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::web::origin_fault;
use crate::domain::InvalidValue;
use crate::runtime::duration_text;

/// How the server treats its clients and their connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcOptions {
    /// Requests at once; more are answered `TOO_MANY_IN_FLIGHT`. Open streams do not count here.
    pub in_flight_max: usize,
    /// Bytes of the messages of requests at once, and as many of answers that clients have not
    /// taken yet.
    pub in_flight_bytes_max: usize,
    /// Of those bytes, what one connection may hold.
    pub in_flight_bytes_per_connection_max: usize,
    /// Streams that are open at once: reads, followers, watches, sessions.
    pub open_streams_max: usize,
    /// Of those, what one connection may hold.
    pub open_streams_per_connection_max: usize,
    /// Requests and open streams at once on one connection; more wait at the client.
    pub streams_per_connection_max: u32,
    /// Connections at once; more are closed as soon as they come.
    pub connections_max: usize,
    /// The age at which a connection is told to end, give or take a tenth, so that clients spread
    /// anew over the proxies. Zero: never.
    #[serde(with = "duration_text")]
    pub max_connection_age: Duration,
    /// How long what is in flight then may take; streams are ended after that.
    #[serde(with = "duration_text")]
    pub max_connection_age_grace: Duration,
    /// How often a silent connection is asked whether it is still there.
    #[serde(with = "duration_text")]
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    #[serde(with = "duration_text")]
    pub keepalive_timeout: Duration,
    /// The origins of the pages that may call from a browser; `*`: all.
    pub cors_allowed_origins: Vec<String>,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            in_flight_max: 4_096,
            in_flight_bytes_max: 256 * 1024 * 1024,
            in_flight_bytes_per_connection_max: 64 * 1024 * 1024,
            open_streams_max: 16_384,
            open_streams_per_connection_max: 1_536,
            streams_per_connection_max: 2_048,
            connections_max: 10_000,
            max_connection_age: Duration::from_secs(30 * 60),
            max_connection_age_grace: Duration::from_secs(5 * 60),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            cors_allowed_origins: Vec::new(),
        }
    }
}

impl GrpcOptions {
    /// Refuses what could never work.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("in_flight_max", self.in_flight_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("in_flight_bytes_per_connection_max", self.in_flight_bytes_per_connection_max),
            ("open_streams_max", self.open_streams_max),
            ("open_streams_per_connection_max", self.open_streams_per_connection_max),
            ("streams_per_connection_max", self.streams_per_connection_max as usize),
            ("connections_max", self.connections_max),
        ] {
            if value == 0 {
                faults.push(InvalidValue::new(field, "must be at least 1"));
            }
        }
        // Otherwise streams could fill a connection, and its requests would wait for ever.
        if self.open_streams_per_connection_max >= self.streams_per_connection_max as usize {
            let problem = "must be less than streams_per_connection_max";
            faults.push(InvalidValue::new("open_streams_per_connection_max", problem));
        }
        for (field, value) in [
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ] {
            if value < Duration::from_secs(1) {
                faults.push(InvalidValue::new(field, "must be at least 1s"));
            }
        }
        if (1..1_000).contains(&self.max_connection_age.as_millis()) {
            let problem = "must be at least 1s, or 0s for no limit";
            faults.push(InvalidValue::new("max_connection_age", problem));
        }
        let origins = self.cors_allowed_origins.iter().enumerate();
        faults.extend(origins.filter_map(|(index, origin)| {
            let field = format!("cors_allowed_origins[{index}]");
            origin_fault(origin).map(|problem| InvalidValue::new(field, problem))
        }));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_work_is_refused_by_name() {
        let options = GrpcOptions {
            in_flight_bytes_max: 0,
            open_streams_per_connection_max: 2_048,
            max_connection_age: Duration::from_millis(1),
            keepalive_timeout: Duration::ZERO,
            cors_allowed_origins: vec!["*".into(), "app.example.com".into()],
            ..GrpcOptions::default()
        };
        let fields: Vec<String> = options.check().into_iter().map(|fault| fault.field).collect();
        assert_eq!(
            fields,
            [
                "in_flight_bytes_max",
                "open_streams_per_connection_max",
                "keepalive_timeout",
                "max_connection_age",
                "cors_allowed_origins[1]",
            ]
        );
        assert_eq!(GrpcOptions::default().check(), []);
    }
}
