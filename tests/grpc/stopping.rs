//! A graceful stop: what is in flight ends, what watches is let go, what is new is refused.

use std::net::SocketAddr;
use std::time::Duration;

use streamgate::app::Stopped;
use streamgate::domain::ObjectKey;
use streamgate::grpc::v1;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::lock::Pauses;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::kit::{Server, append, get};
use crate::migrations::migrate;

fn key(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).unwrap()
}

#[tokio::test]
async fn an_append_in_flight_ends_and_the_stop_waits_for_it() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    server.pauses.pause(&key("a"), Duration::from_secs(60)).await.unwrap();
    let mut events = server.events.clone();
    let held = tokio::spawn(async move { events.append(append("a", &["y"])).await });
    server.until_held(1).await;

    let (pauses, app) = (server.pauses.clone(), server.app);
    let stop = tokio::spawn(app.stop());
    let mut health = HealthClient::new(server.channel.clone());
    while health.check(HealthCheckRequest::default()).await.is_ok_and(|answer| {
        answer.into_inner().status() == tonic_health::ServingStatus::Serving.into()
    }) {
        tokio::task::yield_now().await;
    }
    assert!(!stop.is_finished());
    pauses.resume(&key("a")).await.unwrap();
    held.await.unwrap().expect("what was in flight ends well");
    assert_eq!(stop.await.unwrap(), Stopped::InTime);
}

async fn health_of(channel: &Channel) -> ServingStatus {
    let mut health = HealthClient::new(channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn a_stop_is_announced_while_everything_is_still_served() {
    let settings = "[server]\ndrain_delay = '1h'\nhealth_interval = '100ms'";
    let mut server = Server::with(&[settings]).await;
    let mut watch = HealthClient::new(server.channel.clone());
    let mut watch = watch.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    server.events.append(append("a", &["x"])).await.unwrap();
    assert!(server.http("/readyz").await.starts_with("HTTP/1.1 200"));
    let (grpc, http) = (server.app.grpc_address(), server.app.http_address().unwrap());
    let mut stop = std::pin::pin!(server.app.stop());

    let meanwhile = async {
        let told = watch.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::NotServing);
        let new = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
        assert_eq!(health_of(&new).await, ServingStatus::NotServing);
        let mut events = EventStoreServiceClient::new(new);
        // The stores are asked again and again, and their answers make nobody ready any more.
        let looks = asked(http).await;
        while asked(http).await == looks {
            events.append(append("a", &["y"])).await.expect("it is served until the delay is over");
        }
        assert!(get(http, "/readyz").await.starts_with("HTTP/1.1 503"));
        server.events.append(append("a", &["z"])).await.expect("on the old connection as well");
    };
    tokio::select! {
        biased;
        stopped = &mut stop => panic!("it did not wait: {stopped:?}"),
        () = meanwhile => {}
    }
}

/// How often the stores were asked for what is not there, which is how health asks.
async fn asked(http: SocketAddr) -> Vec<String> {
    let metrics = get(http, "/metrics").await;
    let counts = metrics.lines().filter(|line| {
        line.starts_with("streamgate_store_call_duration_seconds_count")
            && line.contains("\"tail\"")
            && line.contains("not_found")
    });
    counts.map(str::to_owned).collect()
}

#[tokio::test]
async fn when_the_delay_is_over_the_stop_goes_on_by_itself() {
    let server = Server::with(&["[server]\ndrain_delay = '50ms'"]).await;
    let address = server.app.grpc_address();
    assert_eq!(server.app.stop().await, Stopped::InTime);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_stop_lets_go_of_watches_and_says_to_connect_again() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1", "2", "3"])).await.unwrap();
    let options = v1::MigrationOptions {
        events_per_second_max: Some(1),
        page_events_max: 1,
        ..v1::MigrationOptions::default()
    };
    let request = v1::MigrateRequest { options: Some(options), ..migrate("a", "cold") };
    let started = server.migrations.migrate(request).await.unwrap().into_inner();
    let migration_id = started.migration.unwrap().migration_id;
    let watch = v1::WatchMigrationRequest { migration_id };
    let mut watch = server.migrations.watch_migration(watch).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("the current state comes at once");
    let mut health = HealthClient::new(server.channel.clone());
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    health.message().await.unwrap().expect("the current state comes at once");

    let stop = tokio::spawn(server.app.stop());
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if the migration had"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    while let Ok(Some(_)) = health.message().await {}
    assert_eq!(stop.await.unwrap(), Stopped::InTime);
}

#[tokio::test]
async fn a_stop_that_takes_too_long_says_so() {
    let mut server = Server::with(&["[server]\ngrace_period = '50ms'"]).await;
    server.events.append(append("a", &["x"])).await.unwrap();
    server.pauses.pause(&key("a"), Duration::from_secs(60)).await.unwrap();
    let mut events = server.events.clone();
    let held = tokio::spawn(async move { events.append(append("a", &["y"])).await });
    server.until_held(1).await;
    assert_eq!(server.app.stop().await, Stopped::CutOff);
    assert!(!held.is_finished(), "it waits for an answer that ends with the process");
    held.abort();
}
