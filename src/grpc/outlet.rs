//! The body of an answer that flows: counted while it is open, and ended with words when its
//! connection has to end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::load::{Kind, Taken};
use super::scope::Scope;
use super::status::{ServerRefusal, moving_on, refuse};
use crate::runtime::Caller;

/// An answer of many messages, from where it begins to flow to its end.
///
/// What it holds in memory is what it handed to the transport last: the transport asks for more
/// when the client has taken most of that. An answer for which there is no room ends with
/// `TOO_MANY_IN_FLIGHT` and goes on where it was when the client asks again.
pub(crate) struct Outlet {
    inner: Body,
    scope: Scope,
    caller: Caller,
    /// The place among the requests, until the answer flows.
    starting: Option<Taken>,
    unsent: Option<Taken>,
    /// None: it ends by itself, with all that was sent to a store answered.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

impl Outlet {
    pub(crate) fn new(inner: Body, scope: Scope, caller: Caller, starting: Option<Taken>) -> Self {
        let is_session = scope.method().takes_many();
        let ending = (!is_session).then(|| Box::pin(scope.connection_ending()));
        Self { inner, scope, caller, starting, unsent: None, ending, ended: false }
    }

    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(unfit) => Err(unfit),
        }))
    }
}

impl HttpBody for Outlet {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        this.starting = None;
        this.unsent = None;
        if this.ending.as_mut().is_some_and(|ending| ending.as_mut().poll(context).is_ready()) {
            let status = moving_on(&this.scope);
            return this.end_with(&status);
        }
        let inner = Pin::new(&mut this.inner);
        let frame = ready!(this.caller.serve_now(|| inner.poll_frame(context)));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            match this.scope.take(Kind::Unsent, bytes.len()) {
                Ok(unsent) => this.unsent = Some(unsent),
                Err(exceeded) => {
                    let refusal = ServerRefusal::TooManyInFlight(exceeded);
                    let status = refuse(&this.scope, &refusal);
                    return this.end_with(&status);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}
