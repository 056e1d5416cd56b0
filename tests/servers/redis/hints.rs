//! Hints and pauses over Redis: every promise of them, and what only a server of its own can show.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::{RedisHints, RedisOptions, RedisPauseLeases};
use streamgate::domain::{ObjectKey, StoreName, StreamAddress, StreamId};
use streamgate::hints_conformance;
use streamgate::lock::{Heard, Held, Hint, LockError};
use streamgate::runtime::Runtime;
use streamgate::telemetry::hints::HintFigures;
use streamgate::testing::conformance::hints::{CASES, HintsSubject, Told};
use uuid::Uuid;

use super::kit::{connection, patient, shared};
use super::own_server::{Cluster, OwnServer};

const MINUTE: Duration = Duration::from_secs(60);

/// One proxy of a deployment, and what is measured of its hints.
fn proxy(options: &RedisOptions, deployment: Uuid) -> (Told, HintFigures) {
    let (runtime, figures) = (Runtime::system(), HintFigures::default());
    let redis = connection(options, deployment);
    let hints = RedisHints::start(redis.clone(), &runtime, figures.clone());
    let leases = Arc::new(RedisPauseLeases::new(redis));
    (Told::over(Arc::new(hints), leases, runtime), figures)
}

fn new_deployment() -> Uuid {
    Runtime::system().entropy.uuid()
}

pub(super) fn two_proxies(options: &RedisOptions) -> HintsSubject {
    let (options, deployment) = (patient(options), new_deployment());
    let (here, there) = (proxy(&options, deployment).0, proxy(&options, deployment).0);
    HintsSubject { here, there }
}

hints_conformance! {
    redis => super::two_proxies(&super::shared()),
}

fn object(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).unwrap()
}

fn changed(id: u32) -> Hint {
    let store = StoreName::new("hot").unwrap();
    let stream_id = StreamId::new(id.to_string()).unwrap();
    Hint::StreamChanged { stream: StreamAddress { store, stream_id } }
}

async fn moment() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// Waits until what one tells is heard by the other.
async fn connected(here: &Told, there: &HintFigures) {
    let before = there.heard("migration_wanted");
    let wanted = Hint::MigrationWanted { migration: streamgate::domain::MigrationId(Uuid::nil()) };
    while there.heard("migration_wanted") == before {
        let _ = here.hints.tell_now(wanted.clone()).await;
        moment().await;
    }
}

/// The whole suite, case by case, each as a deployment of its own.
pub(super) async fn suite_of_hints_over(options: RedisOptions) {
    for case in CASES {
        println!("{}", case.name);
        (case.run)(two_proxies(&options)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_keep_their_promises_in_a_cluster() {
    let cluster = Cluster::start().await;
    suite_of_hints_over(cluster.options()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_at_once_are_told_once_each() {
    let deployment = new_deployment();
    let ((here, told), (_there, heard)) =
        (proxy(&shared(), deployment), proxy(&shared(), deployment));
    connected(&here, &heard).await;
    for _ in 0..1_000 {
        here.hints.tell(changed(1));
        here.hints.tell(changed(2));
    }
    while heard.heard("stream_changed") < told.told("stream_changed").max(2) {
        moment().await;
    }
    let count = heard.heard("stream_changed");
    assert!(count < 400, "{count} hints for what 2,000 appends did to two streams");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_do_not_hear_each_other() {
    let options = shared();
    let (one, two) = (new_deployment(), new_deployment());
    let ((here, _), (_same, heard)) = (proxy(&options, one), proxy(&options, one));
    let ((other, _), (_neighbour, elsewhere)) = (proxy(&options, two), proxy(&options, two));
    connected(&here, &heard).await;
    connected(&other, &elsewhere).await;
    here.hints.tell(changed(1));
    while heard.heard("stream_changed") == 0 {
        moment().await;
    }
    // What was told before is heard before what is told now.
    connected(&other, &elsewhere).await;
    assert_eq!(elsewhere.heard("stream_changed"), 0);
}

/// Story: a pause is told, and then Redis goes away: the word that it is over cannot come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_redis_lets_held_appends_go_at_once() {
    let mut server = OwnServer::start().await;
    let deployment = new_deployment();
    let ((here, _), (there, heard)) =
        (proxy(&server.options(), deployment), proxy(&server.options(), deployment));
    connected(&here, &heard).await;
    here.pauses.pause(&object("1"), MINUTE).await.unwrap();
    let appends = [&here, &there].map(|proxy| {
        let pauses = Arc::clone(&proxy.pauses);
        tokio::spawn(async move { pauses.pass(&object("1"), None).await.0 })
    });
    while here.holds.held() == 0 || there.holds.held() == 0 {
        moment().await;
    }
    server.kill();
    for append in appends {
        assert_eq!(append.await.unwrap(), Held::Released);
    }
    // Without Redis nobody can be told, so nobody is held.
    let refused = here.pauses.pause(&object("1"), MINUTE).await;
    assert!(matches!(refused, Err(LockError::Unavailable { .. })), "{refused:?}");
    assert_eq!(here.pauses.pass(&object("1"), None).await.0, Held::No);

    let mut ears = there.hints.listen();
    server.start_again().await;
    while ears.hear().await != Heard::Missed {}
    connected(&here, &heard).await;
}
