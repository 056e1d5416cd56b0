//! What can be set of a store in Azure Blob Storage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::domain::limits::Limits;
use crate::runtime::{Secret, duration_text};

/// A container of a storage account, who may write to it, and how much is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureBlobOptions {
    /// Of the account: `https://NAME.blob.core.windows.net`.
    pub endpoint: String,
    pub container: String,
    /// Make the container if it is not there.
    #[serde(default)]
    pub create_container: bool,
    /// What the names of all blobs of this store begin with, so that stores can share a container.
    #[serde(default)]
    pub prefix: String,
    /// The account whose key signs; taken from the endpoint if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// One of the account's two keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_key: Option<Secret>,
    /// A shared access signature for the container, in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sas_token: Option<Secret>,
    /// The client id of a managed identity that was assigned by a user. Without key and signature
    /// the identity of the environment is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The longest that making a connection may take.
    #[serde(default = "connect_timeout", with = "duration_text")]
    pub connect_timeout: Duration,
    /// The longest silence of a connection on which an answer is awaited.
    #[serde(default = "silence_timeout", with = "duration_text")]
    pub silence_timeout: Duration,
    /// How soon a follower hears of an append that another process made.
    #[serde(default = "poll_interval", with = "duration_text")]
    pub poll_interval: Duration,
    /// What one append may hold.
    #[serde(default)]
    pub limits: Limits,
    /// Blocks of one blob; the block that reaches it names the next blob.
    #[serde(default = "blob_blocks_max")]
    pub blob_blocks_max: u32,
    /// Bytes of blocks after which an index of them is written.
    #[serde(default = "index_bytes")]
    pub index_bytes: u64,
    /// Memory for what is known of streams: their ends and their newest event ids.
    #[serde(default = "cache_bytes")]
    pub cache_bytes: u64,
}

fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn silence_timeout() -> Duration {
    Duration::from_secs(30)
}

fn poll_interval() -> Duration {
    Duration::from_millis(500)
}

/// The service ends a blob at 50,000.
fn blob_blocks_max() -> u32 {
    40_000
}

fn index_bytes() -> u64 {
    2 * 1024 * 1024
}

fn cache_bytes() -> u64 {
    64 * 1024 * 1024
}

/// The largest append that still leaves room for an index in a block of the service, which may
/// have 100 MiB.
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
const PREFIX_BYTES_MAX: usize = 100;

impl AzureBlobOptions {
    /// A store in this container, with the defaults for all else.
    pub fn at(endpoint: impl Into<String>, container: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            container: container.into(),
            create_container: false,
            prefix: String::new(),
            account: None,
            account_key: None,
            sas_token: None,
            client_id: None,
            connect_timeout: connect_timeout(),
            silence_timeout: silence_timeout(),
            poll_interval: poll_interval(),
            limits: Limits::default(),
            blob_blocks_max: blob_blocks_max(),
            index_bytes: index_bytes(),
            cache_bytes: cache_bytes(),
        }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let batch = self.limits.batch_bytes_max as u64;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bounds = [
            ("connect_timeout in ms", millis(self.connect_timeout), 1, 600_000),
            ("silence_timeout in ms", millis(self.silence_timeout), 1, 600_000),
            ("poll_interval in ms", millis(self.poll_interval), 1, 600_000),
            ("limits.batch_bytes_max", batch, 1, BATCH_BYTES_MAX),
            ("limits.batch_events_max", self.limits.batch_events_max as u64, 1, 100_000),
            ("blob_blocks_max", self.blob_blocks_max.into(), 2, 49_000),
            ("index_bytes", self.index_bytes, 1_024, 1 << 30),
            ("cache_bytes", self.cache_bytes, 1 << 20, 1 << 40),
        ];
        let mut faults: Vec<InvalidValue> = bounds
            .into_iter()
            .filter(|(_, value, least, most)| !(least..=most).contains(&value))
            .map(|(field, _, least, most)| {
                InvalidValue::new(field, format!("must be {least} to {most}"))
            })
            .collect();
        faults.extend(self.check_place());
        if self.account_key.is_some() && self.sas_token.is_some() {
            let problem = "must not be given together with account_key";
            faults.push(InvalidValue::new("sas_token", problem));
        }
        if self.account_key.is_some() && self.account_name().is_none() {
            let problem = "must be given: the endpoint does not begin with the account's name";
            faults.push(InvalidValue::new("account", problem));
        }
        faults
    }

    fn check_place(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        let plain = self.endpoint.strip_prefix("http://");
        let secure = self.endpoint.strip_prefix("https://");
        match plain.or(secure) {
            None | Some("") => {
                let problem = "must be like https://NAME.blob.core.windows.net";
                faults.push(InvalidValue::new("endpoint", problem));
            }
            Some(rest) if rest.contains(['?', '#', '@']) => {
                let problem = "must hold neither a user nor a query; a signature is sas_token";
                faults.push(InvalidValue::new("endpoint", problem));
            }
            Some(_) => {}
        }
        if plain.is_some() && self.account_key.is_none() && self.sas_token.is_none() {
            let problem = "must be https: tokens of an identity are sent over nothing else";
            faults.push(InvalidValue::new("endpoint", problem));
        }
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(3..=63).contains(&self.container.len()) || !self.container.bytes().all(letter) {
            let problem = "must be 3 to 63 of a-z, 0-9 and '-'";
            faults.push(InvalidValue::new("container", problem));
        }
        let in_prefix = |byte: u8| letter(byte) || byte == b'_' || byte == b'/';
        let tidy = !self.prefix.starts_with('/') && !self.prefix.contains("//");
        let short = self.prefix.len() <= PREFIX_BYTES_MAX;
        if !tidy || !short || !self.prefix.bytes().all(in_prefix) {
            let problem = "must be at most 100 of a-z, 0-9, '-', '_' and single '/' after others";
            faults.push(InvalidValue::new("prefix", problem));
        }
        faults
    }

    /// Where the blobs lie; no two stores may share it.
    pub fn place(&self) -> String {
        let endpoint = self.endpoint.trim_end_matches('/');
        format!("{endpoint}/{}/{}", self.container, self.prefix).to_lowercase()
    }

    /// The name that the account's key belongs to: the path of an emulator, else the first label
    /// of the host.
    pub(super) fn account_name(&self) -> Option<String> {
        if self.account.is_some() {
            return self.account.clone();
        }
        let (_, rest) = self.endpoint.split_once("://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let name = match path.trim_matches('/') {
            "" => host.split_once('.').filter(|(name, _)| name.parse::<u8>().is_err())?.0,
            path => path,
        };
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_and_container_are_enough_and_unknown_names_are_refused() {
        let text = "endpoint = 'https://NAME.blob.core.windows.net'\ncontainer = 'events'";
        let options: AzureBlobOptions = toml::from_str(text).unwrap();
        assert_eq!(options, AzureBlobOptions::at("https://NAME.blob.core.windows.net", "events"));
        assert_eq!(options.check(), []);
        assert!(toml::from_str::<AzureBlobOptions>(&format!("{text}\nkey = 'x'")).is_err());
    }

    #[test]
    fn all_faults_are_reported_together() {
        let options = AzureBlobOptions {
            account_key: Some(Secret::Text("k".into())),
            sas_token: Some(Secret::Text("s".into())),
            blob_blocks_max: 50_000,
            prefix: "/x".into(),
            ..AzureBlobOptions::at("ftp://127.0.0.1", "A")
        };
        let fields: Vec<String> = options.check().into_iter().map(|fault| fault.field).collect();
        let expected =
            ["blob_blocks_max", "endpoint", "container", "prefix", "sas_token", "account"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn an_identity_is_not_sent_in_the_clear() {
        let fields: Vec<String> = AzureBlobOptions::at("http://name.example", "events")
            .check()
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        assert_eq!(fields, ["endpoint"]);
    }

    #[test]
    fn the_account_is_read_from_the_endpoint() {
        let account = |endpoint: &str| AzureBlobOptions::at(endpoint, "events").account_name();
        assert_eq!(account("https://one.example").as_deref(), Some("one"));
        assert_eq!(
            account("http://127.0.0.1:1/devstoreaccount1").as_deref(),
            Some("devstoreaccount1")
        );
        assert_eq!(account("http://127.0.0.1:1"), None);
    }
}
