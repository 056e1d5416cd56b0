//! Connections: how many, how old, and what becomes of what is in flight when one ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use streamgate::domain::ObjectKey;
use streamgate::grpc::v1;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::lock::Pauses;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_types::StatusExt;

use crate::kit::{Server, append, connect, history, read};
use crate::migrations::slow;

/// A client that counts how often it connects.
async fn counting(server: &Server) -> (Channel, Arc<AtomicUsize>) {
    let connected = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connected);
    let address = server.app.grpc_address();
    let connector = tower::service_fn(move |_: Uri| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    (endpoint.connect_with_connector(connector).await.unwrap(), connected)
}

#[tokio::test]
async fn an_old_connection_gives_way_to_a_new_one_and_no_append_notices() {
    let server = Server::with(&["[grpc]\nmax_connection_age = '1s'"]).await;
    let (channel, connected) = counting(&server).await;
    let mut events = EventStoreServiceClient::new(channel);
    let mut appended = 0;
    while connected.load(Ordering::Relaxed) < 3 {
        events.append(append("a", &["x"])).await.expect("nobody notices");
        appended += 1;
    }
    let (_, found) = history(&mut events, read("a")).await.unwrap();
    assert_eq!(found.len(), appended, "each append was done once");
}

#[tokio::test]
async fn what_is_in_flight_on_an_old_connection_has_a_grace_to_end_in() {
    let server = Server::with(&["[grpc]\nmax_connection_age = '1s'"]).await;
    let (channel, connected) = counting(&server).await;
    let mut events = EventStoreServiceClient::new(channel);
    events.append(append("a", &["x"])).await.unwrap();
    let key = ObjectKey::new("order", "a").unwrap();
    server.pauses.pause(&key, Duration::from_secs(60)).await.unwrap();
    let mut holder = events.clone();
    let held = tokio::spawn(async move { holder.append(append("a", &["y"])).await });
    server.until_held(1).await;
    while connected.load(Ordering::Relaxed) < 2 {
        let request = append("b", &["x"]);
        if let Err(status) = events.append(request.clone()).await {
            // While something is in flight, this client library refuses one request by itself
            // instead of connecting anew for it; others do not.
            assert_eq!(status.code(), Code::Cancelled, "{status:?}");
            events.append(request).await.expect("it goes on");
        }
    }
    server.pauses.resume(&key).await.unwrap();
    held.await.unwrap().expect("it was answered on the old connection");
}

#[tokio::test]
async fn a_stream_that_outlives_the_grace_is_ended_with_words() {
    let sections = "[grpc]\nmax_connection_age = '1s'\nmax_connection_age_grace = '0s'";
    let mut server = Server::with(&[sections]).await;
    server.events.append(append("a", &["1", "2", "3", "4", "5", "6", "7", "8"])).await.unwrap();
    let started = server.migrations.migrate(slow("a")).await.unwrap().into_inner();
    let migration_id = started.migration.unwrap().migration_id;
    let request = v1::WatchMigrationRequest { migration_id };
    let mut watch = server.migrations.watch_migration(request.clone()).await.unwrap().into_inner();
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if the migration had"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    assert!(ended.message().contains("connect again"), "{ended:?}");
    assert!(ended.get_details_retry_info().is_some(), "{ended:?}");
    let mut watch = server.migrations.watch_migration(request).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("the same client goes on");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_one_that_ends_makes_room() {
    let server = Server::with(&["[grpc]\nconnections_max = 1"]).await;
    let mut events = server.events.clone();
    events.append(append("a", &["x"])).await.unwrap();
    let address = format!("http://{}", server.app.grpc_address());
    let second = Channel::from_shared(address).unwrap().connect_lazy();
    let mut second = EventStoreServiceClient::new(second);
    let status = second.append(append("a", &["y"])).await.unwrap_err();
    assert!(status.get_details_error_info().is_none(), "nobody answered: {status:?}");
    events.append(append("a", &["y"])).await.expect("the first one is served");
    let metrics = server.http("/metrics").await;
    assert!(metrics.contains("streamgate_connections 1"), "{metrics}");
    assert!(!metrics.contains("streamgate_connections_refused_total 0"), "{metrics}");

    let Server { app, channel, events: held, migrations, .. } = server;
    drop((events, held, migrations, channel));
    loop {
        let mut third = EventStoreServiceClient::new(connect(&app).await);
        if third.append(append("a", &["z"])).await.is_ok() {
            break;
        }
    }
}
