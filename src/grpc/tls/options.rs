//! Which files hold certificate and key, who has to show a certificate, and how long that may take.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::InvalidValue;
use crate::runtime::duration_text;

/// How the server proves who it is, and whether clients have to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// The certificate of this server and those between it and the one that clients trust, as PEM,
    /// its own first. None: no TLS.
    pub cert_file: Option<PathBuf>,
    /// The private key to it, as PEM.
    pub key_file: Option<PathBuf>,
    /// Certificates, as PEM, of which one must have signed what a client shows. None: clients are
    /// asked for no certificate.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client without a certificate is let in where `client_ca_file` asks for one.
    pub client_auth: ClientAuth,
    /// The longest from a connection to the end of its handshake.
    #[serde(with = "duration_text")]
    pub handshake_timeout: Duration,
    /// Handshakes at once; more wait for their turn, within that time.
    pub handshakes_max: usize,
    /// How often the files are looked at for what has changed.
    #[serde(with = "duration_text")]
    pub reload_interval: Duration,
}

/// What a client without a certificate may do. One that shows a wrong certificate is refused in
/// either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    #[default]
    Required,
    Optional,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            client_auth: ClientAuth::Required,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 256,
            reload_interval: Duration::from_secs(10),
        }
    }
}

impl TlsOptions {
    /// Whether connections are encrypted.
    pub fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }

    /// Refuses what could never work. The files are not looked at.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        let is_key_named = self.key_file.is_some();
        if self.is_on() && !is_key_named {
            faults.push(InvalidValue::new("key_file", "must be named beside cert_file"));
        }
        if !self.is_on() && is_key_named {
            faults.push(InvalidValue::new("cert_file", "must be named beside key_file"));
        }
        if self.client_ca_file.is_some() && !self.is_on() && !is_key_named {
            let problem = "asks for certificates of clients, which takes cert_file and key_file";
            faults.push(InvalidValue::new("client_ca_file", problem));
        }
        if self.client_auth == ClientAuth::Optional && self.client_ca_file.is_none() {
            let problem = "says something about client_ca_file, which is not named";
            faults.push(InvalidValue::new("client_auth", problem));
        }
        for (field, value) in [
            ("handshake_timeout", self.handshake_timeout),
            ("reload_interval", self.reload_interval),
        ] {
            if value < Duration::from_millis(100) {
                faults.push(InvalidValue::new(field, "must be at least 100ms"));
            }
        }
        if self.handshakes_max == 0 {
            faults.push(InvalidValue::new("handshakes_max", "must be at least 1"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_work_is_refused_by_name() {
        let fields = |options: TlsOptions| -> Vec<String> {
            options.check().into_iter().map(|fault| fault.field).collect()
        };
        let off = TlsOptions::default;
        let file = || Some(PathBuf::from("a.pem"));
        assert_eq!(fields(off()), [""; 0]);
        assert_eq!(fields(TlsOptions { cert_file: file(), ..off() }), ["key_file"]);
        assert_eq!(fields(TlsOptions { key_file: file(), ..off() }), ["cert_file"]);
        assert_eq!(fields(TlsOptions { client_ca_file: file(), ..off() }), ["client_ca_file"]);
        let on = || TlsOptions { cert_file: file(), key_file: file(), ..off() };
        assert_eq!(fields(on()), [""; 0]);
        let asking = TlsOptions { client_auth: ClientAuth::Optional, ..on() };
        assert_eq!(fields(asking.clone()), ["client_auth"]);
        assert_eq!(fields(TlsOptions { client_ca_file: file(), ..asking }), [""; 0]);
        let hasty = TlsOptions {
            handshake_timeout: Duration::ZERO,
            handshakes_max: 0,
            reload_interval: Duration::ZERO,
            ..on()
        };
        assert_eq!(fields(hasty), ["handshake_timeout", "reload_interval", "handshakes_max"]);
    }
}
