//! What must hold between settings that are each well formed.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, ServerSettings};
use crate::domain::InvalidValue;
use crate::domain::limits::Limits;

pub(super) fn faults_of(config: &Config) -> Vec<InvalidValue> {
    let within = |section: &'static str| move |fault: InvalidValue| fault.within(section);
    let mut faults: Vec<InvalidValue> = Vec::new();
    faults.extend(server(&config.server).into_iter().map(within("server")));
    faults.extend(config.log.check().err().map(within("log")));
    faults.extend(config.grpc.check().into_iter().map(within("grpc")));
    faults.extend(limits(config.limits).into_iter().map(within("limits")));
    faults.extend(config.proxy.check().into_iter().map(within("proxy")));
    faults.extend(config.migration.check().into_iter().map(within("migration")));
    faults.extend(config.coordination.check().into_iter().map(within("coordination")));
    faults.extend(lease(config));
    faults.extend(config.store_calls.check().into_iter().map(within("store_calls")));
    faults
}

fn server(server: &ServerSettings) -> Vec<InvalidValue> {
    let mut faults = Vec::new();
    for (name, address) in [("listen", server.listen), ("http_listen", server.http_listen)] {
        if !is_loopback(address) && !server.insecure && !server.tls.is_on() {
            let problem = format!(
                "{address} can be reached from other machines, and nothing is encrypted: set \
                 [server.tls], listen on 127.0.0.1, or set insecure = true (--insecure)"
            );
            faults.push(InvalidValue::new(name, problem));
        }
    }
    if server.listen == server.http_listen && server.listen.port() != 0 {
        faults.push(InvalidValue::new("http_listen", "must not be the address of listen"));
    }
    let tls = server.tls.check().into_iter();
    faults.extend(tls.map(|fault| fault.within("tls")));
    if server.health_interval < Duration::from_millis(100) {
        faults.push(InvalidValue::new("health_interval", "must be at least 100ms"));
    }
    faults
}

/// A lease that a single slow answer outlasts could never be renewed.
fn lease(config: &Config) -> Option<InvalidValue> {
    let redis = config.coordination.redis.as_ref()?;
    let call = redis.connect_timeout + redis.response_timeout;
    let problem = format!(
        "must be longer than connect_timeout and response_timeout of coordination.redis together, \
         which are {call:?}"
    );
    let is_short = config.migration.lease_ttl <= call;
    is_short.then(|| InvalidValue::new("migration.lease_ttl", problem))
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn limits(limits: Limits) -> Vec<InvalidValue> {
    const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
    let mut faults = Vec::new();
    if !(1..=100_000).contains(&limits.batch_events_max) {
        faults.push(InvalidValue::new("batch_events_max", "must lie between 1 and 100000"));
    }
    if !(1..=BATCH_BYTES_MAX).contains(&limits.batch_bytes_max) {
        let problem = format!("must lie between 1 and {BATCH_BYTES_MAX}");
        faults.push(InvalidValue::new("batch_bytes_max", problem));
    }
    if !(1..=limits.batch_bytes_max).contains(&limits.event_bytes_max) {
        let problem = "must be at least 1 and at most batch_bytes_max";
        faults.push(InvalidValue::new("event_bytes_max", problem));
    }
    faults
}
