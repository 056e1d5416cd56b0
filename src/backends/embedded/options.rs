//! What can be set of an embedded store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::domain::limits::Limits;

/// Where an embedded store lives, and how much it may hold in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedOptions {
    /// The store's own folder; created if it is not there.
    pub path: PathBuf,
    /// What one append may hold.
    #[serde(default)]
    pub limits: Limits,
    /// Writes that wait for the committer; one more waits for its place.
    #[serde(default = "queue_requests_max")]
    pub queue_requests_max: usize,
    /// Bytes of the writes that wait or are being committed.
    #[serde(default = "queue_bytes_max")]
    pub queue_bytes_max: usize,
    /// Writes that are made durable by one sync.
    #[serde(default = "commit_requests_max")]
    pub commit_requests_max: usize,
    /// A commit that has this many bytes takes no further write.
    #[serde(default = "commit_bytes_max")]
    pub commit_bytes_max: usize,
    /// Streams whose heads are kept in memory.
    #[serde(default = "heads_max")]
    pub heads_max: usize,
    /// Memory for blocks read from disk.
    #[serde(default = "cache_bytes")]
    pub cache_bytes: u64,
    /// New records kept in memory until they are written to a table.
    #[serde(default = "memtable_bytes")]
    pub memtable_bytes: u64,
    /// The planted bug "an append answered before the sync", for suites that must find it.
    #[cfg(feature = "testing")]
    #[serde(skip)]
    pub answer_before_sync: bool,
}

fn queue_requests_max() -> usize {
    4_096
}

fn queue_bytes_max() -> usize {
    64 * 1024 * 1024
}

fn commit_requests_max() -> usize {
    1_024
}

fn commit_bytes_max() -> usize {
    8 * 1024 * 1024
}

fn heads_max() -> usize {
    100_000
}

fn cache_bytes() -> u64 {
    32 * 1024 * 1024
}

fn memtable_bytes() -> u64 {
    64 * 1024 * 1024
}

impl EmbeddedOptions {
    /// A store in this folder, with the defaults for all else.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits::default(),
            queue_requests_max: queue_requests_max(),
            queue_bytes_max: queue_bytes_max(),
            commit_requests_max: commit_requests_max(),
            commit_bytes_max: commit_bytes_max(),
            heads_max: heads_max(),
            cache_bytes: cache_bytes(),
            memtable_bytes: memtable_bytes(),
            #[cfg(feature = "testing")]
            answer_before_sync: false,
        }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let memtable = usize::try_from(self.memtable_bytes).unwrap_or(usize::MAX);
        let bounds = [
            ("queue_requests_max", self.queue_requests_max, 1, 1 << 20),
            ("queue_bytes_max", self.queue_bytes_max, 1 << 20, 1 << 32),
            // Etags count the writes of one commit in 16 bits.
            ("commit_requests_max", self.commit_requests_max, 1, 1 << 16),
            ("commit_bytes_max", self.commit_bytes_max, 1, 1 << 30),
            ("heads_max", self.heads_max, 1, 1 << 30),
            ("memtable_bytes", memtable, 1 << 20, 1 << 32),
        ];
        let mut faults: Vec<InvalidValue> = bounds
            .into_iter()
            .filter(|(_, value, least, most)| !(least..=most).contains(&value))
            .map(|(field, _, least, most)| {
                InvalidValue::new(field, format!("must be {least} to {most}"))
            })
            .collect();
        if self.path.as_os_str().is_empty() {
            faults.push(InvalidValue::new("path", "must not be empty"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_enough_and_unknown_names_are_refused() {
        let options: EmbeddedOptions = toml::from_str("path = 'data'").unwrap();
        assert_eq!(options, EmbeddedOptions::at("data"));
        assert!(toml::from_str::<EmbeddedOptions>("path = 'data'\nheads = 3").is_err());
        assert!(toml::from_str::<EmbeddedOptions>("heads_max = 3").is_err());
    }

    #[test]
    fn all_faults_are_reported_together() {
        let options = EmbeddedOptions {
            heads_max: 0,
            commit_requests_max: 1 << 17,
            ..EmbeddedOptions::at("")
        };
        let fields: Vec<String> = options.check().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["commit_requests_max", "heads_max", "path"]);
        assert_eq!(EmbeddedOptions::at("data").check(), []);
    }
}
