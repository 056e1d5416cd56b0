//! What can be set of an S3 store.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::domain::limits::Limits;
use crate::runtime::{Secret, duration_text};

/// Which bucket, how to reach it, and how its objects are cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Options {
    pub bucket: String,
    /// Stands before every key, with a `/` between; empty to have the bucket alone.
    #[serde(default)]
    pub prefix: String,
    #[serde(default = "region")]
    pub region: String,
    /// Where the service is, as `https://minio.example:9000`; left out for AWS in `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub addressing: Addressing,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// With `secret_access_key`; left out, the usual chain of AWS finds credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    #[serde(default = "connect_timeout", with = "duration_text")]
    pub connect_timeout: Duration,
    /// Of one request, to the last byte of its answer.
    #[serde(default = "request_timeout", with = "duration_text")]
    pub request_timeout: Duration,
    /// How often followers look for appends of other processes.
    #[serde(default = "poll_interval", with = "duration_text")]
    pub poll_interval: Duration,
    /// The events of a tail become a chunk before they exceed this.
    #[serde(default = "tail_bytes_max")]
    pub tail_bytes_max: usize,
    /// Chunks that a tail names itself; older ones are named by index objects.
    #[serde(default = "chunks_in_tail_max")]
    pub chunks_in_tail_max: usize,
    /// Rounds that an append may lose against other processes; then CONTENDED.
    #[serde(default = "append_attempts_max")]
    pub append_attempts_max: u32,
    /// Memory for tails, chunks and ids.
    #[serde(default = "cache_bytes")]
    pub cache_bytes: u64,
    /// Delete documents on condition where the service can; else they become tombstones.
    #[serde(default = "conditional_deletes")]
    pub conditional_deletes: bool,
    /// What one append may hold.
    #[serde(default)]
    pub limits: Limits,
}

/// How a request names the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// `https://host/bucket/key`: works everywhere.
    #[default]
    Path,
    /// `https://bucket.host.example/key`.
    VirtualHost,
}

fn region() -> String {
    "us-east-1".into()
}

fn connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn request_timeout() -> Duration {
    Duration::from_secs(10)
}

fn poll_interval() -> Duration {
    Duration::from_millis(500)
}

fn tail_bytes_max() -> usize {
    512 * 1024
}

fn chunks_in_tail_max() -> usize {
    128
}

fn append_attempts_max() -> u32 {
    16
}

fn cache_bytes() -> u64 {
    64 * 1024 * 1024
}

fn conditional_deletes() -> bool {
    true
}

impl S3Options {
    /// A bucket of AWS in the usual region, with the defaults for all else.
    pub fn of_bucket(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: region(),
            endpoint: None,
            addressing: Addressing::default(),
            ca_file: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            connect_timeout: connect_timeout(),
            request_timeout: request_timeout(),
            poll_interval: poll_interval(),
            tail_bytes_max: tail_bytes_max(),
            chunks_in_tail_max: chunks_in_tail_max(),
            append_attempts_max: append_attempts_max(),
            cache_bytes: cache_bytes(),
            conditional_deletes: conditional_deletes(),
            limits: Limits::default(),
        }
    }

    /// Where requests go, without the bucket: what tells two services apart.
    pub fn endpoint_text(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{}.amazonaws.com", self.region),
        }
    }

    /// What no two stores may share.
    pub fn place(&self) -> String {
        format!("{}/{}/{}", self.endpoint_text(), self.bucket, self.prefix)
    }

    /// The URL to which keys are added, with the bucket in its host or its path.
    pub(super) fn bucket_url(&self) -> String {
        let endpoint = self.endpoint_text();
        match (self.addressing, endpoint.split_once("://")) {
            (Addressing::VirtualHost, Some((scheme, host))) => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            (Addressing::Path, _) | (Addressing::VirtualHost, None) => {
                format!("{endpoint}/{}", self.bucket)
            }
        }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, problem: &str| {
            faults.push(InvalidValue::new(field, problem.to_owned()));
        };
        let in_name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        };
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(in_name) {
            fault("bucket", "must be 3 to 63 of a-z, 0-9, '-' or '.'");
        }
        let in_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let segments = self.prefix.split('/');
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        let ill_formed = !self.prefix.bytes().all(in_prefix)
            || self.prefix.len() > PREFIX_BYTES_MAX
            || (!self.prefix.is_empty() && segments.into_iter().any(odd));
        if ill_formed {
            fault("prefix", "must be at most 128 of A-Z, a-z, 0-9, '-', '_', '.', '/' as a/b");
        }
        if self.region.is_empty() || self.region.contains(char::is_whitespace) {
            fault("region", "must be the name of a region");
        }
        let is_url = |text: &str| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']))
        };
        if self.endpoint.as_deref().is_some_and(|endpoint| !is_url(endpoint)) {
            fault("endpoint", "must be a URL as https://host:port");
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            fault("secret_access_key", "must be given together with access_key_id");
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            fault("session_token", "means nothing without access_key_id");
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("poll_interval", self.poll_interval),
        ];
        for (field, time) in times {
            if time < Duration::from_millis(1) || time > Duration::from_secs(3600) {
                fault(field, "must be 1ms to 1h");
            }
        }
        if !(256..=16 * 1024 * 1024).contains(&self.tail_bytes_max) {
            fault("tail_bytes_max", "must be 256 to 16777216");
        }
        if !(4..=4096).contains(&self.chunks_in_tail_max) {
            fault("chunks_in_tail_max", "must be 4 to 4096");
        }
        if !(1..=1000).contains(&self.append_attempts_max) {
            fault("append_attempts_max", "must be 1 to 1000");
        }
        if self.limits.batch_bytes_max > BATCH_BYTES_MAX {
            fault("limits.batch_bytes_max", "must be at most 268435456");
        }
        faults
    }
}

pub(super) const PREFIX_BYTES_MAX: usize = 128;
/// A tail is one request, and holds one batch at least.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_enough_and_unknown_names_are_refused() {
        let options: S3Options = toml::from_str("bucket = 'events'").unwrap();
        assert_eq!(options, S3Options::of_bucket("events"));
        assert_eq!(options.check(), []);
        assert!(toml::from_str::<S3Options>("bucket = 'events'\nacl = 'x'").is_err());
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_host() {
        let mut options = S3Options::of_bucket("events");
        options.endpoint = Some("https://minio.example:9000/".into());
        assert_eq!(options.bucket_url(), "https://minio.example:9000/events");
        options.addressing = Addressing::VirtualHost;
        assert_eq!(options.bucket_url(), "https://events.minio.example:9000");
        options.endpoint = None;
        assert_eq!(options.bucket_url(), "https://events.s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn all_faults_are_reported_together() {
        let options = S3Options {
            prefix: "a//b".into(),
            endpoint: Some("minio:9000".into()),
            access_key_id: Some(Secret::Text("key".into())),
            poll_interval: Duration::ZERO,
            tail_bytes_max: 1,
            ..S3Options::of_bucket("Events")
        };
        let fields: Vec<String> = options.check().into_iter().map(|fault| fault.field).collect();
        let expected = [
            "bucket",
            "prefix",
            "endpoint",
            "secret_access_key",
            "poll_interval",
            "tail_bytes_max",
        ];
        assert_eq!(fields, expected);
    }
}
