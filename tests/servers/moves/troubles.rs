//! Stores that restart, cut connections, throttle or grow slow under appends and migrations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamgate::runtime::SystemClock;
use tokio::task::spawn_blocking;

use super::endurance::{Course, endure};
use super::in_process::InProcess;
use super::{Kind, kinds};
use crate::own_server::OwnServer;
use crate::relay::{Pace, Relay};
use crate::s3::kit::{Fate, Place, Relay as S3Relay};
use crate::service::variable;

/// Events that are acknowledged between two troubles.
const BETWEEN: u64 = 40;

/// Endures the trouble with one proxy that is written through and one that moves, over a store
/// that has it and keeps the documents, and one that has none.
async fn endure_over(hot: &str, trouble: impl AsyncFnOnce(&Course)) {
    let settings = hot.to_owned() + &Kind::Embedded.settings("cold").await;
    let mover = InProcess::over(&settings, Arc::new(SystemClock)).await;
    let front = mover.another().await;
    endure((&front.client(), &mover.client()), trouble).await;
    front.stop().await;
    mover.stop().await;
}

/// Stops the server that keeps the store and the documents until clients are told of it, and
/// starts it again. Proxies ride over a quick restart, so that nobody may be told of that.
async fn restarts_under_way(hot: &str, server: OwnServer, times: u32) {
    let server = Arc::new(server);
    endure_over(hot, async |course| {
        for _ in 0..times {
            course.events(BETWEEN).await;
            ask(&server, OwnServer::restart).await;
            course.events(BETWEEN).await;
            ask(&server, OwnServer::stop).await;
            course.refused(1).await;
            ask(&server, OwnServer::start_again).await;
        }
    })
    .await;
}

async fn ask(server: &Arc<OwnServer>, what: fn(&OwnServer)) {
    let server = Arc::clone(server);
    spawn_blocking(move || what(&server)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_restarts_under_appends_and_migrations() {
    let server = OwnServer::postgres();
    restarts_under_way(&kinds::postgres_at("hot", &server.place), server, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_loses_its_connections_under_appends_and_migrations() {
    let url = variable("STREAMGATE_TEST_POSTGRES_URL");
    let (_, place) = url.split_once('@').expect("the URL names a user");
    let (server, _) = place.split_once('/').expect("and a database");
    let relay = Relay::before(server).await;
    let hot = kinds::postgres_at("hot", &url.replace(server, &relay.address.to_string()));
    endure_over(&hot, async |course| {
        for _ in 0..40 {
            course.events(BETWEEN / 4).await;
            relay.cut();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_restarts_under_appends_and_migrations() {
    let server = OwnServer::azure_blob();
    restarts_under_way(&kinds::azure_blob_at("hot", &server.place), server, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cosmos_throttles_appends_and_migrations() {
    let account = crate::cosmos::kit::Account::new();
    let hot = kinds::cosmos_in("hot", &account.options.database);
    endure_over(&hot, async |course| {
        for round in 0..20 {
            course.events(BETWEEN).await;
            for on in ["batch", "query", "read", "write"] {
                let delay = format!("throttle&retry_after_ms={}", 5 + 10 * (round % 4));
                account.rehearse(&delay, on, 5).await;
            }
        }
    })
    .await;
}

const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n\
    Connection: close\r\n\r\n<Error><Code>SlowDown</Code><Message/></Error>";

#[tokio::test(flavor = "multi_thread")]
async fn s3_throttles_appends_and_migrations() {
    let place = Place::new().await;
    let relay = S3Relay::start().await;
    let hot = kinds::s3_at("hot", &relay.endpoint, &place.options.bucket);
    let refused = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refused);
    endure_over(&hot, async |course| {
        for _ in 0..10 {
            course.events(BETWEEN).await;
            let (counted, mut number) = (Arc::clone(&counted), 0_u32);
            relay.plan(move |_| {
                number += 1;
                // Bursts that are longer than the tries of one call.
                if number % 24 < 12 {
                    counted.fetch_add(1, Ordering::Relaxed);
                    Fate::Answer(SLOW_DOWN)
                } else {
                    Fate::Pass
                }
            });
            course.events(BETWEEN).await;
            relay.pass();
        }
    })
    .await;
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > 50, "{refused} requests were refused");
}

/// Slower than a proxy waits: what was written is in doubt, and is found again.
async fn grows_slow(kind: Kind, server: &str) {
    const CALL: Duration = Duration::from_millis(400);
    let relay = Relay::before(server).await;
    let hot = kind.settings("hot").await.replace(server, &relay.address.to_string());
    let calls = format!("[store_calls]\nread_timeout = '{0:?}'\nwrite_timeout = '{0:?}'\n", CALL);
    endure_over(&(calls + &hot), async |course| {
        for _ in 0..3 {
            course.events(BETWEEN).await;
            relay.set(Pace::Slow(CALL / 4));
            course.events(BETWEEN).await;
            relay.set(Pace::Slow(3 * CALL));
            course.troubles(10).await;
            relay.set(Pace::Pass);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_grows_slow_under_appends_and_migrations() {
    let url = variable("STREAMGATE_TEST_POSTGRES_URL");
    let (_, place) = url.split_once('@').expect("the URL names a user");
    grows_slow(Kind::Postgres, place.split_once('/').expect("and a database").0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_blob_grows_slow_under_appends_and_migrations() {
    let endpoint = variable("STREAMGATE_TEST_AZURE_BLOB_ENDPOINT");
    let place = endpoint.strip_prefix("http://").expect("in clear");
    grows_slow(Kind::AzureBlob, place.split_once('/').expect("and an account").0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_grows_slow_under_appends_and_migrations() {
    let endpoint = variable("STREAMGATE_TEST_S3_ENDPOINT");
    grows_slow(Kind::S3, endpoint.strip_prefix("http://").expect("in clear")).await;
}
