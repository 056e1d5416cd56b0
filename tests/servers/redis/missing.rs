//! What `config check --connect` says of a Redis that cannot be used: exactly what is missing.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::RedisOptions;
use streamgate::coordination::in_redis::RedisProblem;
use streamgate::coordination::in_redis::check::look;
use streamgate::domain::ErrorClass;
use streamgate::runtime::{Runtime, Secret};

use super::kit::{patient, shared};
use super::own_server::{Cluster, OwnServer, Watched};
use crate::certificates::Certificates;

async fn tried(options: &RedisOptions) -> Result<(), RedisProblem> {
    look(options, Some(Runtime::system().entropy.uuid()), &Runtime::system()).await
}

/// The problem, which must be of this class and name all of these.
async fn refused(options: &RedisOptions, class: ErrorClass, names: &[&str]) -> RedisProblem {
    let problem = tried(options).await.expect_err("something is missing");
    let text = problem.to_string();
    assert_eq!(problem.class(), class, "{text}");
    for name in names {
        assert!(text.contains(name), "no {name:?} in {text:?}");
    }
    assert!(!text.contains("hush"), "a secret in {text:?}");
    problem
}

fn at(url: String) -> RedisOptions {
    patient(&RedisOptions::at(url))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_used_is_found_right_and_left_as_it_was() {
    tried(&patient(&shared())).await.unwrap();
    let server = OwnServer::start().await;
    tried(&patient(&server.options())).await.unwrap();
    assert_eq!(server.cli(&["dbsize"]).trim(), "0");
    let watched = Watched::start().await;
    tried(&patient(&watched.options())).await.unwrap();
    let cluster = Cluster::start().await;
    tried(&patient(&cluster.options())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named() {
    let mut server = OwnServer::start().await;
    server.kill();
    let place = format!("127.0.0.1:{}", server.port);
    let problem = refused(&server.options(), ErrorClass::Unavailable, &[&place, "refused"]).await;
    assert!(matches!(problem, RedisProblem::Silent { .. }), "{problem:?}");
    server.start_again().await;
    // It takes connections, and says nothing.
    server.freeze();
    let problem = refused(&server.options(), ErrorClass::Unavailable, &[&place]).await;
    assert!(matches!(problem, RedisProblem::Silent { .. }), "{problem:?}");
    server.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_missing_or_wrong_is_told_and_not_shown() {
    let server = OwnServer::start_with(&["--requirepass", "open"]).await;
    let (class, port) = (ErrorClass::Unauthenticated, server.port);
    let problem = refused(&patient(&server.options()), class, &["none is set"]).await;
    assert!(matches!(problem, RedisProblem::PasswordMissing { .. }), "{problem:?}");
    let wrong = at(format!("redis://:hush@127.0.0.1:{port}/"));
    let problem = refused(&wrong, class, &["does not take this name and password"]).await;
    assert!(matches!(problem, RedisProblem::PasswordWrong { .. }), "{problem:?}");
    tried(&at(format!("redis://:open@127.0.0.1:{port}/"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named() {
    let server = OwnServer::start().await;
    let url = format!("redis://app:open@127.0.0.1:{}/", server.port);
    let all = "~streamgate:* &streamgate:* +@read +@write +@scripting +@pubsub +@connection +time";
    for (taken, name) in [
        ("~streamgate:*", "key"),
        ("&streamgate:*", "channel"),
        ("+@scripting", "'eval'"),
        ("+@pubsub", "'publish'"),
        ("+time", "'time'"),
    ] {
        let rules = all.replace(taken, "");
        let mut command = vec!["acl", "setuser", "app", "reset", "on", ">open"];
        command.extend(rules.split_whitespace());
        assert_eq!(server.cli(&command).trim(), "OK");
        let problem = refused(&at(url.clone()), ErrorClass::Forbidden, &[name]).await;
        assert!(matches!(problem, RedisProblem::Forbidden { .. }), "{problem:?}");
    }
    let mut command = vec!["acl", "setuser", "app", "reset", "on", ">open"];
    command.extend(all.split_whitespace());
    assert_eq!(server.cli(&command).trim(), "OK");
    tried(&at(url)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_does_not_come_about_is_told_with_its_reason() {
    let made = Arc::new(Certificates::new());
    let server = OwnServer::start_with_tls(&[], Some((Arc::clone(&made), "localhost"))).await;
    let right = made.of_client(at(format!("rediss://localhost:{}/", server.port)));
    tried(&right).await.unwrap();
    let stranger = RedisOptions { tls_ca_file: Some(made.path("other.pem")), ..right.clone() };
    let problem = refused(&stranger, ErrorClass::Invalid, &["no TLS", "UnknownIssuer"]).await;
    assert!(matches!(problem, RedisProblem::Tls { .. }), "{problem:?}");
    let other_name = Secret::Text(format!("rediss://127.0.0.1:{}/", server.port));
    let other_name = RedisOptions { url: Some(other_name), ..right.clone() };
    refused(&other_name, ErrorClass::Invalid, &["not valid for name"]).await;
    let nameless = RedisOptions { tls_cert_file: None, tls_key_file: None, ..right };
    refused(&nameless, ErrorClass::Invalid, &["no TLS", "CertificateRequired"]).await;
    // TLS with one who has none, and none with one who wants it.
    let plain = OwnServer::start().await;
    let guarded = Secret::Text(plain.url().replace("redis:", "rediss:"));
    let guarded = RedisOptions { url: Some(guarded), ..patient(&RedisOptions::default()) };
    // It never answers, so this long is waited.
    let guarded = RedisOptions { connect_timeout: Duration::from_secs(2), ..guarded };
    let problem = refused(&guarded, ErrorClass::Invalid, &["no TLS"]).await;
    assert!(matches!(problem, RedisProblem::InClear { .. }), "{problem:?}");
    let in_clear = at(server.url().replace("rediss:", "redis:"));
    let problem = refused(&in_clear, ErrorClass::Invalid, &["rediss://"]).await;
    assert!(matches!(problem, RedisProblem::CutOff { .. }), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_and_a_service_that_sentinels_do_not_know_are_told() {
    let watched = Watched::start().await;
    let replica = patient(&watched.servers[1].options());
    let problem = refused(&replica, ErrorClass::Refused, &["is a replica"]).await;
    assert!(matches!(problem, RedisProblem::Replica { .. }), "{problem:?}");
    let sentinel_service = Some("another".to_owned());
    let unknown = RedisOptions { sentinel_service, ..patient(&watched.options()) };
    let problem = refused(&unknown, ErrorClass::Invalid, &["another", "sentinel_service"]).await;
    assert!(matches!(problem, RedisProblem::ServiceUnknown { .. }), "{problem:?}");
    // Sentinels are no servers, and a server is no sentinel.
    let servers = watched.servers.iter().map(|server| Secret::Text(server.url())).collect();
    let swapped = RedisOptions { sentinel_urls: servers, ..patient(&watched.options()) };
    tried(&swapped).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_not_whole_or_not_named_as_one_is_told() {
    let apart = Cluster::nodes(None).await;
    let urls = apart.iter().map(|node| Secret::Text(node.url())).collect();
    let apart = RedisOptions { cluster_urls: urls, ..patient(&RedisOptions::default()) };
    let problem = refused(&apart, ErrorClass::Unavailable, &["16384 of 16384 slots"]).await;
    assert!(matches!(problem, RedisProblem::SlotsMissing { .. }), "{problem:?}");

    let mut cluster = Cluster::start().await;
    let node = patient(&cluster.nodes[0].options());
    let problem = refused(&node, ErrorClass::Invalid, &["cluster_urls"]).await;
    assert!(matches!(problem, RedisProblem::NodeOfCluster { .. }), "{problem:?}");
    let alone = OwnServer::start().await;
    let urls = vec![Secret::Text(alone.url())];
    let alone = RedisOptions { cluster_urls: urls, ..patient(&RedisOptions::default()) };
    let problem = refused(&alone, ErrorClass::Invalid, &["no node of a cluster"]).await;
    assert!(matches!(problem, RedisProblem::NoNodeOfCluster { .. }), "{problem:?}");

    cluster.nodes[2].kill();
    let lost = format!("127.0.0.1:{}", cluster.nodes[2].port);
    let problem = refused(&cluster.options(), ErrorClass::Unavailable, &[&lost]).await;
    assert!(matches!(problem, RedisProblem::Silent { .. }), "{problem:?}");
}
