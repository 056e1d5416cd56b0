//! The body of a request, whose bytes are counted before they are taken in.
//!
//! gRPC tells the length of a message in front of it. A message for which there is no room is
//! refused there and then: thousands of requests of some megabytes each would otherwise all be
//! taken in before the first one could be refused.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::load::Kind;
use super::scope::Scope;
use super::status::{ServerRefusal, refuse};

/// A flag and four bytes of length.
const PREFIX_BYTES: usize = 5;

/// The body of a request of one message, which keeps its room until it is answered. A session
/// takes room for each of its requests by itself.
pub(crate) struct Intake {
    inner: Body,
    scope: Scope,
    prefix: Vec<u8>,
    /// Bytes of the message at hand that are still to come.
    left: usize,
    refused: bool,
}

impl Intake {
    pub(crate) fn new(inner: Body, scope: Scope) -> Self {
        let prefix = Vec::with_capacity(PREFIX_BYTES);
        Self { inner, scope, prefix, left: 0, refused: false }
    }

    fn look_at(&mut self, mut bytes: Bytes) -> Result<(), Status> {
        while bytes.has_remaining() {
            if self.left > 0 {
                let here = self.left.min(bytes.remaining());
                bytes.advance(here);
                self.left -= here;
                continue;
            }
            self.prefix.push(bytes.get_u8());
            if let [_, a, b, c, d] = self.prefix[..] {
                self.prefix.clear();
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.make_room()?;
            }
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), Status> {
        // What is larger than any message may be is refused by that name, and not even read.
        if self.left > self.scope.message_bytes_max() {
            return Ok(());
        }
        let room = self.scope.take(Kind::Received, self.left);
        let room = room.map_err(|exceeded| {
            self.refused = true;
            refuse(&self.scope, &ServerRefusal::TooManyInFlight(exceeded))
        })?;
        self.scope.keep(room);
        Ok(())
    }
}

impl HttpBody for Intake {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.refused {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(refusal) = self.look_at(bytes.clone())
        {
            return Poll::Ready(Some(Err(refusal)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.refused || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
