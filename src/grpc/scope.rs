//! What one request carries through the server: its id, how it ended, and its place among those
//! in flight.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;
use tonic::codegen::http::{Extensions, HeaderMap, HeaderValue, Request};
use tracing::Span;

use super::load::{Connection, Exceeded, Kind, Taken};
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
    message_bytes_max: usize,
}

impl Shared {
    pub(crate) fn new(
        runtime: Runtime,
        metrics: RpcMetrics,
        message_bytes_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self { runtime, metrics, message_bytes_max })
    }
}

/// One request from its first byte to the end of its answer. It is noted when the last copy is
/// dropped, so a stream keeps one for as long as it lives.
#[derive(Clone)]
pub(crate) struct Scope(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    /// The places that it keeps to its end: its own, and that of its message.
    place: OnceLock<Taken>,
    message: OnceLock<Taken>,
    id: HeaderValue,
    method: Method,
    began: Duration,
    outcome: OnceLock<Outcome>,
    span: Span,
}

impl Scope {
    pub(crate) fn begin(shared: &Arc<Shared>, method: Method, request: &Request<Body>) -> Self {
        let connection = request.extensions().get::<Arc<Connection>>();
        let connection = connection.expect("every request comes by a connection");
        let id = chosen_id(request.headers());
        let mut id = id.unwrap_or_else(|| made_id(&*shared.runtime.entropy));
        // No id comes twice, so neither side shall spend a place of its header table on it.
        id.set_sensitive(true);
        let began = shared.runtime.clock.monotonic();
        if method.is_ours() {
            shared.metrics.begun(method);
        }
        let span = tracing::info_span!(
            "rpc",
            { fields::RPC_METHOD } = method.label(),
            { fields::REQUEST_ID } = id.to_str().unwrap_or_default(),
        );
        Self(Arc::new(Inner {
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            place: OnceLock::new(),
            message: OnceLock::new(),
            id,
            method,
            began,
            outcome: OnceLock::new(),
            span,
        }))
    }

    /// Takes the places of a request. One whose answer flows has two: that of a stream to its
    /// end, and that of a request until it flows, which is handed out.
    pub(crate) fn enter(&self) -> Result<Option<Taken>, Exceeded> {
        let inner = &*self.0;
        if !inner.method.is_ours() {
            return Ok(None);
        }
        let request = inner.connection.take(Kind::Request, 1)?;
        let (place, starting) = if inner.method.streams() {
            (inner.connection.take(Kind::Stream, 1)?, Some(request))
        } else {
            (request, None)
        };
        let _ = inner.place.set(place);
        Ok(starting)
    }

    /// Takes room for bytes on the connection of this request.
    pub(crate) fn take(&self, kind: Kind, bytes: usize) -> Result<Taken, Exceeded> {
        self.0.connection.take(kind, bytes)
    }

    /// Keeps the room of the one message of this request until it is answered.
    pub(crate) fn keep(&self, room: Taken) {
        let _ = self.0.message.set(room);
    }

    /// Resolves when streams of this connection have to end.
    pub(crate) fn connection_ending(&self) -> WaitForCancellationFutureOwned {
        self.0.connection.ending()
    }

    /// The largest message that is taken.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.0.shared.message_bytes_max
    }

    /// The scope that the server's layer put into a request.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().expect("the server's layer gives every request a scope").clone()
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

    /// Notes how one of the many requests of a session ended.
    pub(crate) fn note_session_request(&self, outcome: Outcome) {
        self.0.shared.metrics.session_request(outcome);
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
