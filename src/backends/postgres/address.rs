//! Where the server is, and how each new connection is made.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::OpenError;
use super::options::PostgresOptions;
use super::tls;
use crate::runtime::Secret;

const KEEPALIVE: Duration = Duration::from_secs(30);

/// A database and who asks for it. Clones share what was last known of the secrets.
#[derive(Clone)]
pub(super) struct Address {
    url: Secret,
    password: Option<Secret>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    pub(super) tls: MakeRustlsConnect,
    last: Arc<Mutex<Config>>,
}

impl Address {
    pub(super) fn of(options: &PostgresOptions, url: &Secret) -> Result<Self, OpenError> {
        let address = Self {
            url: url.clone(),
            password: options.password.clone(),
            connect_timeout: options.connect_timeout,
            answer_timeout: options.answer_timeout,
            tls: tls::connector(options)?,
            last: Arc::default(),
        };
        *address.last.lock().expect("no holder panics") = address.resolve()?;
        Ok(address)
    }

    /// What the next connection is made with. A password that was renewed is taken; one that
    /// cannot be read just now does not end what works.
    pub(super) fn config(&self) -> Config {
        let resolved = self.resolve();
        let mut last = self.last.lock().expect("no holder panics");
        match resolved {
            Ok(config) => *last = config,
            Err(error) => tracing::warn!(%error, "the last known password is used"),
        }
        last.clone()
    }

    fn resolve(&self) -> Result<Config, OpenError> {
        let mut config: Config = self.url.reveal()?.parse().map_err(|_| OpenError::Url)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(OpenError::Url);
        }
        if let Some(password) = &self.password {
            config.password(password.reveal()?);
        }
        let guarded = match config.get_ssl_mode() {
            SslMode::Disable => false,
            SslMode::Require => true,
            // What a URL means that does not say. TLS that may be done without protects nothing.
            _ => !is_this_machine(&config),
        };
        config.ssl_mode(if guarded { SslMode::Require } else { SslMode::Disable });
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("streamgate");
        }
        config.connect_timeout(self.connect_timeout);
        config.keepalives_idle(KEEPALIVE);
        config.tcp_user_timeout(self.answer_timeout);
        Ok(config)
    }
}

fn is_this_machine(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    named && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

impl fmt::Display for Address {
    /// Everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.last.lock().expect("no holder panics");
        write!(f, "{}@", config.get_user().unwrap_or("(nobody)"))?;
        for (place, host) in config.get_hosts().iter().enumerate() {
            let between = if place > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{between}{name}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{between}{}", path.display())?,
            }
            let ports = config.get_ports();
            if let Some(port) = ports.get(place).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", config.get_dbname().unwrap_or("(no database)"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Address, OpenError> {
        let options = PostgresOptions::at(url);
        Address::of(&options, &options.url)
    }

    #[test]
    fn other_machines_must_offer_tls_unless_told_otherwise() {
        for (url, mode) in [
            ("postgres://a@localhost/b", SslMode::Disable),
            ("postgres://a@127.0.0.1/b", SslMode::Disable),
            ("postgres://a@[::1]/b", SslMode::Disable),
            ("postgres://a@%2Frun%2Fpostgresql/b", SslMode::Disable),
            ("postgres://a@db.example/b", SslMode::Require),
            ("postgres://a@localhost,db.example/b", SslMode::Require),
            ("postgres://a@db.example/b?sslmode=prefer", SslMode::Require),
            ("postgres://a@db.example/b?sslmode=disable", SslMode::Disable),
            ("postgres://a@localhost/b?sslmode=require", SslMode::Require),
        ] {
            assert_eq!(of(url).unwrap().config().get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = of("postgres://app:hush@db.example:6432/events").unwrap();
        assert_eq!(address.to_string(), "app@db.example:6432/events");
        assert!(!format!("{address:?}").contains("hush"));
        let error = of("hush").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
    }

    #[test]
    fn a_password_of_its_own_beats_that_of_the_url_and_is_looked_up_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "first\n").unwrap();
        let text = format!(
            "url = 'postgres://app:hush@db/events'\npassword = {{ file = '{}' }}",
            path.display()
        );
        let options: PostgresOptions = toml::from_str(&text).unwrap();
        let address = Address::of(&options, &options.url).unwrap();
        assert_eq!(address.config().get_password(), Some(b"first".as_slice()));
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(address.config().get_password(), Some(b"second".as_slice()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(address.config().get_password(), Some(b"second".as_slice()));
    }
}
