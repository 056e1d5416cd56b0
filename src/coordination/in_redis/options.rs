//! What can be set of the Redis that proxies coordinate by.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::InvalidValue;
use crate::runtime::{Secret, duration_text};

/// Which Redis, and how it is reached. Exactly one of `url`, `sentinel_urls` and `cluster_urls`
/// says where it is: one server, sentinels that know the server, or nodes of a cluster.
///
/// URLs are `redis://user:password@host:port/database`, or `rediss://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisOptions {
    /// The one server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// Sentinels; any of them is asked where the server is. With `rediss://` the server speaks
    /// TLS as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sentinel_urls: Vec<Secret>,
    /// The name under which the sentinels know the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_service: Option<String>,
    /// Nodes of a cluster; any of them knows the rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_urls: Vec<Secret>,
    /// Beats the name in the URL. Of the server, not of the sentinels, whose URLs hold theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Beats the password in the URL; looked up for every new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The database of a server that sentinels know. A URL of one server names it itself, and a
    /// cluster has one only.
    pub database: u32,
    /// Certificates that are trusted instead of the public ones, in PEM form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// What the server is shown, if it asks for a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
    /// The longest that making a connection may take.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// The longest that an answer may take; after it the connection is given up.
    #[serde(with = "duration_text")]
    pub response_timeout: Duration,
    /// Stands before every key and channel. Left out: `streamgate:` and the deployment's id, so
    /// that deployments can share a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: None,
            sentinel_urls: Vec::new(),
            sentinel_service: None,
            cluster_urls: Vec::new(),
            username: None,
            password: None,
            database: 0,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(500),
            key_prefix: None,
        }
    }
}

const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const PREFIX_BYTES_MAX: usize = 128;

impl RedisOptions {
    /// One server, with the defaults for all else.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(Secret::Text(url.into())), ..Self::default() }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        let places = [self.url.is_some(), self.by_sentinels(), self.is_cluster()];
        if places.into_iter().filter(|is_set| *is_set).count() != 1 {
            let problem = "needs exactly one of url, sentinel_urls and cluster_urls";
            faults.push(InvalidValue::new("url", problem));
        }
        if self.by_sentinels() != self.sentinel_service.is_some() {
            let problem = "goes together with sentinel_urls";
            faults.push(InvalidValue::new("sentinel_service", problem));
        }
        if self.database != 0 && !self.by_sentinels() {
            let problem = "is set with sentinel_urls alone; url names its own: redis://host/1";
            faults.push(InvalidValue::new("database", problem));
        }
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            faults.push(InvalidValue::new("tls_key_file", "goes together with tls_cert_file"));
        }
        for (field, value) in
            [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)]
        {
            if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&value) {
                let problem = format!("must lie between {TIMEOUT_MIN:?} and {TIMEOUT_MAX:?}");
                faults.push(InvalidValue::new(field, problem));
            }
        }
        if self.key_prefix.as_ref().is_some_and(|prefix| !is_prefix(prefix)) {
            let problem = format!(
                "must be 1 to {PREFIX_BYTES_MAX} visible characters of ASCII other than braces"
            );
            faults.push(InvalidValue::new("key_prefix", problem));
        }
        faults
    }

    /// What stands before every key and channel of a deployment.
    pub(super) fn prefix(&self, deployment: Uuid) -> String {
        self.key_prefix.clone().unwrap_or_else(|| format!("streamgate:{deployment}"))
    }

    pub(super) fn by_sentinels(&self) -> bool {
        !self.sentinel_urls.is_empty()
    }

    pub(super) fn is_cluster(&self) -> bool {
        !self.cluster_urls.is_empty()
    }
}

/// A brace would begin the part of a key by which a cluster places it.
fn is_prefix(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let options: RedisOptions = toml::from_str(text).unwrap();
        options.check().into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn a_url_is_enough_and_is_not_shown() {
        let options: RedisOptions = toml::from_str("url = 'redis://:hush@cache/0'").unwrap();
        assert_eq!(options, RedisOptions::at("redis://:hush@cache/0"));
        assert_eq!(options.check(), []);
        let shown = format!("{options:?} {}", toml::to_string(&options).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn exactly_one_way_leads_to_the_server() {
        let sentinels = "sentinel_urls = ['redis://a', 'redis://b']\nsentinel_service = 'main'";
        assert!(faults(sentinels).is_empty());
        assert!(faults("cluster_urls = ['redis://a', { env = 'NODE' }]").is_empty());
        assert_eq!(faults(""), ["url"]);
        assert_eq!(faults("url = 'redis://a'\ncluster_urls = ['redis://a']"), ["url"]);
        assert_eq!(faults("sentinel_urls = ['redis://a']"), ["sentinel_service"]);
        assert_eq!(faults("url = 'redis://a'\nsentinel_service = 'a'"), ["sentinel_service"]);
    }

    #[test]
    fn all_faults_are_reported_together() {
        let options = RedisOptions {
            database: 1,
            tls_key_file: Some("key.pem".into()),
            response_timeout: Duration::ZERO,
            key_prefix: Some("a{b".into()),
            ..RedisOptions::default()
        };
        let fields: Vec<String> = options.check().into_iter().map(|fault| fault.field).collect();
        let expected = ["url", "database", "tls_key_file", "response_timeout", "key_prefix"];
        assert_eq!(fields, expected);
    }
}
