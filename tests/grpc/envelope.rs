//! What goes around every request: ids, limits, deadlines, health, reflection, measurements.

use std::time::Duration;

use streamgate::domain::{ObjectKey, Reason};
use streamgate::grpc::v1;
use streamgate::lock::Pauses;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::kit::{Server, append, object, read, refused};

fn with_id<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    request
}

#[tokio::test]
async fn request_ids_are_echoed_or_made_on_answers_and_errors() {
    let mut server = Server::start().await;
    let answer = server.events.append(with_id(append("a", &["x"]), "mine-1")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine-1");
    let stream = server.events.read(with_id(read("a"), "mine-2")).await.unwrap();
    assert_eq!(stream.metadata().get("x-request-id").unwrap(), "mine-2");
    let error = server.events.read(with_id(read("none"), "mine-3")).await.unwrap_err();
    assert_eq!(error.metadata().get("x-request-id").unwrap(), "mine-3");

    let mut made = std::collections::HashSet::new();
    for id in ["", "two words", &"x".repeat(129)] {
        let answer = server.events.append(with_id(append("a", &["x"]), id)).await.unwrap();
        let id = answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        assert_eq!(id.len(), 16);
        made.insert(id);
    }
    assert_eq!(made.len(), 3, "each request got an id of its own");
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_refused_by_name() {
    let limits = "[limits]\nevent_bytes_max = 100\nbatch_bytes_max = 250\nbatch_events_max = 4";
    let mut server = Server::with(&[limits]).await;
    let at_the_limit = "x".repeat(100);
    server.events.append(append("a", &[&at_the_limit])).await.unwrap();
    let too_large = "x".repeat(101);
    let answer = server.events.append(append("a", &["", &too_large])).await;
    let values = refused(answer, Code::InvalidArgument, Reason::EventTooLarge);
    assert_eq!((&*values["index"], &*values["size"], &*values["limit"]), ("1", "101", "100"));
    let answer = server.events.append(append("a", &["", "", "", "", ""])).await;
    let values = refused(answer, Code::InvalidArgument, Reason::BatchTooLarge);
    assert_eq!((&*values["events"], &*values["events_max"]), ("5", "4"));
    let answer = server.events.append(append("a", &[&at_the_limit, &at_the_limit, "x"])).await;
    refused(answer, Code::InvalidArgument, Reason::BatchTooLarge);

    // So large that the transport refuses to read it.
    let huge = "x".repeat(1024 * 1024);
    let answer = server.events.append(append("a", &[&huge])).await;
    refused(answer, Code::InvalidArgument, Reason::BatchTooLarge);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_name() {
    let server = Server::start().await;
    let answer = send_bytes(&server, "Append", b"\x0a\xff\xff\xff\xff").await;
    refused(answer, Code::InvalidArgument, Reason::InvalidArgument);
}

#[tokio::test]
async fn a_method_that_nobody_serves_is_unimplemented() {
    let server = Server::start().await;
    let status = send_bytes(&server, "Forget", b"").await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.metadata().contains_key("x-request-id"));
}

/// Sends bytes as if they were a message.
async fn send_bytes(
    server: &Server,
    method: &str,
    bytes: &'static [u8],
) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(server.channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/streamgate.v1.EventStoreService/{method}").parse().unwrap();
    let message = raw::Bytes(bytes);
    grpc.unary(Request::new(message), path, raw::Codec).await.map(drop)
}

mod raw {
    //! A codec that sends bytes as they are.

    use bytes::{Buf, BufMut};
    use tonic::Status;
    use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

    pub(super) struct Bytes(pub(super) &'static [u8]);
    #[derive(Default)]
    pub(super) struct Codec;

    impl tonic::codec::Codec for Codec {
        type Encode = Bytes;
        type Decode = ();
        type Encoder = Self;
        type Decoder = Self;
        fn encoder(&mut self) -> Self {
            Self
        }
        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Codec {
        type Item = Bytes;
        type Error = Status;
        fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            buffer.put_slice(item.0);
            Ok(())
        }
    }

    impl Decoder for Codec {
        type Item = ();
        type Error = Status;
        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
            buffer.advance(buffer.remaining());
            Ok(Some(()))
        }
    }
}

fn key(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).unwrap()
}

#[tokio::test]
async fn a_held_append_answers_before_its_own_deadline() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    server.pauses.pause(&key("a"), Duration::from_secs(60)).await.unwrap();
    let mut request = Request::new(append("a", &["y"]));
    request.set_timeout(Duration::from_secs(1));
    let status = server.events.append(request).await.unwrap_err();
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert!(pushback.parse::<u64>().unwrap() > 0);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    refused::<()>(Err(status), Code::Unavailable, Reason::CutoverInProgress);
}

#[tokio::test]
async fn more_than_so_many_requests_at_once_are_refused() {
    let mut server = Server::with(&["[grpc]\nin_flight_max = 2"]).await;
    server.events.append(append("a", &["x"])).await.unwrap();
    server.pauses.pause(&key("a"), Duration::from_secs(60)).await.unwrap();
    let held: Vec<_> = ["y", "z"]
        .map(|payload| {
            let mut events = server.events.clone();
            tokio::spawn(async move { events.append(append("a", &[payload])).await })
        })
        .into();
    server.until_held(2).await;
    let get = v1::GetObjectRequest { object: object("a") };
    let refusal = server.events.get_object(get.clone()).await;
    let values = refused(refusal, Code::ResourceExhausted, Reason::TooManyInFlight);
    assert_eq!(values["in_flight_max"], "2");
    let mut health = HealthClient::new(server.channel.clone());
    health.check(HealthCheckRequest::default()).await.expect("health is not bounded");

    server.pauses.resume(&key("a")).await.unwrap();
    for append in held {
        append.await.unwrap().unwrap();
    }
    server.events.get_object(get).await.unwrap();
}

#[tokio::test]
async fn health_knows_the_server_its_services_and_its_stores() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    for service in [
        "",
        "streamgate.v1.EventStoreService",
        "streamgate.v1.MigrationService",
        "store/hot",
        "store/cold",
    ] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest { service: "store/none".into() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    assert!(server.http("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(server.http("/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let server = Server::start().await;
    let expected = [
        "grpc.health.v1.Health",
        "streamgate.v1.EventStoreService",
        "streamgate.v1.MigrationService",
    ];
    macro_rules! services {
        ($version:ident) => {{
            use pb::server_reflection_request::MessageRequest;
            use pb::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as pb;
            let channel = server.channel.clone();
            let mut client = pb::server_reflection_client::ServerReflectionClient::new(channel);
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let requests = futures::stream::iter([request]);
            let answers = client.server_reflection_info(requests).await.unwrap();
            let answer = answers.into_inner().message().await.unwrap().unwrap();
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for service in expected {
            assert!(services.iter().any(|known| known == service), "{service} in {services:?}");
        }
    }
}

#[tokio::test]
async fn requests_are_measured_by_method_and_outcome() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let stream = server.events.read(read("a")).await.unwrap().into_inner();
    drop(stream);
    server.events.read(read("none")).await.unwrap_err();
    let count = |method: &str, outcome: &str| {
        format!(
            "streamgate_rpc_duration_seconds_count{{method=\"{method}\",outcome=\"{outcome}\"}} 1"
        )
    };
    let metrics = server.http("/metrics").await;
    for expected in [count("Append", "ok"), count("Read", "not_found")] {
        assert!(metrics.contains(&expected), "{expected} in {metrics}");
    }
}
