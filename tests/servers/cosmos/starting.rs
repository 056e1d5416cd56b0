//! What is wrong with a place is told by its name before the store is used.

use std::error::Error;

use streamgate::backends::cosmos::{CosmosOptions, CosmosStore, OpenError};
use streamgate::domain::ErrorClass;
use streamgate::runtime::Secret;

use super::kit::Account;

const OTHER_KEY: &str = "b3RoZXI=";

async fn refused(account: &Account, options: CosmosOptions) -> OpenError {
    match account.try_open(options).await {
        Ok(CosmosStore { .. }) => panic!("a store was opened"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_not_shown() {
    let account = Account::new();
    let key = Some(Secret::Text(OTHER_KEY.into()));
    let error = refused(&account, CosmosOptions { key, ..account.options.clone() }).await;
    assert!(matches!(error, OpenError::NotKnown { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Unauthenticated);
    let mut told = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(told.contains("the key is wrong") && !told.contains(OTHER_KEY), "{told}");

    let key = Some(toml::from_str::<Named>("key = { env = 'NO_SUCH_NAME' }").unwrap().key);
    let error = refused(&account, CosmosOptions { key, ..account.options.clone() }).await;
    assert!(matches!(error, OpenError::Key(_)), "{error:?}");
}

#[derive(serde::Deserialize)]
struct Named {
    key: Secret,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_database_and_a_missing_container_are_told_apart() {
    let account = Account::new();
    let as_it_is = CosmosOptions { create: false, ..account.options.clone() };
    let error = refused(&account, as_it_is.clone()).await;
    assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?}");
    assert!(error.to_string().contains(&as_it_is.database), "{error}");
    account.open().await;
    let other = CosmosOptions { container: "other".into(), ..as_it_is.clone() };
    let error = refused(&account, other).await;
    assert!(matches!(&error, OpenError::NoContainer { container, .. } if container == "other"));
    assert!(error.to_string().contains("/partition"), "{error}");
    account.try_open(as_it_is).await.expect("it was made before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_done_is_named() {
    let account = Account::new();
    account.open().await;
    for (kind, what) in [("read", "read items"), ("query", "query items"), ("write", "write items")]
    {
        account.rehearse("forbid", kind, 1).await;
        let error = refused(&account, account.options.clone()).await;
        assert!(matches!(error, OpenError::Forbidden { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.class(), ErrorClass::Forbidden);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_cannot_be_reached() {
    let account = Account::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = refused(&account, CosmosOptions { endpoint, ..account.options.clone() }).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let endpoint = "http://example.com/".into();
    let error = refused(&account, CosmosOptions { endpoint, ..account.options.clone() }).await;
    assert!(matches!(error, OpenError::Endpoint { .. }), "in clear to this machine alone");
}
