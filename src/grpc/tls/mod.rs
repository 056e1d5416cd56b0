//! TLS: the certificate that clients are shown, whose certificates are let in, and how both are
//! renewed under a running server.
//!
//! Reading order: [`options`], `files` (what the files hold, made into what handshakes need),
//! `handshakes` (bounded in time and number), `renewal` (files that changed).
//!
//! A handshake takes what is in force when it begins and keeps it, so a renewal touches no open
//! connection. What the files hold is either taken whole or not at all.

mod files;
mod handshakes;
pub mod options;
mod renewal;

use std::sync::{Arc, RwLock};

use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use self::files::Loaded;
use self::renewal::Known;
use super::metrics::TlsMetrics;
use crate::domain::{InvalidValue, Timestamp};
use crate::runtime::Runtime;

pub use options::{ClientAuth, TlsOptions};

/// What the handshakes of one server are made with.
pub struct Tls {
    options: TlsOptions,
    runtime: Runtime,
    metrics: TlsMetrics,
    in_force: RwLock<Arc<rustls::ServerConfig>>,
    /// One for each handshake that may be under way.
    places: Semaphore,
    known: std::sync::Mutex<Known>,
}

impl Tls {
    /// Reads the files that the options name; none when they name none.
    ///
    /// # Errors
    ///
    /// The setting that names a file which cannot be read, or holds what it should not, and why.
    pub fn load(
        options: &TlsOptions,
        runtime: &Runtime,
        registry: &mut Registry,
    ) -> Result<Option<Arc<Self>>, InvalidValue> {
        let Some(loaded) = options.load()? else { return Ok(None) };
        let Loaded { config, contents, validity } = loaded;
        let now = runtime.clock.now();
        validity.tell(now, "serving with TLS");
        let metrics = TlsMetrics::new(registry);
        metrics.certificate_expires(validity.not_after);
        Ok(Some(Arc::new(Self {
            places: Semaphore::new(options.handshakes_max.min(Semaphore::MAX_PERMITS)),
            options: options.clone(),
            runtime: runtime.clone(),
            metrics,
            in_force: RwLock::new(config),
            known: std::sync::Mutex::new(Known::in_force(contents)),
        })))
    }

    fn in_force(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.in_force.read().expect("no holder panics"))
    }
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    /// Why clients refuse the certificate at this moment, if they do.
    fn fault(self, now: Timestamp) -> Option<String> {
        if now > self.not_after {
            return Some(format!("it expired at {}", self.not_after));
        }
        (now < self.not_before).then(|| format!("it does not hold before {}", self.not_before))
    }

    /// `event`, and when the certificate ends; a warning if no client will take it.
    fn tell(self, now: Timestamp, event: &'static str) {
        let expires = self.not_after;
        match self.fault(now) {
            None => tracing::info!(certificate.expires = %expires, "{event}"),
            Some(fault) => tracing::warn!(
                certificate.expires = %expires,
                fault,
                "clients will refuse the certificate"
            ),
        }
    }
}
