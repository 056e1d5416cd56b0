//! The answer to a `Read`: a header, then what the reader tells, one message at a time. The next
//! page is fetched when the transport asks for it, so a slow client costs one page of memory.

use std::panic::AssertUnwindSafe;

use futures::{FutureExt, StreamExt};
use tonic::Status;
use tonic::codegen::BoxStream;
use tracing::Instrument;

use super::convert::read as convert;
use super::envelope::panic_text;
use super::metrics::Outcome;
use super::scope::Scope;
use super::status::{ServerRefusal, refuse, stopping};
use super::v1;
use super::v1::read_response::Message;
use crate::domain::StreamAddress;
use crate::proxy::read::{Batch, Followed, Follower, RawStreamView};
use crate::proxy::{HistoryReader, Proxy, ProxyError};
use crate::runtime::Shutdown;

/// One answer on its way out.
pub(super) struct Reading {
    scope: Scope,
    /// Send tokens, and checkpoints for what a filter passes over.
    checkpoints: bool,
    source: Source,
}

enum Source {
    History(HistoryReader),
    Follow {
        follower: Box<Follower>,
        shutdown: Shutdown,
    },
    Raw {
        reader: HistoryReader,
        proxy: std::sync::Arc<Proxy>,
        /// None once its end was told.
        stream: Option<StreamAddress>,
    },
}

impl Reading {
    pub(super) fn history(
        reader: HistoryReader,
        checkpoints: bool,
        scope: Scope,
    ) -> BoxStream<v1::ReadResponse> {
        let header = convert::to_header(&reader);
        Self { scope, checkpoints, source: Source::History(reader) }.into_stream(header)
    }

    /// A follow ends with the server: it would otherwise keep a stopping server from its end.
    pub(super) fn follow(
        follower: Follower,
        shutdown: Shutdown,
        scope: Scope,
    ) -> BoxStream<v1::ReadResponse> {
        let header = convert::to_header(follower.reader());
        let source = Source::Follow { follower: Box::new(follower), shutdown };
        Self { scope, checkpoints: true, source }.into_stream(header)
    }

    pub(super) fn raw(
        view: RawStreamView,
        checkpoints: bool,
        proxy: std::sync::Arc<Proxy>,
        scope: Scope,
    ) -> BoxStream<v1::ReadResponse> {
        let header = convert::to_raw_header(&view);
        let RawStreamView { stream, reader, .. } = view;
        let source = Source::Raw { reader, proxy, stream: Some(stream) };
        Self { scope, checkpoints, source }.into_stream(header)
    }

    fn into_stream(self, header: Message) -> BoxStream<v1::ReadResponse> {
        let header = Ok(self.response(header));
        let rest = futures::stream::try_unfold(self, |mut reading| async {
            let span = reading.scope.span().clone();
            let next = AssertUnwindSafe(reading.next()).catch_unwind().instrument(span).await;
            match next {
                Ok(Ok(Some(response))) => Ok(Some((response, reading))),
                Ok(Ok(None)) => {
                    reading.scope.settle(Outcome::Ok);
                    Ok(None)
                }
                Ok(Err(status)) => Err(status),
                Err(panic) => {
                    let detail = panic_text(&*panic).to_owned();
                    Err(refuse(&reading.scope, &ServerRefusal::Bug { detail }))
                }
            }
        });
        futures::stream::iter([header]).chain(rest).boxed()
    }

    fn response(&self, message: Message) -> v1::ReadResponse {
        let reader = match &self.source {
            Source::History(reader) | Source::Raw { reader, .. } => reader,
            Source::Follow { follower, .. } => follower.reader(),
        };
        let token = if self.checkpoints { reader.resume_token() } else { None };
        convert::to_response(message, token)
    }

    async fn next(&mut self) -> Result<Option<v1::ReadResponse>, Status> {
        loop {
            let told = match &mut self.source {
                Source::History(reader) => {
                    reader.next_batch().await.map(|batch| batch.map(Told::Batch))
                }
                Source::Raw { reader, proxy, stream } => next_raw(reader, proxy, stream).await,
                Source::Follow { follower, shutdown } => {
                    let next = tokio::select! {
                        biased;
                        () = shutdown.begun() => return Err(stopping(&self.scope)),
                        next = follower.next() => next,
                    };
                    next.map(|followed| followed.map(of_followed))
                }
            };
            let message = match told.map_err(|error| refuse(&self.scope, &error))? {
                None => return Ok(None),
                Some(Told::Message(message)) => Some(*message),
                Some(Told::Batch(batch)) => self.of_batch(batch),
            };
            if let Some(message) = message {
                return Ok(Some(self.response(message)));
            }
        }
    }

    /// A batch, or how far a filter got; nothing if nobody wants to know that.
    fn of_batch(&self, batch: Batch) -> Option<Message> {
        let next = batch.next;
        convert::to_batch(batch).or_else(|| self.checkpoints.then(|| convert::to_checkpoint(next)))
    }
}

/// A batch, or a message that is ready.
enum Told {
    Batch(Batch),
    Message(Box<Message>),
}

impl Told {
    fn message(message: Message) -> Self {
        Self::Message(Box::new(message))
    }
}

fn of_followed(followed: Followed) -> Told {
    match followed {
        Followed::Batch(batch) => Told::Batch(batch),
        Followed::CaughtUp(moment) => Told::message(convert::to_caught_up(moment)),
        Followed::FellBehind(moment) => Told::message(convert::to_fell_behind(moment)),
        Followed::Heartbeat(moment) => Told::message(convert::to_heartbeat(moment)),
    }
}

/// The next batch of a stream, and behind the last one how the stream ended.
async fn next_raw(
    reader: &mut HistoryReader,
    proxy: &Proxy,
    stream: &mut Option<StreamAddress>,
) -> Result<Option<Told>, ProxyError> {
    if let Some(batch) = reader.next_batch().await? {
        return Ok(Some(Told::Batch(batch)));
    }
    let Some(stream) = stream.take().filter(|_| reader.is_at_end()) else { return Ok(None) };
    let close = proxy.close_event(&stream).await?;
    Ok(close.map(|close| Told::message(convert::to_close_event(&close))))
}
