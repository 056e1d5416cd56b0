//! `EventStoreService`: messages in, the proxy, messages out.

use std::sync::Arc;

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::convert::read::{Ask, What};
use super::convert::{capabilities, event_store as convert, object_key, read};
use super::health::Health;
use super::reading::Reading;
use super::scope::Scope;
use super::status::refuse;
use super::v1::event_store_service_server::EventStoreService;
use super::{deadline, session, v1};
use crate::proxy::Proxy;
use crate::runtime::{Entropy, Shutdown};

/// The service over one proxy.
pub(crate) struct EventStoreApi {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) shutdown: Shutdown,
    pub(crate) health: Health,
    pub(crate) deployment: Uuid,
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

    type AppendSessionStream = BoxStream<v1::AppendSessionResponse>;

    async fn append_session(
        &self,
        request: Request<Streaming<v1::AppendSessionRequest>>,
    ) -> Result<Response<Self::AppendSessionStream>, Status> {
        let scope = Scope::of(request.extensions());
        let (proxy, entropy) = (Arc::clone(&self.proxy), Arc::clone(&self.entropy));
        let shutdown = self.shutdown.clone();
        Ok(Response::new(session::start(proxy, request.into_inner(), scope, shutdown, entropy)))
    }

    type ReadStream = BoxStream<v1::ReadResponse>;

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let scope = Scope::of(request.extensions());
        let ask = read::read(request.into_inner()).map_err(|invalid| refuse(&scope, &invalid))?;
        let Ask { what, checkpoints } = ask;
        let refused = |error| refuse(&scope, &error);
        let answer = match what {
            What::History(command) => {
                let reader = self.proxy.read(command).await.map_err(refused)?;
                Reading::history(reader, checkpoints, scope)
            }
            What::Follow { command, heartbeat_interval } => {
                let reader = self.proxy.read(command).await.map_err(refused)?;
                let follower = reader.follow(heartbeat_interval);
                Reading::follow(follower, self.shutdown.clone(), scope)
            }
            What::Raw(command) => {
                let view = self.proxy.read_raw(command).await.map_err(refused)?;
                Reading::raw(view, checkpoints, Arc::clone(&self.proxy), scope)
            }
        };
        Ok(Response::new(answer))
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

    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        let session_in_flight_max = self.proxy.options().session_in_flight_max;
        let limits = capabilities::to_limits(self.proxy.limits(), session_in_flight_max);
        let stores = self.proxy.stores().iter().map(|(name, store)| {
            let serving = self.health.store_answers(name);
            capabilities::to_store(name, store.capabilities(), &limits, serving)
        });
        Ok(Response::new(v1::GetCapabilitiesResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            deployment: self.deployment.to_string(),
            stores: stores.collect(),
            limits: Some(limits),
            hints: capabilities::to_hints(self.proxy.audience()),
        }))
    }
}
