//! Migrations as operators run them.

use std::time::Duration;

use streamgate::domain::reason::Reason;
use streamgate::domain::{ExpectedVersion, Head, StreamId, Version};
use streamgate::migration::{
    ExpectedSource, ListMigrations, MigrationError, OnConvergenceFailure, Phase,
};
use streamgate::proxy::ProxyError;
use streamgate::testing::deployment::store_name;
use streamgate::testing::faulty::FaultPlan;

use crate::kit::Kit;

#[tokio::test(start_paused = true)]
async fn an_object_moves_through_three_stores_and_back() {
    let kit = Kit::new(1);
    let process = kit.deployment.healthy("a");
    let stale = kit.deployment.healthy("stale");
    kit.write(&process, 7).await;
    kit.write(&stale, 1).await;
    for (number, target) in ["cold", "archive", "hot"].into_iter().enumerate() {
        let view = kit.migrate(&process, &format!("move-{number}"), target).await;
        let certificate = view.record.certificate.unwrap();
        assert_eq!(certificate.events, 8 + number as u64);
        assert_eq!(certificate.source_checksum, certificate.target_checksum);
        kit.write(&process, 1).await;
    }
    // Three closed streams stand between the stale route and the object.
    kit.write(&stale, 1).await;
    kit.check(&process).await;
    kit.check(&stale).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_without_events_moves() {
    let kit = Kit::new(2);
    let process = kit.deployment.healthy("a");
    let refused = kit.append(&process, ExpectedVersion::Exact(Version(0)), kit.events(1)).await;
    assert!(matches!(refused, Err(ProxyError::WrongExpectedVersion(_))));
    let absent = process.migrations.start(kit.request("m", "cold")).await;
    assert!(matches!(absent, Err(MigrationError::ObjectNotFound { .. })));

    // The document exists, and the first append was refused by its own limits.
    kit.write(&process, 1).await;
    kit.migrate(&process, "m", "cold").await;
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_request_is_one_migration() {
    let kit = Kit::new(3);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 3).await;
    let first = kit.migrate(&process, "once", "cold").await;
    let again = process.migrations.start(kit.request("once", "cold")).await.unwrap();
    assert_eq!(first.record, again.record);
    let other = process.migrations.start(kit.request("once", "archive")).await;
    assert!(matches!(other, Err(MigrationError::Invalid(_))), "{other:?}");

    let mut twice = kit.request("twice", "archive");
    twice.expected_source = Some(ExpectedSource { store: store_name("hot"), stream_id: None });
    let refused = process.migrations.start(twice).await;
    assert!(matches!(refused, Err(MigrationError::UnexpectedSource { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn validating_writes_nothing() {
    let kit = Kit::new(4);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 3).await;
    let mut request = kit.request("look", "cold");
    request.validate_only = true;
    let view = process.migrations.start(request.clone()).await.unwrap();
    assert_eq!(view.record.phase, Phase::Preparing);
    let found = process.migrations.get(request.migration_id()).await;
    assert!(matches!(found, Err(MigrationError::MigrationNotFound { .. })));
    request.target_store = store_name("nowhere");
    let refused = process.migrations.start(request).await;
    assert!(matches!(refused, Err(MigrationError::UnknownStore(_))));
}

#[tokio::test(start_paused = true)]
async fn a_paused_migration_rests_until_it_is_resumed() {
    let kit = Kit::new(5);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 20).await;
    let mut request = kit.request("rest", "cold");
    request.options.events_per_second_max = Some(10);
    let id = request.migration_id();
    process.migrations.start(request).await.unwrap();
    let copied = |view: &streamgate::migration::MigrationView| view.progress.events_copied;
    kit.wait_for(&process, id, |view| copied(view) > 0).await;
    assert!(process.migrations.pause(id).await.unwrap().record.orders.paused);
    kit.deployment.clock.sleep(Duration::from_secs(2)).await;
    let rested = copied(&process.migrations.get(id).await.unwrap());
    kit.deployment.clock.sleep(Duration::from_secs(600)).await;
    assert_eq!(copied(&process.migrations.get(id).await.unwrap()), rested);
    assert!(rested < 20);
    kit.write(&process, 1).await;
    process.migrations.resume(id).await.unwrap();
    // The pause outlasted close_timeout and does not count.
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
    kit.check(&process).await;
    let late = process.migrations.pause(id).await;
    assert!(matches!(late, Err(MigrationError::InvalidTransition { .. })), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_migration_lets_another_begin() {
    let kit = Kit::new(6);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 20).await;
    let mut request = kit.request("first", "cold");
    request.options.events_per_second_max = Some(5);
    let id = request.migration_id();
    process.migrations.start(request).await.unwrap();
    kit.wait_for(&process, id, |view| view.progress.events_copied > 0).await;
    let second = process.migrations.start(kit.request("second", "archive")).await;
    assert!(matches!(second, Err(MigrationError::AlreadyRunning { running }) if running == id));

    process.migrations.cancel(id, true).await.unwrap();
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.phase, Phase::Cancelled);
    kit.migrate(&process, "second", "archive").await;
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn a_complete_copy_is_not_settled_before_the_source_goes_past_it() {
    let kit = Kit::new(7);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 4).await;
    let mut request = kit.request("first", "cold");
    // Everything fits one page; the pause order arrives before the close.
    request.options.page_events_max = 100;
    request.options.bytes_per_second_max = Some(1);
    let id = request.migration_id();
    process.migrations.start(request).await.unwrap();
    process.migrations.cancel(id, true).await.unwrap();
    let view = kit.wait_for(&process, id, |view| view.record.phase.has_ended()).await;
    if view.record.phase == Phase::Cancelled && view.record.target.is_some() {
        kit.write(&process, 1).await;
    }
    kit.wait_final(&process, id).await;
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_exists_is_refused_and_left_alone() {
    let kit = Kit::new(8);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 3).await;
    let first = kit.migrate(&process, "first", "cold").await;
    let taken = first.record.target.unwrap();
    let mut request = kit.request("second", "cold");
    request.target_stream_id = Some(taken.stream_id.clone());
    let refused = process.migrations.start(request).await;
    assert!(matches!(refused, Err(MigrationError::TargetNotEmpty { .. })), "{refused:?}");

    let mut chosen = kit.request("third", "hot");
    chosen.target_stream_id = Some(StreamId::new("orders by hand").unwrap());
    let id = chosen.migration_id();
    process.migrations.start(chosen).await.unwrap();
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.target.unwrap().stream_id.as_str(), "orders by hand");
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_written_without_pause_fails_or_is_paused() {
    for (strategy, expected) in [
        (OnConvergenceFailure::Fail, Phase::Failed),
        (OnConvergenceFailure::KeepTrying, Phase::Failed),
        (OnConvergenceFailure::PauseSource, Phase::Succeeded),
    ] {
        let kit = Kit::new(9);
        let process = kit.deployment.healthy("a");
        kit.write(&process, 300).await;
        let mut request = kit.request("hot", "cold");
        request.options.on_convergence_failure = strategy;
        request.options.close_timeout = Duration::from_secs(20);
        // Each round takes long enough for the writer to be ahead again.
        request.options.page_events_max = 5_000;
        request.options.events_per_second_max = Some(800);
        let id = request.migration_id();
        process.migrations.start(request).await.unwrap();
        let writing = async {
            loop {
                kit.write(&process, 1).await;
                kit.deployment.clock.sleep(Duration::from_millis(1)).await;
            }
        };
        let view = tokio::select! {
            () = writing => unreachable!("the writer never ends"),
            view = kit.wait_for(&process, id, |view| view.record.phase.has_ended()) => view,
        };
        assert_eq!(view.record.phase, expected, "{strategy:?}: {view:#?}");
        let reason = view.record.failure.map(|failure| failure.reason);
        match strategy {
            OnConvergenceFailure::Fail => assert_eq!(reason, Some(Reason::NotConverging)),
            OnConvergenceFailure::KeepTrying => assert_eq!(reason, Some(Reason::CloseTimeout)),
            OnConvergenceFailure::PauseSource => assert_eq!(reason, None),
        }
        kit.write(&process, 1).await;
        kit.wait_final(&process, id).await;
        kit.check(&process).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_leaves_a_migration_that_goes_on_elsewhere() {
    let kit = Kit::new(10);
    let stopping = kit.deployment.process("stopping", &FaultPlan::none());
    kit.write(&stopping, 30).await;
    let mut request = kit.request("long", "cold");
    request.options.events_per_second_max = Some(10);
    let id = request.migration_id();
    stopping.migrations.start(request).await.unwrap();
    kit.wait_for(&stopping, id, |view| view.progress.events_copied > 2).await;
    stopping.runtime.shutdown.begin();
    stopping.runtime.shutdown.ended().await;

    let next = kit.deployment.healthy("next");
    let view = kit.wait_final(&next, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    assert_eq!(view.record.certificate.unwrap().events, 30);
    kit.check(&next).await;
}

#[tokio::test(start_paused = true)]
async fn watching_shows_the_state_at_once_and_ends_with_the_migration() {
    let kit = Kit::new(11);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 10).await;
    let started = process.migrations.start(kit.request("seen", "cold")).await.unwrap();
    let mut watch = process.migrations.watch(started.record.migration).await.unwrap();
    let mut last = None;
    while let Some(view) = watch.next().await {
        last = Some(view.unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.record.phase, Phase::Succeeded);
    assert_eq!(last.progress.target_head, Head::at(Version(9)));
    let listed = process.migrations.list(ListMigrations { page_size: 10, ..Default::default() });
    assert_eq!(listed.await.unwrap().migrations.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_refusal_names_the_continuation_when_the_client_wants_to_follow_itself() {
    let kit = Kit::new(12);
    let process = kit.deployment.healthy("a");
    let stale = kit.deployment.healthy("stale");
    kit.write(&stale, 3).await;
    let view = kit.migrate(&process, "m", "cold").await;
    let command = streamgate::proxy::AppendCommand {
        object: kit.object.clone(),
        expected: ExpectedVersion::Any,
        events: kit.events(1),
        auto_retry_on_stream_closure: Some(false),
        deadline: None,
    };
    let refused = stale.proxy.append(command).await;
    let Err(ProxyError::StreamClosed { continuation: Some(next), .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(Some(next.address), view.record.target);
    kit.write(&stale, 1).await;
    kit.check(&stale).await;
}
