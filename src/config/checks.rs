//! What must hold between settings that are each well formed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, ServerSettings};
use crate::domain::limits::Limits;
use crate::domain::{InvalidValue, ObjectName};

pub(super) fn faults_of(config: &Config) -> Vec<InvalidValue> {
    let within = |section: &'static str| move |fault: InvalidValue| fault.within(section);
    let mut faults: Vec<InvalidValue> = Vec::new();
    faults.extend(server(&config.server).into_iter().map(within("server")));
    faults.extend(config.log.check().err().map(within("log")));
    faults.extend(config.grpc.check().into_iter().map(within("grpc")));
    faults.extend(limits(config.limits).into_iter().map(within("limits")));
    faults.extend(config.proxy.check().into_iter().map(within("proxy")));
    faults.extend(config.migration.check().into_iter().map(within("migration")));
    faults.extend(config.store_calls.check().into_iter().map(within("store_calls")));
    faults.extend(stores(config));
    faults.extend(references(config));
    faults
}

fn server(server: &ServerSettings) -> Vec<InvalidValue> {
    let mut faults = Vec::new();
    for (name, address) in [("listen", server.listen), ("http_listen", server.http_listen)] {
        if !is_loopback(address) && !server.insecure {
            let problem = format!(
                "{address} can be reached from other machines, and this release has no TLS: \
                 listen on 127.0.0.1 behind something that has, or set insecure = true (--insecure)"
            );
            faults.push(InvalidValue::new(name, problem));
        }
    }
    if server.listen == server.http_listen && server.listen.port() != 0 {
        faults.push(InvalidValue::new("http_listen", "must not be the address of listen"));
    }
    if server.health_interval < Duration::from_millis(100) {
        faults.push(InvalidValue::new("health_interval", "must be at least 100ms"));
    }
    faults
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

/// No two stores share a name or a folder.
fn stores(config: &Config) -> Vec<InvalidValue> {
    let (mut names, mut folders) = (BTreeSet::new(), BTreeSet::new());
    let mut faults = Vec::new();
    for (index, store) in config.stores.iter().enumerate() {
        let path = format!("stores[{index}]");
        faults.extend(store.faults().into_iter().map(|fault| fault.within(&path)));
        if !names.insert(&store.name) {
            let problem = format!("another store is named {} already", store.name);
            faults.push(InvalidValue::new(format!("{path}.name"), problem));
        }
        let Some(folder) = store.folder() else { continue };
        if !folders.insert(folder) {
            let problem = format!("another store lies in {} already", folder.display());
            faults.push(InvalidValue::new(format!("{path}.path"), problem));
        }
    }
    faults
}

/// What is named exists.
fn references(config: &Config) -> Vec<InvalidValue> {
    // Stores that could not be read have faults of their own.
    if config.stores.is_empty() {
        return Vec::new();
    }
    let known: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
    let unknown = |name: &str| {
        let is_unknown = !known.contains(&name);
        is_unknown.then(|| format!("no store is named {name}; there are: {}", known.join(", ")))
    };
    let mut faults = Vec::new();
    let documents = unknown(config.documents.store.as_str());
    faults.extend(documents.map(|problem| InvalidValue::new("documents.store", problem)));
    for (index, rule) in config.placement.iter().enumerate() {
        let at = |field: &str, problem: String| {
            InvalidValue::new(format!("placement[{index}].{field}"), problem)
        };
        faults.extend(unknown(rule.store.as_str()).map(|problem| at("store", problem)));
        let name = rule.object_name.as_str();
        let stem = name.strip_suffix('*').unwrap_or(name);
        let matches_all = name == "*";
        if !matches_all && ObjectName::new(stem).is_err() {
            let problem = "must be an object name, or a prefix of one followed by *";
            faults.push(at("object_name", problem.to_owned()));
        }
    }
    faults
}
