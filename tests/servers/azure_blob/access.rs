//! Who may, and what the start says to who may not.

use azure_core::credentials::Secret as KeyText;
use streamgate::backends::azure_blob::{AzureBlobOptions, AzureBlobStore, OpenError};
use streamgate::domain::{ErrorClass, ExpectedVersion};
use streamgate::runtime::{Runtime, Secret};
use streamgate::store::EventStore;
use streamgate::testing::builders::{append, events, header, object, stream_id};

use super::rollover::read_all;

async fn refused(options: AzureBlobOptions) -> OpenError {
    match AzureBlobStore::open(options, &Runtime::system()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn told(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_container_that_is_missing_is_named() {
    let options = AzureBlobOptions { create_container: false, ..super::options() };
    let error = refused(options.clone()).await;
    let text = told(&error);
    assert!(text.contains(&format!("no container {}", options.container)), "{text}");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_key_is_told_and_not_shown() {
    let key = "d3JvbmcgYnV0IHdlbGwgZm9ybWVk";
    let options =
        AzureBlobOptions { account_key: Some(Secret::Text(key.into())), ..super::options() };
    let shown = format!("{options:?}");
    let error = refused(options).await;
    let text = told(&error);
    // The emulator answers to a wrong signature as the service does to a missing permission.
    let classes = [ErrorClass::Unauthenticated, ErrorClass::Forbidden];
    assert!(classes.contains(&error.class()), "{text}");
    assert!(!format!("{shown} {text} {error:?}").contains(key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_is_nowhere_is_named() {
    let secret: Secret = serde_json::from_str(r#"{"env": "NO_SUCH_VARIABLE"}"#).unwrap();
    let options = AzureBlobOptions { account_key: Some(secret), ..super::options() };
    let text = told(&refused(options).await);
    assert!(text.contains("NO_SUCH_VARIABLE"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_away_is_told() {
    let options = AzureBlobOptions { endpoint: "http://127.0.0.1:9/a".into(), ..super::options() };
    let error = refused(options).await;
    assert_eq!(error.class(), ErrorClass::Unavailable, "{}", told(&error));
}

/// A signature for all blobs of a container, as the service's "Create a service SAS" has it.
fn signature(container: &str, permissions: &str) -> String {
    let (version, expiry) = ("2020-12-06", "2099-01-01T00:00:00Z");
    let resource = format!("/blob/devstoreaccount1/{container}");
    let text =
        [permissions, "", expiry, &resource, "", "", "", version, "c", "", "", "", "", "", "", ""]
            .join("\n");
    let signed = azure_core::hmac::hmac_sha256(&text, &KeyText::new(super::KEY)).unwrap();
    let signed = signed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let expiry = expiry.replace(':', "%3A");
    format!("?sv={version}&se={expiry}&sr=c&sp={permissions}&sig={signed}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signature_suffices_for_everything() {
    let with_key = super::options();
    super::open(with_key.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sas");
    std::fs::write(&file, signature(&with_key.container, "racwdl") + "\n").unwrap();
    let secret = serde_json::json!({ "file": file });
    let options = AzureBlobOptions {
        account_key: None,
        sas_token: Some(serde_json::from_value(secret).unwrap()),
        create_container: false,
        ..super::small()
    };
    let options = AzureBlobOptions { container: with_key.container, ..options };
    let store = super::open(options).await;
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    for first in 0..10 {
        let one = append(ExpectedVersion::Any, events(first..first + 1));
        store.append(&stream, one).await.unwrap();
    }
    store.forget();
    assert_eq!(read_all(&store, &stream).await, events(0..10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_permission_that_is_missing_is_named() {
    let with_key = super::options();
    super::open(with_key.clone()).await;
    for (permissions, right) in [
        ("racwd", "list blobs"),
        ("rl", "create blobs"),
        ("acwdl", "read blobs"),
        ("racwl", "delete blobs"),
    ] {
        let token = signature(&with_key.container, permissions);
        let options = AzureBlobOptions {
            account_key: None,
            sas_token: Some(Secret::Text(token.clone())),
            create_container: false,
            ..with_key.clone()
        };
        let error = refused(options).await;
        let text = told(&error);
        assert!(text.contains(&format!("permission to {right}")), "{permissions}: {text}");
        assert_eq!(error.class(), ErrorClass::Forbidden);
        assert!(!format!("{text} {error:?}").contains(&token));
    }
}
