//! What every request is wrapped in, as one layer of tower: one future instead of five.
//!
//! From the outside to the inside, each with its reason:
//! 1. *request id*: taken from `x-request-id` or made, in the log span and in every answer, so
//!    that a client's complaint finds its line in the log;
//! 2. *span and measurement*: one of each a request, whatever it ends with;
//! 3. *bound*: what is more than the server or the connection may have in flight is answered
//!    `TOO_MANY_IN_FLIGHT` before it costs memory;
//! 4. *caller*: until when it waits and whether it still does, for whoever waits further in; a
//!    deadline that passed ends all but an append that was sent, which goes on by itself;
//! 5. *panics*: are answered `INTERNAL` and logged, and end nothing but their own request;
//! 6. *typed refusals*: what the transport refuses by itself (messages too large, bytes that are
//!    no message) gets a reason like every other error.

use std::any::Any;
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

use super::deadline;
use super::intake::Intake;
use super::load::Taken;
use super::method::Method;
use super::metrics::Outcome;
use super::outlet::Outlet;
use super::scope::{REQUEST_ID_HEADER, Scope, Shared};
use super::status::{ServerRefusal, refuse};
use crate::domain::ErrorClass;
use crate::runtime::{Caller, Deadline, DeadlinePassed};

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
        let scope = Scope::begin(&self.shared, method, &request);
        let span = scope.span().clone();
        let answer = async move {
            let mut response = match scope.enter() {
                Ok(starting) => {
                    request.extensions_mut().insert(scope.clone());
                    if method.is_ours() && !method.takes_many() {
                        request = request.map(|body| Body::new(Intake::new(body, scope.clone())));
                    }
                    let answering = Answering::new(&scope, request.headers());
                    answering.answer(starting, async move { inner.call(request).await }).await?
                }
                Err(exceeded) => {
                    refuse(&scope, &ServerRefusal::TooManyInFlight(exceeded)).into_http()
                }
            };
            response.headers_mut().insert(REQUEST_ID_HEADER, scope.header());
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

/// One request that was let in.
struct Answering {
    scope: Scope,
    caller: Caller,
    /// After this the caller of a request of one answer does not listen any more.
    deadline: Option<Deadline>,
}

impl Answering {
    fn new(scope: &Scope, headers: &HeaderMap) -> Self {
        let deadlines = deadline::both(headers, scope.clock());
        let streams = scope.method().streams();
        // A stream's caller sees its own deadline pass and nothing else: it expects that.
        let waits_until = deadlines.map(|it| if streams { it.to_the_last } else { it.to_answer });
        let keeps: Option<Box<dyn Any + Send + Sync>> = Some(Box::new(scope.clone()));
        Self {
            scope: scope.clone(),
            caller: Caller::new(waits_until, keeps),
            deadline: deadlines.map(|it| it.to_the_last).filter(|_| !streams),
        }
    }

    async fn answer<E>(
        self,
        starting: Option<Taken>,
        call: impl Future<Output = Result<Response<Body>, E>>,
    ) -> Result<Response<Body>, E> {
        let Self { scope, caller, deadline } = self;
        let call = AssertUnwindSafe(caller.clone().serve(call)).catch_unwind();
        let answer = match deadline {
            None => Ok(call.await),
            Some(deadline) => deadline.bound(scope.clock(), call).await,
        };
        let response = match answer {
            Ok(Ok(response)) => settled(&scope, response?),
            Ok(Err(panic)) => {
                let detail = panic_text(&*panic).to_owned();
                refuse(&scope, &ServerRefusal::Bug { detail }).into_http()
            }
            Err(DeadlinePassed) => refuse(&scope, &ServerRefusal::DeadlinePassed).into_http(),
        };
        let flows = scope.method().is_ours() && scope.method().streams();
        if !flows || response.headers().contains_key("grpc-status") {
            return Ok(response);
        }
        Ok(response.map(|body| Body::new(Outlet::new(body, scope, caller, starting))))
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
