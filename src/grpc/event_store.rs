//! `EventStoreService`: messages in, the proxy, messages out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::convert::event_store as convert;
use super::convert::object_key;
use super::envelope::panic_text;
use super::metrics::Outcome;
use super::scope::Scope;
use super::status::{ServerRefusal, refuse};
use super::v1::event_store_service_server::EventStoreService;
use super::{deadline, v1};
use crate::proxy::{HistoryReader, Proxy};
use crate::runtime::Entropy;

/// The service over one proxy.
pub(crate) struct EventStoreApi {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

#[tonic::async_trait]
impl EventStoreService for EventStoreApi {
    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let deadline = deadline::of(request.metadata().as_ref(), scope.clock());
        let command = convert::append(request.into_inner(), &*self.entropy, deadline)
            .map_err(|invalid| refuse(&scope, &invalid))?;
        let event_ids = convert::event_ids(&command.events);
        match self.proxy.append(command).await {
            Ok(outcome) => Ok(Response::new(convert::to_append_response(outcome, event_ids))),
            Err(error) => Err(refuse(&scope, &error)),
        }
    }

    type ReadStream = BoxStream<v1::ReadResponse>;

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let scope = Scope::of(request.extensions());
        let command =
            convert::read(request.into_inner()).map_err(|invalid| refuse(&scope, &invalid))?;
        let reader = self.proxy.read(command).await.map_err(|error| refuse(&scope, &error))?;
        Ok(Response::new(history(reader, scope)))
    }

    async fn get_object(
        &self,
        request: Request<v1::GetObjectRequest>,
    ) -> Result<Response<v1::GetObjectResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let object =
            object_key(request.into_inner().object).map_err(|invalid| refuse(&scope, &invalid))?;
        let view = self.proxy.object(&object).await.map_err(|error| refuse(&scope, &error))?;
        Ok(Response::new(convert::to_object_response(view)))
    }

    async fn list_objects(
        &self,
        request: Request<v1::ListObjectsRequest>,
    ) -> Result<Response<v1::ListObjectsResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let command =
            convert::list(request.into_inner()).map_err(|invalid| refuse(&scope, &invalid))?;
        let page = self.proxy.list_objects(command).await;
        let page = page.map_err(|error| refuse(&scope, &error))?;
        Ok(Response::new(convert::to_list_response(page)))
    }
}

/// The header, then the batches. The next page is fetched when the transport asks for it, so a
/// slow client costs one page of memory.
fn history(reader: HistoryReader, scope: Scope) -> BoxStream<v1::ReadResponse> {
    let header = Ok(convert::to_header(&reader));
    let batches = futures::stream::try_unfold((reader, scope), |(mut reader, scope)| async {
        let next = AssertUnwindSafe(reader.next_batch()).catch_unwind();
        let next = next.instrument(scope.span().clone()).await;
        match next {
            Ok(Ok(Some(batch))) => Ok(Some((convert::to_batch(batch), (reader, scope)))),
            Ok(Ok(None)) => {
                scope.settle(Outcome::Ok);
                Ok(None)
            }
            Ok(Err(error)) => Err(refuse(&scope, &error)),
            Err(panic) => {
                let detail = panic_text(&*panic).to_owned();
                Err(refuse(&scope, &ServerRefusal::Bug { detail }))
            }
        }
    });
    futures::stream::iter([header]).chain(batches).boxed()
}
