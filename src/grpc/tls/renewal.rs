//! Files that changed under a running server: taken whole, or the old ones stay in force.

use std::sync::Arc;

use super::Tls;
use super::files::{Contents, Loaded};
use crate::domain::InvalidValue;
use crate::grpc::metrics::Reload;

/// What is known of the files, so that each change is told once.
pub(super) struct Known {
    in_force: Contents,
    /// What was wrong with them when they were last looked at.
    fault: Option<String>,
}

impl Known {
    pub(super) fn in_force(contents: Contents) -> Self {
        Self { in_force: contents, fault: None }
    }
}

impl Tls {
    /// Looks at the files until the server is told to stop.
    pub(in crate::grpc) async fn watch(self: Arc<Self>) {
        let (shutdown, clock) = (&self.runtime.shutdown, &self.runtime.clock);
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => return,
                () = clock.sleep(self.options.reload_interval) => {}
            }
            let options = self.options.clone();
            // Files may lie where reading blocks.
            let looked = tokio::task::spawn_blocking(move || options.load()).await;
            let Ok(looked) = looked else { return };
            if let Some(loaded) = looked.transpose() {
                self.renew(loaded);
            }
        }
    }

    /// Takes what the files hold, if it is new and clients can take it.
    fn renew(&self, looked: Result<Loaded, InvalidValue>) {
        let mut known = self.known.lock().expect("no holder panics");
        let now = self.runtime.clock.now();
        let usable = looked.map_err(|fault| fault.to_string()).and_then(|loaded| {
            // What is in force stays so, also when it has expired: there is nothing better.
            let is_new = loaded.contents != known.in_force;
            match loaded.validity.fault(now).filter(|_| is_new) {
                Some(fault) => Err(format!("cert_file: {fault}")),
                None => Ok((loaded, is_new)),
            }
        });
        match usable {
            Err(fault) => {
                if known.fault.as_ref() != Some(&fault) {
                    tracing::warn!(fault, "new TLS files cannot be used, the old ones stay");
                    self.metrics.reloaded(Reload::Refused);
                    known.fault = Some(fault);
                }
            }
            Ok((_, false)) => known.fault = None,
            Ok((Loaded { config, contents, validity }, true)) => {
                *self.in_force.write().expect("no holder panics") = config;
                *known = Known::in_force(contents);
                self.metrics.certificate_expires(validity.not_after);
                self.metrics.reloaded(Reload::Taken);
                validity.tell(now, "took new TLS files");
            }
        }
    }
}
