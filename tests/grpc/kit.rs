//! A server in this process on ports of the system's choice, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use streamgate::app::{App, AppParts, Listeners, Resources, registry};
use streamgate::config::{Config, Layers};
use streamgate::coordination::{InProcessHints, InProcessPauses};
use streamgate::domain::Reason;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::grpc::v1::migration_service_client::MigrationServiceClient;
use streamgate::grpc::v1::{self, expected_version::Kind};
use streamgate::runtime::Runtime;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub(crate) const TWO_STORES: &str = "
    [[stores]]
    name = 'hot'
    kind = 'memory'
    [[stores]]
    name = 'cold'
    kind = 'memory'
";

/// One running proxy and clients of it.
pub(crate) struct Server {
    pub(crate) app: App,
    pub(crate) resources: Resources,
    pub(crate) pauses: Arc<InProcessPauses>,
    pub(crate) channel: Channel,
    pub(crate) events: EventStoreServiceClient<Channel>,
    pub(crate) migrations: MigrationServiceClient<Channel>,
}

pub(crate) fn config(text: &str) -> Config {
    let file = Some(("test.toml".into(), text.to_owned()));
    Config::assemble(Layers { file, ..Layers::default() }).unwrap()
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With sections beside the two stores.
    pub(crate) async fn with(sections: &[&str]) -> Self {
        let config = config(&(sections.join("\n") + TWO_STORES));
        let runtime = Runtime::system();
        let mut registry = registry();
        let resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
        Self::measured(config, resources, registry).await
    }

    /// Over stores that others may use as well, whom it does not hear: a stale route stays stale.
    pub(crate) async fn over(config: Config, mut resources: Resources) -> Self {
        resources.hints = Arc::new(InProcessHints::default());
        Self::measured(config, resources, registry()).await
    }

    async fn measured(config: Config, mut resources: Resources, registry: Registry) -> Self {
        let runtime = Runtime::system();
        let clock = Arc::clone(&runtime.clock);
        let pauses = Arc::new(InProcessPauses::new(config.coordination.hold(), clock));
        resources.pauses = pauses.clone();
        let listeners = Listeners {
            grpc: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            http: Some(TcpListener::bind("127.0.0.1:0").await.unwrap()),
        };
        let app = App::start(AppParts {
            config,
            runtime,
            resources: resources.clone(),
            listeners,
            registry,
        });
        let app = app.await.unwrap();
        // It connects when it is first used, which a server with TLS does not answer.
        let channel = endpoint(&app).connect_lazy();
        let events = EventStoreServiceClient::new(channel.clone());
        let migrations = MigrationServiceClient::new(channel.clone());
        Self { app, resources, pauses, channel, events, migrations }
    }

    /// Waits until so many appends are held back.
    pub(crate) async fn until_held(&self, count: usize) {
        while self.pauses.held() < count {
            tokio::task::yield_now().await;
        }
    }

    /// What the HTTP endpoint answers.
    pub(crate) async fn http(&self, path: &str) -> String {
        get(self.app.http_address().unwrap(), path).await
    }
}

/// What is answered over HTTP, head and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) async fn connect(app: &App) -> Channel {
    endpoint(app).connect().await.unwrap()
}

fn endpoint(app: &App) -> Endpoint {
    Channel::from_shared(format!("http://{}", app.grpc_address())).unwrap()
}

pub(crate) fn object(id: &str) -> Option<v1::ObjectRef> {
    Some(v1::ObjectRef { object_name: "order".into(), object_id: id.into() })
}

pub(crate) fn event(payload: &str) -> v1::NewEvent {
    v1::NewEvent {
        event_id: uuid(),
        event_type: "OrderPlaced".into(),
        content_type: "text/plain".into(),
        payload: payload.to_owned().into(),
        ..v1::NewEvent::default()
    }
}

/// A fresh id.
pub(crate) fn uuid() -> String {
    Runtime::system().entropy.uuid().to_string()
}

pub(crate) fn append(id: &str, payloads: &[&str]) -> v1::AppendRequest {
    v1::AppendRequest {
        object: object(id),
        events: payloads.iter().map(|payload| event(payload)).collect(),
        ..v1::AppendRequest::default()
    }
}

pub(crate) fn expecting(kind: Kind, request: v1::AppendRequest) -> v1::AppendRequest {
    let expected_version = Some(v1::ExpectedVersion { kind: Some(kind) });
    v1::AppendRequest { expected_version, ..request }
}

pub(crate) fn read(id: &str) -> v1::ReadRequest {
    v1::ReadRequest { object: object(id), ..v1::ReadRequest::default() }
}

/// The header and all events of a read.
pub(crate) async fn history(
    events: &mut EventStoreServiceClient<Channel>,
    request: v1::ReadRequest,
) -> Result<(v1::ReadHeader, Vec<v1::RecordedEvent>), Status> {
    use v1::read_response::Message;
    let mut stream = events.read(request).await?.into_inner();
    let first = stream.message().await?.and_then(|response| response.message);
    let Some(Message::Header(header)) = first else { panic!("no header, but {first:?}") };
    let mut found = Vec::new();
    while let Some(response) = stream.message().await? {
        let Some(Message::Batch(batch)) = response.message else { panic!("{response:?}") };
        found.extend(batch.events);
        assert_eq!(batch.next_version, found.last().unwrap().version + 1);
    }
    Ok((header, found))
}

pub(crate) fn payloads(events: &[v1::RecordedEvent]) -> Vec<&str> {
    events.iter().map(|event| std::str::from_utf8(&event.payload).unwrap()).collect()
}

/// Asserts the words of an error, and hands out its dynamic values.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: Reason,
) -> std::collections::HashMap<String, String> {
    let status = answer.unwrap_err();
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("without ErrorInfo: {status:?}"));
    assert_eq!((status.code(), info.reason.as_str()), (code, reason.as_str()), "{status:?}");
    assert_eq!(info.domain, "streamgate");
    assert!(status.metadata().contains_key("x-request-id"), "{status:?}");
    info.metadata
}

/// The fields that an error finds fault with, sorted.
#[track_caller]
pub(crate) fn faults<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_ARGUMENT");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert!(violations.iter().all(|violation| !violation.description.is_empty()));
    let mut fields: Vec<String> = violations.into_iter().map(|it| it.field).collect();
    fields.sort();
    fields
}
