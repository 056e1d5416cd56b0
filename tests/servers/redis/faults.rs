//! A Redis that is killed, silent, restarted empty, failed over or taken apart.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::RedisOptions;
use streamgate::domain::ObjectKey;
use streamgate::lock::{Lease, Lock, LockError, Owner};
use streamgate::runtime::{Clock, Runtime, SystemClock};
use streamgate::testing::conformance::lock::CASES;

use super::kit::{lock, lock_of_three};
use super::own_server::{Cluster, OwnServer, Watched};

const TTL: Duration = Duration::from_secs(60);
/// Far more than the timeouts of the settings together, and far less than a client's patience.
const SOON: Duration = Duration::from_secs(5);

fn object(id: impl ToString) -> ObjectKey {
    ObjectKey::new("order", id.to_string()).unwrap()
}

fn owner(name: &str) -> Owner {
    Owner(name.to_owned())
}

fn of_new_deployment(options: &RedisOptions) -> Arc<dyn Lock> {
    Arc::new(lock(options, Runtime::system().entropy.uuid()))
}

/// Asks until the service answers, however it does.
async fn once_it_answers(
    lock: &dyn Lock,
    object: &ObjectKey,
    name: &str,
) -> Result<Lease, LockError> {
    loop {
        match lock.acquire(object, &owner(name), TTL).await {
            Err(LockError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answered => return answered,
        }
    }
}

/// The whole suite, case by case, each as a deployment of its own.
pub(super) async fn suite_over(options: RedisOptions) {
    for case in CASES {
        println!("{}", case.name);
        (case.run)(lock_of_three(&options)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_keeps_its_promises_under_sentinels_and_through_a_failover() {
    let mut watched = Watched::start().await;
    suite_over(watched.options()).await;

    let lock = of_new_deployment(&watched.options());
    let before = lock.acquire(&object(1), &owner("a"), TTL).await.unwrap();
    // A replica that has it all, so that the lease outlives the failover.
    while watched.servers[1].cli(&["exists", "nothing"]).is_empty()
        || watched.servers[1].cli(&["dbsize"]) != watched.servers[0].cli(&["dbsize"])
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watched.servers[0].kill();
    let held = once_it_answers(&*lock, &object(1), "b").await;
    assert!(
        matches!(&held, Err(LockError::Held { holder }) if holder.token == before.token),
        "{held:?}"
    );
    lock.release(&before).await.unwrap();
    let next = lock.acquire(&object(1), &owner("b"), TTL).await.unwrap();
    assert!(next.token > before.token);
    // A proxy that comes new finds the new server as well.
    let fresh = of_new_deployment(&watched.options());
    fresh.acquire(&object(1), &owner("c"), TTL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_keeps_its_promises_in_a_cluster_and_beside_a_lost_node() {
    let mut cluster = Cluster::start().await;
    suite_over(cluster.options()).await;

    let lock = of_new_deployment(&cluster.options());
    let objects: Vec<ObjectKey> = (0..30).map(object).collect();
    for object in &objects {
        lock.acquire(object, &owner("a"), TTL).await.unwrap();
    }
    cluster.nodes[2].kill();
    let mut away = 0;
    for object in &objects {
        // Locks that lie elsewhere go on, whichever way their node has to be found.
        let began = SystemClock.monotonic();
        match lock.acquire(object, &owner("a"), TTL).await {
            Ok(_) => {}
            Err(LockError::Unavailable { .. }) => away += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(SystemClock.monotonic() - began < SOON);
    }
    assert!((1..objects.len()).contains(&away), "{away} of {} are away", objects.len());
    cluster.nodes[2].start_again().await;
    for object in &objects {
        once_it_answers(&*lock, object, "a").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_costs_bounded_waits_and_is_found_again_empty() {
    let mut server = OwnServer::start().await;
    let lock = of_new_deployment(&server.options());
    let first = lock.acquire(&object(1), &owner("a"), TTL).await.unwrap();
    server.kill();
    for _ in 0..20 {
        let began = SystemClock.monotonic();
        let answer = lock.renew(&first, TTL).await;
        assert!(
            matches!(answer, Err(LockError::Unavailable { retry_after: Some(_) })),
            "{answer:?}"
        );
        assert!(SystemClock.monotonic() - began < SOON);
    }
    server.start_again().await;
    // It has forgotten, and says so; the token grows all the same.
    let lost = loop {
        match lock.renew(&first, TTL).await {
            Err(LockError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            answered => break answered,
        }
    };
    assert!(matches!(lost, Err(LockError::Lost)), "{lost:?}");
    let second = lock.acquire(&object(1), &owner("b"), TTL).await.unwrap();
    assert!(second.token > first.token, "{second:?} {first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_grow_though_everything_is_flushed() {
    let server = OwnServer::start().await;
    let lock = of_new_deployment(&server.options());
    let mut last = None;
    for _ in 0..5 {
        let lease = lock.acquire(&object(1), &owner("a"), TTL).await.unwrap();
        assert!(Some(lease.token) > last);
        last = Some(lease.token);
        // Scripts are forgotten with the rest.
        assert_eq!(server.cli(&["flushall"]).trim(), "OK");
        assert_eq!(server.cli(&["script", "flush"]).trim(), "OK");
        assert!(matches!(lock.renew(&lease, TTL).await, Err(LockError::Lost)));
    }
}

/// A partition looks like this: the connection is there, and nothing comes back on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_costs_bounded_waits_and_is_heard_again() {
    let server = OwnServer::start().await;
    let lock = of_new_deployment(&server.options());
    let lease = lock.acquire(&object(1), &owner("a"), TTL).await.unwrap();
    server.freeze();
    let began = SystemClock.monotonic();
    let calls = (0..50).map(|_| lock.holder(&lease.object));
    for answer in futures::future::join_all(calls).await {
        assert!(matches!(answer, Err(LockError::Unavailable { .. })), "{answer:?}");
    }
    assert!(SystemClock.monotonic() - began < SOON, "all wait together, not one after the other");
    server.thaw();
    let again = once_it_answers(&*lock, &lease.object, "a").await.unwrap();
    assert_eq!(again.token, lease.token, "it has forgotten nothing");
}

/// A proxy starts while Redis is away: nothing is asked before it is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_made_when_it_is_needed() {
    let mut server = OwnServer::start().await;
    server.kill();
    let lock = of_new_deployment(&server.options());
    let away = lock.holder(&object(1)).await;
    assert!(matches!(away, Err(LockError::Unavailable { .. })), "{away:?}");
    server.start_again().await;
    once_it_answers(&*lock, &object(1), "a").await.unwrap();
}
