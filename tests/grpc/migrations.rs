//! MigrationService as an operator sees it.

use std::time::Duration;

use streamgate::domain::Reason;
use streamgate::grpc::v1::{self, MigrationPhase};
use tonic::Code;

use crate::kit::{Server, append, history, object, payloads, read, refused, uuid};

pub(crate) fn migrate(id: &str, store: &str) -> v1::MigrateRequest {
    v1::MigrateRequest {
        request_id: uuid(),
        object: object(id),
        target_store: store.into(),
        ..v1::MigrateRequest::default()
    }
}

/// Moves an object and returns the migration as it ended.
pub(crate) async fn migrate_and_wait(server: &mut Server, id: &str, store: &str) -> v1::Migration {
    let started = server.migrations.migrate(migrate(id, store)).await.unwrap().into_inner();
    let migration_id = started.migration.unwrap().migration_id;
    let ended = watch_to_the_end(server, &migration_id).await;
    assert_eq!(ended.phase(), MigrationPhase::Succeeded, "{ended:?}");
    ended
}

async fn watch_to_the_end(server: &mut Server, migration_id: &str) -> v1::Migration {
    let watch = v1::WatchMigrationRequest { migration_id: migration_id.to_owned() };
    let mut changes = server.migrations.watch_migration(watch).await.unwrap().into_inner();
    let mut last = None;
    while let Some(change) = changes.message().await.unwrap() {
        last = change.migration;
    }
    last.expect("a watch shows the current state at once")
}

/// A migration that cannot get further than a page a second.
pub(crate) fn slow(id: &str) -> v1::MigrateRequest {
    let options = v1::MigrationOptions {
        events_per_second_max: Some(1),
        page_events_max: 1,
        ..v1::MigrationOptions::default()
    };
    v1::MigrateRequest { options: Some(options), ..migrate(id, "cold") }
}

#[tokio::test]
async fn a_migration_moves_the_object_and_shows_its_certificate() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1", "2", "3"])).await.unwrap();
    let ended = migrate_and_wait(&mut server, "a", "cold").await;
    let certificate = ended.certificate.clone().unwrap();
    assert_eq!((certificate.events, certificate.last_version), (3, Some(2)));
    assert_eq!(certificate.source_checksum, certificate.target_checksum);
    assert_eq!(certificate.source_checksum.len(), 32);
    assert_eq!(ended.kind(), v1::MigrationKind::Copy);
    assert_eq!(ended.object, object("a"));
    assert_eq!(ended.source.clone().unwrap().store, "hot");
    let target = ended.target.clone().unwrap();
    assert_eq!((&*target.store, &*target.made_by), ("cold", &*ended.migration_id));
    let progress = ended.progress.unwrap();
    assert_eq!((progress.target_version, progress.events_behind), (Some(2), 0));
    assert!(progress.percent_complete > 99.9);
    assert!(ended.error.is_none() && ended.ended_at.is_some() && !ended.provisional);
    assert!(ended.options.unwrap().close_timeout.is_some());

    let get = v1::GetMigrationRequest { migration_id: ended.migration_id.clone() };
    let found = server.migrations.get_migration(get).await.unwrap().into_inner();
    assert_eq!(found.migration.unwrap().phase(), MigrationPhase::Succeeded);
    let (header, events) = history(&mut server.events, read("a")).await.unwrap();
    assert_eq!(payloads(&events), ["1", "2", "3"]);
    assert_eq!(header.chain.last().unwrap().stream_id, target.stream_id);
}

#[tokio::test]
async fn the_same_request_is_the_same_migration_and_validation_starts_none() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1"])).await.unwrap();
    let request = migrate("a", "cold");
    let dry = v1::MigrateRequest { validate_only: true, ..request.clone() };
    server.migrations.migrate(dry).await.unwrap();
    let list = v1::ListMigrationsRequest::default();
    let listed = server.migrations.list_migrations(list.clone()).await.unwrap().into_inner();
    assert!(listed.migrations.is_empty(), "{listed:?}");

    let id = |answer: tonic::Response<v1::MigrateResponse>| {
        answer.into_inner().migration.unwrap().migration_id
    };
    let first = id(server.migrations.migrate(request.clone()).await.unwrap());
    watch_to_the_end(&mut server, &first).await;
    let again = id(server.migrations.migrate(request).await.unwrap());
    assert_eq!(first, again);
    let listed = server.migrations.list_migrations(list).await.unwrap().into_inner();
    assert_eq!(listed.migrations.len(), 1);
    assert_eq!(listed.next_page_token, "");
}

#[tokio::test]
async fn a_script_that_runs_twice_does_not_move_twice() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1"])).await.unwrap();
    migrate_and_wait(&mut server, "a", "cold").await;
    let expected_source = Some(v1::ExpectedSource { store: "hot".into(), stream_id: "".into() });
    let again = v1::MigrateRequest { expected_source, ..migrate("a", "hot") };
    let again = server.migrations.migrate(again).await;
    let values = refused(again, Code::FailedPrecondition, Reason::InvalidTransition);
    assert_eq!(values["actual_store"], "cold");
}

#[tokio::test]
async fn verbs_steer_a_running_migration_and_are_refused_after_its_end() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1", "2", "3", "4", "5", "6"])).await.unwrap();
    let started = server.migrations.migrate(slow("a")).await.unwrap().into_inner();
    let migration_id = started.migration.unwrap().migration_id;
    let pause = v1::PauseMigrationRequest { migration_id: migration_id.clone() };
    let resume = v1::ResumeMigrationRequest { migration_id: migration_id.clone() };
    let cancel =
        v1::CancelMigrationRequest { migration_id: migration_id.clone(), remove_target: false };
    let paused = server.migrations.pause_migration(pause.clone()).await.unwrap().into_inner();
    assert!(paused.migration.unwrap().paused);

    let second = server.migrations.migrate(migrate("a", "cold")).await;
    let values = refused(second, Code::Aborted, Reason::MigrationAlreadyRunning);
    assert_eq!(values["running_migration"], migration_id);

    let resumed = server.migrations.resume_migration(resume.clone()).await.unwrap().into_inner();
    assert!(!resumed.migration.unwrap().paused);
    server.migrations.cancel_migration(cancel).await.unwrap();
    // Until the source has gone past the copy, the end can still be overtaken.
    let get = v1::GetMigrationRequest { migration_id: migration_id.clone() };
    loop {
        let found = server.migrations.get_migration(get.clone()).await.unwrap().into_inner();
        if found.migration.unwrap().phase() == MigrationPhase::Cancelled {
            break;
        }
        tokio::task::yield_now().await;
    }
    for (verb, refusal) in [
        ("pause", server.migrations.pause_migration(pause).await.map(drop)),
        ("resume", server.migrations.resume_migration(resume).await.map(drop)),
    ] {
        let values = refused(refusal, Code::FailedPrecondition, Reason::InvalidTransition);
        assert_eq!(values["phase"], "CANCELLED", "{verb}");
    }
    let phases = vec![MigrationPhase::Cancelled.into()];
    let list = v1::ListMigrationsRequest { phases, ..Default::default() };
    let listed = server.migrations.list_migrations(list).await.unwrap().into_inner();
    assert_eq!(listed.migrations.len(), 1);
    let phases = vec![MigrationPhase::Succeeded.into()];
    let list = v1::ListMigrationsRequest { phases, ..Default::default() };
    let listed = server.migrations.list_migrations(list).await.unwrap().into_inner();
    assert!(listed.migrations.is_empty());
    server.events.append(append("a", &["7"])).await.expect("the source goes on");
}

#[tokio::test]
async fn what_a_request_leaves_out_is_as_the_server_is_configured() {
    let mut server = Server::with(&["[migration.defaults]
        close_timeout = '77s'
        events_per_second_max = 5
        bytes_per_second_max = 6
        on_convergence_failure = 'FAIL'"])
    .await;
    server.events.append(append("a", &["1"])).await.unwrap();
    let options = v1::MigrationOptions {
        catch_up_delay: Some(Duration::from_millis(3).try_into().unwrap()),
        bytes_per_second_max: Some(0),
        ..v1::MigrationOptions::default()
    };
    let request =
        v1::MigrateRequest { options: Some(options), validate_only: true, ..migrate("a", "cold") };
    let answer = server.migrations.migrate(request).await.unwrap().into_inner();
    let options = answer.migration.unwrap().options.unwrap();
    assert_eq!(options.close_timeout.unwrap().seconds, 77);
    assert_eq!(options.catch_up_delay.unwrap().nanos, 3_000_000);
    assert_eq!(options.on_convergence_failure(), v1::ConvergenceFailure::Fail);
    assert_eq!(options.events_per_second_max, Some(5));
    assert_eq!(options.bytes_per_second_max, Some(0), "the request lifted the limit");
}

#[tokio::test]
async fn migrations_are_measured() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1", "2", "3"])).await.unwrap();
    migrate_and_wait(&mut server, "a", "cold").await;
    // The watch ends with the record; the process lets go of the lock after it.
    let ended = "streamgate_migrations_ended_total{phase=\"SUCCEEDED\"} 1\n";
    let mut metrics = server.http("/metrics").await;
    while !metrics.contains(ended) {
        metrics = server.http("/metrics").await;
    }
    for expected in [
        "streamgate_migration_events_copied_total 3\n",
        "streamgate_migrations_running 0\n",
        "streamgate_store_calls_in_flight{store=\"cold\"} 0\n",
    ] {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
}
