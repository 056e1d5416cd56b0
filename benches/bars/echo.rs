//! The other side of the network: a bare tonic server of the same messages, which answers from
//! what it was given and keeps nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use streamgate::grpc::v1;
use streamgate::grpc::v1::append_session_response::Outcome;
use streamgate::grpc::v1::event_store_service_server::{
    EventStoreService, EventStoreServiceServer,
};
use tokio::net::TcpListener;
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::Failure;

pub(crate) struct Echo {
    /// Dropping it ends the server.
    _threads: tokio::runtime::Runtime,
    pub(crate) address: SocketAddr,
}

struct Answers {
    /// What every read is answered with.
    history: Arc<Vec<v1::ReadResponse>>,
}

impl Echo {
    pub(crate) fn start(history: Vec<v1::ReadResponse>) -> Result<Self, Failure> {
        let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = threads.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let service = EventStoreServiceServer::new(Answers { history: Arc::new(history) });
        threads.spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let ended = Server::builder().add_service(service).serve_with_incoming(incoming).await;
            ended.expect("the echo ends only with its runtime");
        });
        Ok(Self { _threads: threads, address })
    }
}

#[tonic::async_trait]
impl EventStoreService for Answers {
    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let request = request.into_inner();
        let event_ids: Vec<String> = request.events.into_iter().map(|it| it.event_id).collect();
        Ok(Response::new(v1::AppendResponse {
            first_version: 0,
            last_version: event_ids.len() as u64,
            replay: false,
            event_ids,
        }))
    }

    type AppendSessionStream = BoxStream<v1::AppendSessionResponse>;

    async fn append_session(
        &self,
        request: Request<Streaming<v1::AppendSessionRequest>>,
    ) -> Result<Response<Self::AppendSessionStream>, Status> {
        let answers = request.into_inner().map(|request| {
            let v1::AppendSessionRequest { sequence, append, .. } = request?;
            let events = append.map(|append| append.events).unwrap_or_default();
            let outcome = Outcome::Appended(v1::AppendResponse {
                last_version: events.len() as u64,
                event_ids: events.into_iter().map(|it| it.event_id).collect(),
                ..v1::AppendResponse::default()
            });
            Ok(v1::AppendSessionResponse { sequence, outcome: Some(outcome) })
        });
        Ok(Response::new(answers.boxed()))
    }

    type ReadStream = BoxStream<v1::ReadResponse>;

    async fn read(
        &self,
        _: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let history = Arc::clone(&self.history);
        let places = futures::stream::iter(0..history.len());
        Ok(Response::new(places.map(move |place| Ok(history[place].clone())).boxed()))
    }

    async fn get_object(
        &self,
        _: Request<v1::GetObjectRequest>,
    ) -> Result<Response<v1::GetObjectResponse>, Status> {
        Err(Status::unimplemented("an echo has no objects"))
    }

    async fn list_objects(
        &self,
        _: Request<v1::ListObjectsRequest>,
    ) -> Result<Response<v1::ListObjectsResponse>, Status> {
        Err(Status::unimplemented("an echo has no objects"))
    }

    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("an echo promises nothing"))
    }
}
