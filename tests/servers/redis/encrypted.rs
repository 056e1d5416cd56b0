//! TLS to sentinels, to the server that they name, and to every node of a cluster.

use std::sync::Arc;

use streamgate::coordination::RedisOptions;
use streamgate::domain::ObjectKey;
use streamgate::lock::{Lock, LockError};
use streamgate::runtime::Runtime;

use super::faults::suite_over;
use super::hints::suite_of_hints_over;
use super::kit::lock;
use super::own_server::{Cluster, Watched};
use crate::certificates::Certificates;

async fn nobody_is_reached(options: RedisOptions) {
    let lock = lock(&options, Runtime::system().entropy.uuid());
    let asked = lock.holder(&ObjectKey::new("order", "1").unwrap()).await;
    assert!(matches!(asked, Err(LockError::Unavailable { .. })), "{asked:?}");
}

/// Everything is done over TLS by who trusts and is known, and nothing by anybody else.
async fn promises_are_kept_over_tls(made: &Certificates, options: RedisOptions) {
    suite_over(options.clone()).await;
    suite_of_hints_over(options.clone()).await;
    let stranger = RedisOptions { tls_ca_file: Some(made.path("other.pem")), ..options.clone() };
    nobody_is_reached(stranger).await;
    let nameless = RedisOptions { tls_cert_file: None, tls_key_file: None, ..options };
    nobody_is_reached(nameless).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_and_hints_keep_their_promises_over_tls_under_sentinels() {
    let made = Arc::new(Certificates::new());
    let watched = Watched::start_with(Some((Arc::clone(&made), "everywhere"))).await;
    promises_are_kept_over_tls(&made, watched.options()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_and_hints_keep_their_promises_over_tls_in_a_cluster() {
    let made = Arc::new(Certificates::new());
    let cluster = Cluster::start_with(Some((Arc::clone(&made), "everywhere"))).await;
    promises_are_kept_over_tls(&made, cluster.options()).await;
}
