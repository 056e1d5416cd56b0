//! What one request carries through the server: its id, how it ended, and its place among those
//! in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tonic::codegen::http::{Extensions, HeaderMap, HeaderValue};
use tracing::Span;

use super::method::Method;
use super::metrics::{Outcome, RpcMetrics};
use crate::domain::ErrorClass;
use crate::runtime::{Clock, Entropy, Runtime};
use crate::telemetry::fields;

/// The header by which a client names its request, and under which every answer repeats it.
pub(crate) const REQUEST_ID_HEADER: &str = "x-request-id";

/// Bytes of a request id that a client may choose.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What all requests of one server share.
pub(crate) struct Shared {
    runtime: Runtime,
    metrics: RpcMetrics,
    in_flight_max: usize,
    in_flight: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(runtime: Runtime, metrics: RpcMetrics, in_flight_max: usize) -> Arc<Self> {
        Arc::new(Self { runtime, metrics, in_flight_max, in_flight: AtomicUsize::new(0) })
    }
}

/// One request from its first byte to the end of its answer. It is noted when the last copy is
/// dropped, so a stream keeps one for as long as it lives.
#[derive(Clone)]
pub(crate) struct Scope(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    id: HeaderValue,
    method: Method,
    began: Duration,
    outcome: OnceLock<Outcome>,
    span: Span,
}

impl Scope {
    pub(crate) fn begin(shared: &Arc<Shared>, method: Method, headers: &HeaderMap) -> Self {
        let id = chosen_id(headers).unwrap_or_else(|| made_id(&*shared.runtime.entropy));
        let began = shared.runtime.clock.monotonic();
        if method.is_ours() {
            shared.in_flight.fetch_add(1, Ordering::Relaxed);
            shared.metrics.begun();
        }
        let span = tracing::info_span!(
            "rpc",
            { fields::RPC_METHOD } = method.label(),
            { fields::REQUEST_ID } = id.to_str().unwrap_or_default(),
        );
        let (shared, outcome) = (Arc::clone(shared), OnceLock::new());
        Self(Arc::new(Inner { shared, id, method, began, outcome, span }))
    }

    /// The scope that the server's layer put into a request.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().expect("the server's layer gives every request a scope").clone()
    }

    /// Whether more requests are in flight than the server takes on.
    pub(crate) fn is_one_too_many(&self) -> bool {
        let inner = &*self.0;
        inner.method.is_ours()
            && inner.shared.in_flight.load(Ordering::Relaxed) > inner.shared.in_flight_max
    }

    pub(crate) fn in_flight_max(&self) -> usize {
        self.0.shared.in_flight_max
    }

    /// The span of this request, for work that goes on after the answer began.
    pub(crate) fn span(&self) -> &Span {
        &self.0.span
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.id.clone()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.0.id.to_str().unwrap_or_default()
    }

    pub(crate) fn method(&self) -> Method {
        self.0.method
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.shared.runtime.clock
    }

    /// How the request ended. The first word counts.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let _ = self.0.outcome.set(outcome);
    }

    pub(crate) fn settle_error(&self, class: ErrorClass) {
        self.settle(Outcome::Error(class));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.method.is_ours() {
            return;
        }
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Nobody said how it ended: the client went away.
        let outcome = self.outcome.get().copied().unwrap_or(Outcome::Cancelled);
        let took = self.shared.runtime.clock.monotonic().saturating_sub(self.began);
        self.shared.metrics.ended(self.method, outcome, took);
    }
}

/// The client's own id, if it is short and visible text.
fn chosen_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID_HEADER)?;
    let is_visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
    (is_visible && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())).then(|| id.clone())
}

fn made_id(entropy: &dyn Entropy) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let number = entropy.next_u64();
    let digits: [u8; 16] =
        std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place)) as usize & 15]);
    HeaderValue::from_bytes(&digits).expect("hexadecimal digits are visible text")
}
