//! Passwords and TLS: as the settings say, or no connection.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::in_redis::RedisSettingsError;
use streamgate::coordination::{RedisConnection, RedisOptions};
use streamgate::domain::ObjectKey;
use streamgate::lock::{Lock, LockError, Owner};
use streamgate::runtime::{Runtime, Secret};

use super::kit::lock;
use super::own_server::OwnServer;
use crate::certificates::Certificates;

async fn acquire(options: &RedisOptions) -> Result<(), LockError> {
    let lock = lock(options, Runtime::system().entropy.uuid());
    let object = ObjectKey::new("order", "1").unwrap();
    lock.acquire(&object, &Owner("a".into()), Duration::from_secs(60)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_in_the_url_or_apart_from_it_and_may_change() {
    let server = OwnServer::start_with(&["--requirepass", "first"]).await;
    acquire(&server.options()).await.unwrap_err();
    let in_url = format!("redis://:first@127.0.0.1:{}/", server.port);
    acquire(&RedisOptions::at(in_url)).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let settings = format!("password = {{ file = '{}' }}", file.display());
    let RedisOptions { password, .. } = toml::from_str(&settings).unwrap();
    let options = RedisOptions { password, ..server.options() };
    acquire(&options).await.unwrap();
    assert!(server.cli(&["-a", "first", "config", "set", "requirepass", "second"]).contains("OK"));
    acquire(&options).await.unwrap_err();
    std::fs::write(&file, "second\n").unwrap();
    acquire(&options).await.unwrap();
}

/// What docs/operating.md says that a user needs is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_needs_what_the_documents_say() {
    let page = include_str!("../../../docs/operating.md");
    let (_, rules) = page.split_once("newer needs\n`").unwrap();
    let (rules, _) = rules.split_once('`').unwrap();
    let server = OwnServer::start().await;
    let mut command = vec!["acl", "setuser", "app", "on", ">secret"];
    command.extend(rules.split_whitespace());
    assert_eq!(server.cli(&command).trim(), "OK");
    let url = format!("redis://app:secret@127.0.0.1:{}/", server.port);
    acquire(&RedisOptions::at(&url)).await.unwrap();
    let elsewhere = RedisOptions { key_prefix: Some("other".into()), ..RedisOptions::at(url) };
    acquire(&elsewhere).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_on_both_sides() {
    let made = Arc::new(Certificates::new());
    let server = OwnServer::start_with_tls(&[], Some((Arc::clone(&made), "localhost"))).await;
    let port = server.port;
    let url = format!("rediss://localhost:{port}/");
    let right = made.of_client(RedisOptions::at(&url));
    acquire(&right).await.unwrap();
    let stranger = RedisOptions { tls_ca_file: Some(made.path("other.pem")), ..right.clone() };
    acquire(&stranger).await.unwrap_err();
    let public = RedisOptions { tls_ca_file: None, ..right.clone() };
    acquire(&public).await.unwrap_err();
    let nameless = RedisOptions { tls_cert_file: None, tls_key_file: None, ..right.clone() };
    acquire(&nameless).await.unwrap_err();
    let plain = RedisOptions::at(format!("redis://127.0.0.1:{port}/"));
    acquire(&plain).await.unwrap_err();
    let other_name = Secret::Text(format!("rediss://127.0.0.1:{port}/"));
    acquire(&RedisOptions { url: Some(other_name), ..right }).await.unwrap_err();
}

/// These are found before anything is served.
#[tokio::test]
async fn settings_that_lead_nowhere_are_refused_without_asking_a_server() {
    let open = |options: RedisOptions| {
        let runtime = Runtime::system();
        RedisConnection::new(options, runtime.entropy.uuid(), &runtime).map(drop)
    };
    let at = |url: &str| open(RedisOptions::at(url));
    assert!(matches!(at("http://cache"), Err(RedisSettingsError::Address(_))));
    assert!(matches!(at("cache:6379"), Err(RedisSettingsError::Address(_))));
    let missing = RedisOptions {
        tls_ca_file: Some("nowhere.pem".into()),
        ..RedisOptions::at("rediss://cache")
    };
    assert!(matches!(open(missing), Err(RedisSettingsError::Certificate { .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    let useless =
        RedisOptions { tls_ca_file: Some(file.path().into()), ..RedisOptions::at("redis://cache") };
    assert!(matches!(open(useless), Err(RedisSettingsError::CertificateWithoutTls)));
    let unset: RedisOptions = toml::from_str("url = { env = 'NO_SUCH_NAME' }").unwrap();
    assert!(matches!(open(unset), Err(RedisSettingsError::Secret(_))));
    at("redis://cache:6379/1").unwrap();
    at("rediss://:password@cache").unwrap();
}
