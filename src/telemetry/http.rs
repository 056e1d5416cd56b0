//! The HTTP endpoint for machines that watch: `/metrics`, `/healthz` (the process lives) and
//! `/readyz` (it takes requests).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// Whether requests should be sent here. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Standing>);

#[derive(Debug, Default)]
struct Standing {
    is_ready: AtomicBool,
    is_leaving: AtomicBool,
}

impl Readiness {
    pub fn set(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Release);
    }

    /// For good, whatever is set after that.
    pub fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Acquire) && !self.0.is_leaving.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct Shown {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// The format that Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop` resolves.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let shown = Shown { registry: Arc::new(registry), readiness };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(shown);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let mut text = String::with_capacity(16 * 1024);
    let encoded = prometheus_client::encoding::text::encode(&mut text, &shown.registry);
    encoded.expect("text can be written to memory");
    ([(header::CONTENT_TYPE, OPENMETRICS)], text)
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    if shown.readiness.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_not_ready_again() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.set(true);
        assert!(readiness.clone().is_ready());
        readiness.leave();
        readiness.set(true);
        assert!(!readiness.is_ready());
    }
}
