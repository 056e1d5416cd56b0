//! What can be set of a Cosmos DB store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::domain::limits::Limits;
use crate::runtime::{Secret, duration_text};

/// What one transactional batch of the service can hold. Decision and arithmetic: `layout`.
pub(super) const LIMITS: Limits = Limits {
    event_bytes_max: 1024 * 1024,
    // A batch has at most 100 operations; one of them replaces the head.
    batch_events_max: 99,
    batch_bytes_max: 1_310_720,
};

/// Where a store lies at Cosmos DB, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosmosOptions {
    /// The account: `https://NAME.documents.azure.com/`.
    pub endpoint: String,
    pub database: String,
    /// The store's own container.
    pub container: String,
    /// The account's key. Left out: the credential chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The account's write region, as "West Europe".
    pub region: String,
    /// Make the database and the container if they are missing.
    #[serde(default)]
    pub create: bool,
    /// The longest that connecting may take.
    #[serde(default = "connect_timeout", with = "duration_text")]
    pub connect_timeout: Duration,
    /// How soon a follower hears of an append by another process. Each look costs a request unit.
    #[serde(default = "poll_interval", with = "duration_text")]
    pub poll_interval: Duration,
    /// Streams whose heads are kept in memory; an append to one of them saves a request.
    #[serde(default = "heads_max")]
    pub heads_max: usize,
    /// What one append may hold; of it and the service's bounds the tighter holds.
    #[serde(default = "limits")]
    pub limits: Limits,
}

fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn poll_interval() -> Duration {
    Duration::from_secs(1)
}

fn heads_max() -> usize {
    10_000
}

fn limits() -> Limits {
    LIMITS
}

impl CosmosOptions {
    /// A container of an account, with the defaults for all else.
    pub fn at(
        endpoint: impl Into<String>,
        database: impl Into<String>,
        container: impl Into<String>,
        region: impl Into<String>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            database: database.into(),
            container: container.into(),
            key: None,
            region: region.into(),
            create: false,
            connect_timeout: connect_timeout(),
            poll_interval: poll_interval(),
            heads_max: heads_max(),
            limits: limits(),
        }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("endpoint", &self.endpoint),
            ("database", &self.database),
            ("container", &self.container),
            ("region", &self.region),
        ] {
            if value.is_empty() {
                faults.push(InvalidValue::new(field, "must not be empty"));
            }
        }
        let speaks_http = ["https://", "http://"].iter().any(|way| self.endpoint.starts_with(way));
        if !self.endpoint.is_empty() && !speaks_http {
            faults.push(InvalidValue::new("endpoint", "must be a URL, as https://NAME..."));
        }
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(6));
        if !(least..=most).contains(&self.connect_timeout) {
            faults.push(InvalidValue::new("connect_timeout", "must be 100ms to 6s"));
        }
        if self.poll_interval < Duration::from_millis(10) {
            faults.push(InvalidValue::new("poll_interval", "must be at least 10ms"));
        }
        if self.heads_max == 0 {
            faults.push(InvalidValue::new("heads_max", "must be at least 1"));
        }
        faults
    }

    /// Two stores with the same place would be one.
    pub fn place(&self) -> String {
        let endpoint = self.endpoint.trim_end_matches('/').to_lowercase();
        format!("{endpoint}/{}/{}", self.database, self.container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> CosmosOptions {
        CosmosOptions::at("https://example.com/", "d", "c", "West Europe")
    }

    #[test]
    fn four_names_are_enough_and_unknown_names_are_refused() {
        let text = "endpoint = 'https://example.com/'\ndatabase = 'd'\n\
                    container = 'c'\nregion = 'West Europe'\n";
        let parsed: CosmosOptions = toml::from_str(text).unwrap();
        assert_eq!(parsed, options());
        assert_eq!(parsed.check(), []);
        assert!(toml::from_str::<CosmosOptions>(&format!("{text}colour = 3")).is_err());
        let keyed = format!("{text}key = 'hush'");
        let keyed: CosmosOptions = toml::from_str(&keyed).unwrap();
        assert!(!format!("{keyed:?} {}", toml::to_string(&keyed).unwrap()).contains("hush"));
    }

    #[test]
    fn all_faults_are_reported_together() {
        let wrong = CosmosOptions {
            endpoint: "example.com".into(),
            database: String::new(),
            connect_timeout: Duration::from_secs(60),
            poll_interval: Duration::ZERO,
            heads_max: 0,
            ..options()
        };
        let fields: Vec<String> = wrong.check().into_iter().map(|fault| fault.field).collect();
        let expected = ["database", "endpoint", "connect_timeout", "poll_interval", "heads_max"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_same_container_is_the_same_place() {
        let endpoint = options().endpoint.to_uppercase();
        let other = CosmosOptions { endpoint, ..options() };
        assert_eq!(options().place(), other.place());
        let elsewhere = CosmosOptions { container: "e".into(), ..options() };
        assert_ne!(options().place(), elsewhere.place());
    }
}
