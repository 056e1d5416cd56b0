//! What must hold before a store opens, and what it says when that is missing.

use streamgate::backends::s3::{OpenError, Problem};
use streamgate::domain::ErrorClass;
use streamgate::runtime::Secret;

use super::kit::{Fate, Place, Relay};

async fn problems(place: &Place) -> Vec<Problem> {
    match place.try_open().await.map(drop) {
        Err(OpenError::Unusable { problems, .. }) => problems,
        other => panic!("expected what is missing, got {other:?}"),
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let place = Place::new().await.with(|options| options.bucket = "not-there".into());
    assert_eq!(problems(&place).await, [Problem::NoBucket { bucket: "not-there".into() }]);
    let error = place.try_open().await.map(drop).unwrap_err();
    assert!(error.to_string().contains("create-bucket --bucket not-there"), "{error}");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn a_service_that_ignores_conditions_is_refused() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    for (header, named) in [("if-none-match", "If-None-Match"), ("if-match", "If-Match")] {
        relay.plan(move |request| match request.has_header(header) {
            true => Fate::Unconditional,
            false => Fate::Pass,
        });
        let found = problems(&place.through(&relay)).await;
        let what = format!("it ignores {named}");
        assert_eq!(found, [Problem::Unsafe { what }]);
    }
}

/// A service that looks first and writes later: each writer alone is refused as it should be.
#[tokio::test]
async fn a_service_whose_conditions_do_not_hold_in_a_race_is_refused() {
    let place = Place::new().await;
    let relay = Relay::start().await;
    let mut conditional = 0;
    relay.plan(move |request| {
        let is_conditional = request.method() == "PUT" && request.has_header("if-match");
        conditional += u32::from(is_conditional);
        // The first two are made one after the other; then the race begins.
        if is_conditional && conditional > 2 { Fate::Unconditional } else { Fate::Pass }
    });
    let found = problems(&place.through(&relay)).await;
    assert_eq!(found, [Problem::Unsafe { what: "a race of 8 writes has 8 winners".into() }]);
}

#[tokio::test]
async fn every_permission_that_is_missing_is_named_at_once() {
    const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\n\
        Connection: close\r\n\r\n\
        <Error><Code>AccessDenied</Code><Message/></Error>";
    let place = Place::new().await;
    let relay = Relay::start().await;
    relay.plan(|request| match (request.method(), request.target().contains("list-type")) {
        ("GET", _) | (_, true) | ("DELETE", _) => Fate::Answer(DENIED),
        _ => Fate::Pass,
    });
    let found = problems(&place.through(&relay)).await;
    let permissions: Vec<&str> = found
        .iter()
        .map(|problem| match problem {
            Problem::Denied { permission, .. } => *permission,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(permissions, ["s3:ListBucket", "s3:GetObject", "s3:DeleteObject"]);
}

#[tokio::test]
async fn a_service_that_is_away_and_credentials_that_are_missing_are_told_apart() {
    let away = Place::new().await.with(|options| {
        options.endpoint = Some("http://127.0.0.1:9".into());
    });
    let found = problems(&away).await;
    assert!(matches!(found.as_slice(), [Problem::Unreachable { .. }]), "{found:?}");
    let secret: Secret = toml::from_str::<toml::Table>("key = { env = 'NO_SUCH_NAME' }")
        .map(|table| table["key"].clone().try_into().expect("it is a secret"))
        .expect("it is TOML");
    let without = Place::new().await.with(|options| options.secret_access_key = Some(secret));
    let error = without.try_open().await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Secret(_)), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Unauthenticated);
}

/// Without deletes on condition documents become tombstones, and the store opens all the same.
#[tokio::test]
async fn a_service_that_deletes_without_condition_is_found_out() {
    use bytes::Bytes;
    use streamgate::documents::{DocumentKey, DocumentStore, Precondition};
    let place = Place::new().await;
    let relay = Relay::start().await;
    relay.plan(|request| match request.method() {
        "DELETE" => Fate::Unconditional,
        _ => Fate::Pass,
    });
    let store = place.through(&relay).open().await;
    let key = DocumentKey::from_raw("a/1");
    let etag = store.put(&key, Bytes::from_static(b"1"), Precondition::Absent).await.unwrap();
    let before = store.requests().deletes();
    store.delete(&key, &etag).await.unwrap();
    assert_eq!(store.requests().deletes(), before, "a tombstone, and no delete");
    assert_eq!(store.get(&key).await.unwrap(), None);
    // One that can sweeps it with its next listing.
    let sweeper = place.open().await;
    let before = sweeper.requests().deletes();
    let listed = sweeper.list(&DocumentKey::from_raw("a/"), None, 10).await.unwrap();
    assert_eq!((listed.documents.len(), sweeper.requests().deletes() - before), (0, 1));
    store.put(&key, Bytes::from_static(b"2"), Precondition::Absent).await.unwrap();
}

/// What an operator sees: every store that cannot be used, with what is missing of each.
#[test]
fn a_check_of_the_configuration_names_what_every_store_misses() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = crate::service::variable("STREAMGATE_TEST_S3_ENDPOINT");
    let store = |name: &str, endpoint: &str| {
        format!(
            "[[stores]]\nname = \"{name}\"\nkind = \"s3\"\nbucket = \"not-there\"\n\
             prefix = \"{name}\"\nendpoint = \"{endpoint}\"\n\
             access_key_id = \"test\"\nsecret_access_key = \"hush-hush\"\n"
        )
    };
    let path = folder.path().join("streamgate.toml");
    let text = store("hot", &endpoint) + &store("cold", "http://127.0.0.1:9");
    std::fs::write(&path, text).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_streamgate"));
    check.args(["config", "check", "--connect", "--config"]).arg(&path);
    let ended = check.output().unwrap();
    let stdout = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(66), "as serve would end: {stdout}");
    assert!(stdout.contains("create-bucket --bucket not-there"), "{stdout}");
    assert!(stdout.contains("it cannot be reached"), "{stdout}");
    assert!(!stdout.contains("hush-hush"), "{stdout}");
}
