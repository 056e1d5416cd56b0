//! What every request is wrapped in, as one layer of tower: one future instead of five.
//!
//! From the outside to the inside, each with its reason:
//! 1. *request id*: taken from `x-request-id` or made, in the log span and in every answer, so
//!    that a client's complaint finds its line in the log;
//! 2. *span and measurement*: one of each a request, whatever it ends with;
//! 3. *bound*: more than so many requests at once are answered `TOO_MANY_IN_FLIGHT` before they
//!    cost memory;
//! 4. *panics*: are answered `INTERNAL` and logged, and end nothing but their own request;
//! 5. *typed refusals*: what the transport refuses by itself (messages too large, bytes that are
//!    no message) gets a reason like every other error.
//!
//! Deadlines are no layer: a service hands the caller's to the proxy (`grpc/deadline.rs`), since
//! only there it is known whether an append that was given up may still be done.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument;

use super::method::Method;
use super::metrics::Outcome;
use super::scope::{REQUEST_ID_HEADER, Scope, Shared};
use super::status::{ServerRefusal, refuse};
use crate::domain::ErrorClass;

#[derive(Clone)]
pub(crate) struct EnvelopeLayer(pub(crate) Arc<Shared>);

#[derive(Clone)]
pub(crate) struct Envelope<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Layer<S> for EnvelopeLayer {
    type Service = Envelope<S>;

    fn layer(&self, inner: S) -> Envelope<S> {
        Envelope { inner, shared: Arc::clone(&self.0) }
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S> Service<Request<Body>> for Envelope<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Order: the service that was polled ready is the one that is called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);

        let method = Method::of(request.uri().path());
        let scope = Scope::begin(&self.shared, method, request.headers());
        let span = scope.span().clone();
        let answer = async move {
            let mut response = if scope.is_one_too_many() {
                let in_flight_max = scope.in_flight_max();
                refuse(&scope, &ServerRefusal::TooManyInFlight { in_flight_max }).into_http()
            } else {
                request.extensions_mut().insert(scope.clone());
                let answer = AssertUnwindSafe(async move { inner.call(request).await });
                match answer.catch_unwind().await {
                    Ok(response) => settled(&scope, response?),
                    Err(panic) => {
                        let detail = panic_text(&*panic).to_owned();
                        refuse(&scope, &ServerRefusal::Bug { detail }).into_http()
                    }
                }
            };
            response.headers_mut().insert(REQUEST_ID_HEADER, scope.header());
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

/// Notes how a request ended, as far as it has, and gives a reason to what has none.
fn settled(scope: &Scope, response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let Some(code) = headers.get("grpc-status") else {
        if !scope.method().streams() {
            scope.settle(Outcome::Ok);
        }
        return response;
    };
    let code = Code::from_bytes(code.as_bytes());
    if scope.method().is_ours()
        && !headers.contains_key("grpc-status-details-bin")
        && let Some(refusal) = refused_by_transport(code, headers)
    {
        return refuse(scope, &refusal).into_http();
    }
    scope.settle(match class_of(code) {
        None => Outcome::Ok,
        Some(class) => Outcome::Error(class),
    });
    response
}

/// The transport's own words for a request that never reached a service. Our own answers with
/// these codes carry details.
fn refused_by_transport(code: Code, headers: &HeaderMap) -> Option<ServerRefusal> {
    let problem = || {
        let status = Status::from_header_map(headers);
        status.map_or_else(String::new, |status| status.message().to_owned())
    };
    match code {
        Code::OutOfRange => Some(ServerRefusal::MessageTooLarge { problem: problem() }),
        Code::Internal => Some(ServerRefusal::NotAMessage { problem: problem() }),
        _ => None,
    }
}

/// The class of a code for labels, where no service said more.
fn class_of(code: Code) -> Option<ErrorClass> {
    match code {
        Code::Ok => None,
        Code::InvalidArgument | Code::OutOfRange => Some(ErrorClass::Invalid),
        Code::DeadlineExceeded | Code::Cancelled => Some(ErrorClass::TimedOut),
        Code::NotFound => Some(ErrorClass::NotFound),
        Code::AlreadyExists => Some(ErrorClass::AlreadyExists),
        Code::PermissionDenied => Some(ErrorClass::Forbidden),
        Code::ResourceExhausted => Some(ErrorClass::Overloaded),
        Code::FailedPrecondition => Some(ErrorClass::Refused),
        Code::Aborted => Some(ErrorClass::Conflict),
        Code::Unimplemented => Some(ErrorClass::Unsupported),
        Code::Unavailable => Some(ErrorClass::Unavailable),
        Code::DataLoss => Some(ErrorClass::Corrupt),
        Code::Unauthenticated => Some(ErrorClass::Unauthenticated),
        Code::Unknown => Some(ErrorClass::OutcomeUnknown),
        Code::Internal => Some(ErrorClass::Bug),
    }
}

/// What a panic said, when it said text.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("a panic without words", String::as_str)
}
