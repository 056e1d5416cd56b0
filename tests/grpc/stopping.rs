//! A graceful stop: what is in flight ends, what watches is let go, what is new is refused.

use std::time::Duration;

use streamgate::app::Stopped;
use streamgate::domain::ObjectKey;
use streamgate::grpc::v1;
use streamgate::lock::Pauses;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::kit::{Server, append};
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
