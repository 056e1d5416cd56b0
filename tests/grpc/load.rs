//! What is in flight, and what is refused because too much is: counts and bytes, in the whole
//! server and on one connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use streamgate::domain::{ObjectKey, Reason};
use streamgate::grpc::v1;
use streamgate::grpc::v1::append_session_response::Outcome;
use streamgate::lock::Pauses;
use tonic::codegen::http;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

use crate::kit::{Server, append, connect, history, read, refused};
use crate::migrations::slow;

fn key(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).unwrap()
}

/// A migration that takes as long as the test.
async fn migration(server: &mut Server) -> v1::WatchMigrationRequest {
    server.events.append(append("moving", &["1", "2", "3", "4"])).await.unwrap();
    let started = server.migrations.migrate(slow("moving")).await.unwrap().into_inner();
    v1::WatchMigrationRequest { migration_id: started.migration.unwrap().migration_id }
}

async fn watch(
    server: &Server,
    request: &v1::WatchMigrationRequest,
) -> Result<Streaming<v1::WatchMigrationResponse>, Status> {
    let mut migrations = server.migrations.clone();
    let mut watch = migrations.watch_migration(request.clone()).await?.into_inner();
    watch.message().await.unwrap().expect("the current state comes at once");
    Ok(watch)
}

#[tokio::test]
async fn streams_have_a_bound_of_their_own_and_leave_requests_alone() {
    let sections = "[grpc]\nopen_streams_max = 2\nin_flight_max = 1";
    let mut server = Server::with(&[sections]).await;
    let request = migration(&mut server).await;
    let first = watch(&server, &request).await.unwrap();
    let _second = watch(&server, &request).await.unwrap();
    let values = refused(
        watch(&server, &request).await.map(drop),
        Code::ResourceExhausted,
        Reason::TooManyInFlight,
    );
    assert_eq!(values["open_streams_max"], "2");
    server.events.append(append("a", &["x"])).await.expect("streams are no requests in flight");
    assert!(server.http("/metrics").await.contains("streamgate_open_streams 2"));

    drop(first);
    while watch(&server, &request).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_connection_holds_its_share_of_streams() {
    let mut server = Server::with(&["[grpc]\nopen_streams_per_connection_max = 1"]).await;
    let request = migration(&mut server).await;
    let _first = watch(&server, &request).await.unwrap();
    let status = watch(&server, &request).await.unwrap_err();
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"), "{status:?}");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    let refusal = refused::<()>(Err(status), Code::ResourceExhausted, Reason::TooManyInFlight);
    assert_eq!(refusal["open_streams_per_connection_max"], "1");
    server.migrations =
        v1::migration_service_client::MigrationServiceClient::new(connect(&server.app).await);
    watch(&server, &request).await.expect("another connection has a share of its own");
}

/// Holds back an append of so many bytes.
async fn hold(server: &mut Server, bytes: usize) -> tokio::task::JoinHandle<Result<(), Status>> {
    server.events.append(append("held", &["x"])).await.unwrap();
    server.pauses.pause(&key("held"), Duration::from_secs(60)).await.unwrap();
    let mut events = server.events.clone();
    let held = tokio::spawn(async move {
        events.append(append("held", &[&"y".repeat(bytes)])).await.map(drop)
    });
    server.until_held(1).await;
    held
}

#[tokio::test]
async fn bytes_of_requests_are_bounded_too() {
    let mut server = Server::with(&["[grpc]\nin_flight_bytes_max = 1000000"]).await;
    let held = hold(&mut server, 600_000).await;
    let large = append("a", &[&"z".repeat(500_000)]);
    let refusal = server.events.append(large.clone()).await;
    let values = refused(refusal, Code::ResourceExhausted, Reason::TooManyInFlight);
    assert_eq!(values["in_flight_bytes_max"], "1000000");
    server.events.append(append("a", &["small"])).await.expect("there is room for it");

    server.pauses.resume(&key("held")).await.unwrap();
    held.await.unwrap().unwrap();
    server.events.append(large).await.expect("what was answered holds no room");
}

/// The first bytes of a message, and then nothing.
struct OnlyPrefix(Option<Bytes>);

impl http_body::Body for OnlyPrefix {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.take() {
            Some(prefix) => Poll::Ready(Some(Ok(Frame::data(prefix)))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_is_refused_before_it_is_sent() {
    let mut server = Server::with(&["[grpc]\nin_flight_bytes_max = 1000000"]).await;
    let _held = hold(&mut server, 600_000).await;
    let prefix = [&[0][..], &500_000_u32.to_be_bytes()[..]].concat();
    let request = http::Request::post("/streamgate.v1.EventStoreService/Append")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(OnlyPrefix(Some(prefix.into()))))
        .unwrap();
    let answer = server.channel.ready().await.unwrap().call(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    let values = refused::<()>(Err(status), Code::ResourceExhausted, Reason::TooManyInFlight);
    assert_eq!(values["in_flight_bytes_max"], "1000000");
}

#[tokio::test]
async fn answers_that_nobody_takes_do_not_fill_the_memory() {
    let sections = "[grpc]\nin_flight_bytes_max = 3000000";
    let mut server = Server::with(&[sections]).await;
    for _ in 0..4 {
        let payload = "x".repeat(1_000_000);
        server.events.append(append("a", &[&payload, &payload])).await.unwrap();
    }
    let connection = connect(&server.app).await;
    let mut others = v1::event_store_service_client::EventStoreServiceClient::new(connection);
    let mut untaken = Vec::new();
    let refusal = loop {
        assert!(untaken.len() < 100, "nothing bounds what is not taken");
        match server.events.read(read("a")).await {
            Ok(stream) => untaken.push(stream),
            Err(status) => break status,
        }
        if let Err(status) = history(&mut others, read("a")).await {
            break status;
        }
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    let info = refusal.get_details_error_info().unwrap();
    assert_eq!(info.reason, "TOO_MANY_IN_FLIGHT");
    assert_eq!(info.metadata["in_flight_bytes_max"], "3000000");

    drop(untaken);
    while history(&mut others, read("a")).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_waits_for_room_and_is_refused_only_when_others_hold_it() {
    let mut server = Server::with(&["[grpc]\nin_flight_bytes_max = 1000000"]).await;
    let large = |sequence: u64| v1::AppendSessionRequest {
        sequence,
        append: Some(append("a", &[&"z".repeat(500_000)])),
        ..v1::AppendSessionRequest::default()
    };
    let requests = futures::stream::iter((0..8).map(large));
    let mut answers = server.events.append_session(requests).await.unwrap().into_inner();
    for sequence in 0..8 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, sequence);
        let outcome = answer.outcome.unwrap();
        let Outcome::Appended(appended) = outcome else { panic!("{outcome:?}") };
        assert_eq!(appended.first_version, sequence);
    }

    let _held = hold(&mut server, 700_000).await;
    let requests = futures::stream::iter([large(0)]);
    let mut answers = server.events.append_session(requests).await.unwrap().into_inner();
    let refusal = answers.message().await.unwrap().unwrap().outcome.unwrap();
    let Outcome::Error(refusal) = refusal else { panic!("{refusal:?}") };
    assert_eq!(refusal.code, i32::from(Code::ResourceExhausted));
}
