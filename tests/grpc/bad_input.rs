//! Every field of every request, out of range, oversized, empty or of the wrong kind: a typed
//! error that names the field, and nothing done.

use std::collections::BTreeMap;

use prost_types::{Duration, Timestamp};
use streamgate::domain::Reason;
use streamgate::grpc::v1::expected_version::Kind;
use streamgate::grpc::v1::read_request::Start;
use streamgate::grpc::v1::{self, MigrationOptions, NewEvent, ObjectRef};
use tonic::Code;
use tonic_types::StatusExt;

use crate::kit::{Server, append, event, expecting, faults, history, object, read, refused, uuid};
use crate::migrations::migrate;

fn object_faults() -> Vec<(Option<ObjectRef>, Vec<&'static str>)> {
    let object =
        |name: &str, id: &str| Some(ObjectRef { object_name: name.into(), object_id: id.into() });
    let (name, id) = ("object.object_name", "object.object_id");
    vec![
        (None, vec!["object"]),
        (object("", ""), vec![id, name]),
        (object("1a", "x"), vec![name]),
        (object("a/b", "x"), vec![name]),
        (object("ä", "x"), vec![name]),
        (object(&"a".repeat(129), "x"), vec![name]),
        (object("a", ""), vec![id]),
        (object("a", "x\n"), vec![id]),
        (object("a", "\u{0}"), vec![id]),
        (object("a", &"x".repeat(256)), vec![id]),
    ]
}

#[tokio::test]
async fn objects_are_named_well_in_every_request_that_names_one() {
    let mut server = Server::start().await;
    for (object, expected) in object_faults() {
        let request = v1::AppendRequest { object: object.clone(), ..append("", &["x"]) };
        assert_eq!(faults(server.events.append(request).await), expected);
        let request = v1::ReadRequest { object: object.clone(), ..Default::default() };
        assert_eq!(faults(server.events.read(request).await.map(drop)), expected);
        let request = v1::GetObjectRequest { object: object.clone() };
        assert_eq!(faults(server.events.get_object(request).await), expected);
        let request = v1::MigrateRequest { object, ..migrate("", "cold") };
        assert_eq!(faults(server.migrations.migrate(request).await), expected);
    }
    let listed = server.events.list_objects(v1::ListObjectsRequest::default()).await.unwrap();
    assert!(listed.into_inner().objects.is_empty(), "nothing was created");
}

#[tokio::test]
async fn every_field_of_an_event_is_checked_and_named() {
    let mut server = Server::start().await;
    let metadata = |entries: Vec<(String, String)>| entries.into_iter().collect::<BTreeMap<_, _>>();
    let many = metadata((0..65).map(|n| (n.to_string(), String::new())).collect());
    let large = metadata((0..40).map(|n| (format!("{n:0>256}"), String::new())).collect());
    let one = |key: &str, value: &str| metadata(vec![(key.into(), value.into())]);
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let cases: Vec<(&str, NewEvent)> = vec![
        ("event_id", NewEvent { event_id: "x".into(), ..event("") }),
        ("event_id", NewEvent { event_id: "0".repeat(1_000), ..event("") }),
        ("event_id", NewEvent { event_id: format!("{}", uuid::Uuid::nil()), ..event("") }),
        ("event_type", NewEvent { event_type: String::new(), ..event("") }),
        ("event_type", NewEvent { event_type: "a\tb".into(), ..event("") }),
        ("event_type", NewEvent { event_type: "x".repeat(257), ..event("") }),
        ("event_type", NewEvent { event_type: "EventStream.Closed".into(), ..event("") }),
        ("content_type", NewEvent { content_type: "x".repeat(257), ..event("") }),
        ("content_type", NewEvent { content_type: "\u{7f}".into(), ..event("") }),
        ("metadata", NewEvent { metadata: many, ..event("") }),
        ("metadata", NewEvent { metadata: large, ..event("") }),
        ("metadata key", NewEvent { metadata: one("", "x"), ..event("") }),
        ("metadata key", NewEvent { metadata: one(&"k".repeat(257), "x"), ..event("") }),
        ("metadata[\"k\"]", NewEvent { metadata: one("k", &"v".repeat(257)), ..event("") }),
        ("metadata[\"k\"]", NewEvent { metadata: one("k", "\r"), ..event("") }),
        ("occurred_at", NewEvent { occurred_at: at(i64::MAX, 0), ..event("") }),
        ("occurred_at", NewEvent { occurred_at: at(i64::MIN, 0), ..event("") }),
        ("occurred_at", NewEvent { occurred_at: at(0, -1), ..event("") }),
        ("occurred_at", NewEvent { occurred_at: at(0, 1_000_000_000), ..event("") }),
    ];
    for (field, bad) in cases {
        let mut request = append("a", &["good"]);
        request.events.push(bad);
        let found = faults(server.events.append(request).await);
        assert_eq!(found, [format!("events[1].{field}")]);
    }
    refused(history(&mut server.events, read("a")).await, Code::NotFound, Reason::ObjectNotFound);
}

#[tokio::test]
async fn all_faults_of_one_request_come_together() {
    let mut server = Server::start().await;
    let bad = NewEvent { event_id: "x".into(), event_type: String::new(), ..event("") };
    let request = v1::AppendRequest {
        object: Some(ObjectRef { object_name: "?".into(), object_id: String::new() }),
        events: vec![event("good"), bad.clone(), bad],
        ..v1::AppendRequest::default()
    };
    let request = expecting(Kind::Exact(u64::MAX), request);
    let found = faults(server.events.append(request).await);
    assert_eq!(
        found,
        [
            "events[1].event_id",
            "events[1].event_type",
            "events[2].event_id",
            "events[2].event_type",
            "expected_version.exact",
            "object.object_id",
            "object.object_name",
        ]
    );
    let empty = faults(server.events.append(v1::AppendRequest::default()).await);
    assert_eq!(empty, ["events", "object"]);
    let twice = event("x");
    let request = v1::AppendRequest { events: vec![twice.clone(), twice], ..append("a", &[]) };
    assert_eq!(faults(server.events.append(request).await), ["events[1].event_id"]);
}

#[tokio::test]
async fn a_thousand_faults_still_fit_into_an_answer() {
    let mut server = Server::start().await;
    let bad = NewEvent { metadata: [("k".repeat(256), "\n".into())].into(), ..event("") };
    let request = v1::AppendRequest { events: vec![bad; 1_000], ..append("a", &[]) };
    let status = server.events.append(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let last = violations.last().unwrap();
    let shown = violations.len() - 1;
    assert_eq!(last.description, format!("{} more are not shown", 1_000 - shown));
}

#[tokio::test]
async fn limits_of_reads_and_lists_are_checked() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let request = v1::ReadRequest { start: Some(Start::FromVersion(u64::MAX)), ..read("a") };
    assert_eq!(faults(server.events.read(request).await.map(drop)), ["from_version"]);

    let list = v1::ListObjectsRequest::default();
    for (field, request) in [
        ("object_name", v1::ListObjectsRequest { object_name: "a-b".into(), ..list.clone() }),
        ("store", v1::ListObjectsRequest { store: "Hot".into(), ..list.clone() }),
        ("page_size", v1::ListObjectsRequest { page_size: 1_001, ..list.clone() }),
        ("page_token", v1::ListObjectsRequest { page_token: "x".into(), ..list.clone() }),
        ("page_token", v1::ListObjectsRequest { page_token: "x".repeat(9_000), ..list.clone() }),
    ] {
        assert_eq!(faults(server.events.list_objects(request).await), [field]);
    }
    let unknown = v1::ListObjectsRequest { store: "none".into(), ..list };
    let unknown = server.events.list_objects(unknown).await;
    let values = refused(unknown, Code::NotFound, Reason::StoreNotFound);
    assert_eq!(values["store"], "none");
}

#[tokio::test]
async fn every_field_of_a_migration_is_checked_and_named() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let good = || migrate("a", "cold");
    let options =
        |options: MigrationOptions| v1::MigrateRequest { options: Some(options), ..good() };
    let lasting = |seconds, nanos| Some(Duration { seconds, nanos });
    let source = |store: &str, stream_id: &str| {
        Some(v1::ExpectedSource { store: store.into(), stream_id: stream_id.into() })
    };
    let labels = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let plain = MigrationOptions::default;
    let cases = vec![
        ("request_id", v1::MigrateRequest { request_id: String::new(), ..good() }),
        ("request_id", v1::MigrateRequest { request_id: "x".repeat(129), ..good() }),
        ("request_id", v1::MigrateRequest { request_id: "\u{1}".into(), ..good() }),
        ("kind", v1::MigrateRequest { kind: 99, ..good() }),
        ("kind", v1::MigrateRequest { kind: -1, ..good() }),
        ("target_store", v1::MigrateRequest { target_store: String::new(), ..good() }),
        ("target_store", v1::MigrateRequest { target_store: "x".repeat(64), ..good() }),
        ("target_stream_id", v1::MigrateRequest { target_stream_id: "\n".into(), ..good() }),
        ("target_stream_id", v1::MigrateRequest { target_stream_id: "x".repeat(513), ..good() }),
        ("expected_source.store", v1::MigrateRequest { expected_source: source("", ""), ..good() }),
        (
            "expected_source.stream_id",
            v1::MigrateRequest { expected_source: source("hot", "\t"), ..good() },
        ),
        (
            "options.close_timeout",
            options(MigrationOptions { close_timeout: lasting(-1, 0), ..plain() }),
        ),
        (
            "options.close_timeout",
            options(MigrationOptions { close_timeout: lasting(0, 0), ..plain() }),
        ),
        (
            "options.close_timeout",
            options(MigrationOptions { close_timeout: lasting(i64::MAX, 0), ..plain() }),
        ),
        (
            "options.catch_up_delay",
            options(MigrationOptions { catch_up_delay: lasting(-5, -5), ..plain() }),
        ),
        (
            "options.catch_up_delay",
            options(MigrationOptions { catch_up_delay: lasting(86_401, 0), ..plain() }),
        ),
        (
            "options.on_convergence_failure",
            options(MigrationOptions { on_convergence_failure: 9, ..plain() }),
        ),
        (
            "options.page_events_max",
            options(MigrationOptions { page_events_max: u32::MAX, ..plain() }),
        ),
        ("labels key", v1::MigrateRequest { labels: labels("", "x"), ..good() }),
        ("labels[\"k\"]", v1::MigrateRequest { labels: labels("k", "\n"), ..good() }),
    ];
    for (field, request) in cases {
        let case = format!("{request:?}");
        assert_eq!(faults(server.migrations.migrate(request).await), [field], "{case}");
    }
    let all = v1::MigrateRequest {
        kind: 7,
        options: Some(MigrationOptions { on_convergence_failure: 9, ..plain() }),
        ..v1::MigrateRequest::default()
    };
    assert_eq!(
        faults(server.migrations.migrate(all).await),
        ["kind", "object", "options.on_convergence_failure", "request_id", "target_store"]
    );
    let listed = server.migrations.list_migrations(v1::ListMigrationsRequest::default()).await;
    assert!(listed.unwrap().into_inner().migrations.is_empty(), "nothing was started");
}

#[tokio::test]
async fn unknown_objects_stores_and_migrations_are_not_found() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let unknown = server.migrations.migrate(migrate("none", "cold")).await;
    let values = refused(unknown, Code::NotFound, Reason::ObjectNotFound);
    assert_eq!((&*values["object_name"], &*values["object_id"]), ("order", "none"));
    let unknown = server.migrations.migrate(migrate("a", "none")).await;
    refused(unknown, Code::NotFound, Reason::StoreNotFound);
    let unknown = server.events.get_object(v1::GetObjectRequest { object: object("none") }).await;
    refused(unknown, Code::NotFound, Reason::ObjectNotFound);

    for (migration_id, is_well_formed) in
        [(uuid(), true), (String::new(), false), ("x".into(), false), ("0".repeat(9_999), false)]
    {
        let id = || migration_id.clone();
        let migrations = &mut server.migrations;
        let answers = [
            migrations
                .get_migration(v1::GetMigrationRequest { migration_id: id() })
                .await
                .map(drop),
            migrations
                .watch_migration(v1::WatchMigrationRequest { migration_id: id() })
                .await
                .map(drop),
            migrations
                .pause_migration(v1::PauseMigrationRequest { migration_id: id() })
                .await
                .map(drop),
            migrations
                .resume_migration(v1::ResumeMigrationRequest { migration_id: id() })
                .await
                .map(drop),
            migrations
                .cancel_migration(v1::CancelMigrationRequest {
                    migration_id: id(),
                    remove_target: true,
                })
                .await
                .map(drop),
        ];
        for answer in answers {
            if is_well_formed {
                let values = refused(answer, Code::NotFound, Reason::MigrationNotFound);
                assert_eq!(values["migration_id"], migration_id);
            } else {
                assert_eq!(faults(answer), ["migration_id"]);
            }
        }
    }
    let list = v1::ListMigrationsRequest::default();
    for (fields, request) in [
        (
            vec!["phases[0]", "phases[1]"],
            v1::ListMigrationsRequest { phases: vec![0, 99], ..list.clone() },
        ),
        (vec!["page_size"], v1::ListMigrationsRequest { page_size: 1_001, ..list.clone() }),
        (vec!["page_token"], v1::ListMigrationsRequest { page_token: "\u{1}".into(), ..list }),
    ] {
        assert_eq!(faults(server.migrations.list_migrations(request).await), fields);
    }
}
