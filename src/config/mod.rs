//! Settings: one TOML file, the environment over it, flags over that. Each part owns its options;
//! here they are put together and checked, all faults at once, before anything opens.
//!
//! Reading order: this file (what can be set), [`layers`] (where it is set), `sections` (parsing
//! with every fault named), `stores`, `checks` (what must fit together).

mod checks;
pub mod layers;
mod sections;
mod stores;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::coordination::CoordinationOptions;
use crate::domain::limits::Limits;
use crate::domain::{InvalidValue, StoreName};
use crate::grpc::{GrpcOptions, TlsOptions};
use crate::migration::MigrationSettings;
use crate::proxy::ProxyOptions;
use crate::runtime::duration_text;
use crate::store::{Placement, PlacementRule, StoreOptions};
use crate::telemetry::logs::LogOptions;

pub use layers::{Layers, Overrides};
pub use stores::{StoreKind, StoreSettings};

/// Everything that can be set, complete and checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    pub server: ServerSettings,
    pub log: LogOptions,
    pub grpc: GrpcOptions,
    pub documents: DocumentSettings,
    pub limits: Limits,
    pub proxy: ProxyOptions,
    pub migration: MigrationSettings,
    pub coordination: CoordinationOptions,
    pub store_calls: StoreOptions,
    pub stores: Vec<StoreSettings>,
    pub placement: Vec<PlacementRule>,
}

/// Where the process listens, keeps its data, and how it stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// gRPC.
    pub listen: SocketAddr,
    /// Metrics and health over HTTP.
    pub http_listen: SocketAddr,
    /// Listen beyond this machine without encryption.
    pub insecure: bool,
    /// Where stores lie that name no path.
    pub data_dir: PathBuf,
    /// How long a stop is announced before it begins.
    #[serde(with = "duration_text")]
    pub drain_delay: Duration,
    /// The longest that a stop waits for what is in flight.
    #[serde(with = "duration_text")]
    pub grace_period: Duration,
    /// How often stores are asked whether they answer, for health.
    #[serde(with = "duration_text")]
    pub health_interval: Duration,
    /// How gRPC is encrypted, if it is.
    pub tls: TlsOptions,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            insecure: false,
            data_dir: PathBuf::from("streamgate-data"),
            drain_delay: Duration::ZERO,
            grace_period: Duration::from_secs(20),
            health_interval: Duration::from_secs(5),
            tls: TlsOptions::default(),
        }
    }
}

/// Where object documents and migration records are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DocumentSettings {
    pub store: StoreName,
}

/// Everything that is wrong with the settings, each fault with its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(pub Vec<InvalidValue>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(InvalidValue::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Config {
    /// Puts the layers together. Nothing is opened.
    pub fn assemble(layers: Layers) -> Result<Self, ConfigFaults> {
        let mut faults = Vec::new();
        let config = sections::parse(layers, &mut faults);
        faults.extend(checks::faults_of(&config));
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }

    /// The rules by which new objects find their first store. What no rule matches goes to the
    /// first store of the list.
    pub fn placement(&self) -> Placement {
        let default = self.stores.first().expect("a checked configuration has a store");
        Placement { rules: self.placement.clone(), default: default.name.clone() }
    }

    /// The settings as a file would hold them.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("all settings can be written in a file")
    }
}
