//! What can be set of a PostgreSQL store.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::domain::limits::Limits;
use crate::runtime::{Secret, duration_text};

/// Which database, how it is reached, and how much is asked of it at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresOptions {
    /// `postgres://user@host:port/database`, with `?sslmode=require` or `disable`. Without it a
    /// server of this machine is spoken to in the clear, any other must offer TLS.
    pub url: Secret,
    /// Beats the password in the URLs; looked up for every new connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The same database without a pooler between: here the store hears at once of what other
    /// processes append. Without it followers poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_url: Option<Secret>,
    /// The schema that holds everything. Created if it is not there.
    #[serde(default = "schema")]
    pub schema: String,
    /// Certificates that are trusted beside the public ones, in PEM form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// What the server is shown, if it asks for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
    /// Connections for everything but appends.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Connections that append, each with one transaction on its way. More than one is used when
    /// many appends wait, when the server is slow to answer, and for long appends.
    #[serde(default = "append_connections")]
    pub append_connections: usize,
    /// The longest that making a connection may take.
    #[serde(default = "connect_timeout", with = "duration_text")]
    pub connect_timeout: Duration,
    /// The longest that a call waits for a connection.
    #[serde(default = "connection_wait_max", with = "duration_text")]
    pub connection_wait_max: Duration,
    /// After this time without an answer a connection is given up.
    #[serde(default = "answer_timeout", with = "duration_text")]
    pub answer_timeout: Duration,
    /// How soon a follower looks again that nobody woke.
    #[serde(default = "poll_interval", with = "duration_text")]
    pub poll_interval: Duration,
    /// Appends and bytes that one transaction takes.
    #[serde(default = "batch_requests_max")]
    pub batch_requests_max: usize,
    #[serde(default = "batch_bytes_max")]
    pub batch_bytes_max: usize,
    /// Bytes of the appends that wait or are on their way; one more waits for its place.
    #[serde(default = "queue_bytes_max")]
    pub queue_bytes_max: usize,
    /// What one append may hold.
    #[serde(default)]
    pub limits: Limits,
}

fn schema() -> String {
    "streamgate".into()
}

fn connections_max() -> usize {
    16
}

fn append_connections() -> usize {
    4
}

fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn connection_wait_max() -> Duration {
    Duration::from_secs(5)
}

fn answer_timeout() -> Duration {
    Duration::from_secs(30)
}

fn poll_interval() -> Duration {
    Duration::from_millis(500)
}

fn batch_requests_max() -> usize {
    256
}

fn batch_bytes_max() -> usize {
    4 * 1024 * 1024
}

fn queue_bytes_max() -> usize {
    64 * 1024 * 1024
}

impl PostgresOptions {
    /// Where the data lies, for people.
    pub fn place(&self) -> String {
        format!("PostgreSQL, schema {} ({:?})", self.schema, self.url)
    }

    /// The longest name that PostgreSQL does not cut short.
    const NAME_BYTES_MAX: usize = 63;

    /// A store at this URL, with the defaults for all else.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: Secret::Text(url.into()),
            password: None,
            listen_url: None,
            schema: schema(),
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            connections_max: connections_max(),
            append_connections: append_connections(),
            connect_timeout: connect_timeout(),
            connection_wait_max: connection_wait_max(),
            answer_timeout: answer_timeout(),
            poll_interval: poll_interval(),
            batch_requests_max: batch_requests_max(),
            batch_bytes_max: batch_bytes_max(),
            queue_bytes_max: queue_bytes_max(),
            limits: Limits::default(),
        }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let bounds = [
            ("connections_max", self.connections_max, 1, 10_000),
            ("append_connections", self.append_connections, 1, 1_000),
            ("batch_requests_max", self.batch_requests_max, 1, 10_000),
            ("batch_bytes_max", self.batch_bytes_max, 1, 1 << 28),
            ("queue_bytes_max", self.queue_bytes_max, 1 << 20, 1 << 31),
            // A parameter of a statement holds at most 1 GiB.
            ("limits.batch_bytes_max", self.limits.batch_bytes_max, 1, 1 << 28),
        ];
        let mut faults: Vec<InvalidValue> = bounds
            .into_iter()
            .filter(|(_, value, least, most)| !(least..=most).contains(&value))
            .map(|(field, _, least, most)| {
                InvalidValue::new(field, format!("must be {least} to {most}"))
            })
            .collect();
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("connection_wait_max", self.connection_wait_max),
            ("answer_timeout", self.answer_timeout),
            ("poll_interval", self.poll_interval),
        ] {
            if value.is_zero() {
                faults.push(InvalidValue::new(field, "must be more than nothing"));
            }
        }
        if !is_name(&self.schema) {
            let problem = "must be a lower-case letter or '_', followed by at most 62 of a-z, \
                           0-9 or '_', and not begin with pg_";
            faults.push(InvalidValue::new("schema", problem));
        }
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            faults.push(InvalidValue::new("tls_key_file", "goes together with tls_cert_file"));
        }
        faults
    }
}

/// Names of schemas stand in statements and name a channel; these need no quotes.
fn is_name(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    begins
        && text.bytes().all(legal)
        && text.len() <= PostgresOptions::NAME_BYTES_MAX
        && !text.starts_with("pg_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_enough_and_is_not_shown() {
        let text = "url = 'postgres://app:hush@db/events'";
        let options: PostgresOptions = toml::from_str(text).unwrap();
        assert_eq!(options, PostgresOptions::at("postgres://app:hush@db/events"));
        let shown = format!("{options:?} {}", toml::to_string(&options).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
        assert!(toml::from_str::<PostgresOptions>("schema = 'a'").is_err());
        assert!(toml::from_str::<PostgresOptions>("url = 'a'\nurls = 'b'").is_err());
    }

    #[test]
    fn all_faults_are_reported_together() {
        let options = PostgresOptions {
            schema: "Drop table".into(),
            connections_max: 0,
            poll_interval: Duration::ZERO,
            tls_key_file: Some("key.pem".into()),
            ..PostgresOptions::at("")
        };
        let fields: Vec<String> = options.check().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["connections_max", "poll_interval", "schema", "tls_key_file"]);
        assert_eq!(PostgresOptions::at("postgres://db").check(), []);
    }

    #[test]
    fn schemas_have_names_that_need_no_quotes() {
        for good in ["a", "_a", "streamgate_2", &"x".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "2a", "a-b", "a\"", "pg_catalog", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
