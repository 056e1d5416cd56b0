//! Races by name.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::InProcessLock;
use streamgate::domain::ExpectedVersion;
use streamgate::migration::{OnConvergenceFailure, Phase};
use streamgate::testing::faulty::{Fate, FaultPlan};

use streamgate::testing::lying::Bug;

use crate::kit::Kit;

/// Two processes run migrations of one object to different targets; one moves it, the other says
/// that it did not.
#[tokio::test(start_paused = true)]
async fn two_migrators_to_different_targets() {
    let kit = Kit::new(1);
    let one = kit.deployment.healthy("one");
    let two = kit.deployment.healthy("two");
    kit.write(&one, 6).await;
    let (a, b) = (kit.request("a", "cold"), kit.request("b", "archive"));
    let ids = [a.migration_id(), b.migration_id()];
    let (first, second) = tokio::join!(one.migrations.start(a), two.migrations.start(b));
    let started: Vec<_> = [first.is_ok(), second.is_ok()].into();
    assert!(started.contains(&true));
    let mut succeeded = 0;
    for (id, process) in ids.into_iter().zip([&one, &two]) {
        if process.migrations.get(id).await.is_err() {
            continue;
        }
        let view = kit.wait_for(process, id, |view| view.record.phase.has_ended()).await;
        succeeded += usize::from(view.record.phase == Phase::Succeeded);
    }
    assert_eq!(succeeded, 1);
    kit.write(&one, 1).await;
    kit.write(&two, 1).await;
    kit.check(&one).await;
    kit.check(&two).await;
}

/// A writer whose route is three migrations old appends in one call.
#[tokio::test(start_paused = true)]
async fn a_writer_with_a_route_three_migrations_old() {
    let kit = Kit::new(2);
    let process = kit.deployment.healthy("a");
    let stale = kit.deployment.healthy("stale");
    kit.write(&stale, 2).await;
    for (number, target) in ["cold", "archive", "hot"].into_iter().enumerate() {
        kit.migrate(&process, &format!("{number}"), target).await;
    }
    let done = kit.append(&stale, ExpectedVersion::Any, kit.events(1)).await.unwrap();
    assert_eq!(done.followed, 1, "the document is past all of them");
    kit.check(&stale).await;
}

/// The answer to an append is lost at the cut-over; the repetition is told the first answer.
#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_was_lost_at_the_cut_over() {
    let kit = Kit::new(3);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 3).await;
    // The first append of this process reads the document, and then loses its answer.
    let lossy = FaultPlan::new(|call| match (call.operation, call.number) {
        ("append", _) => Fate::LoseAnswer,
        _ => Fate::Done,
    });
    let unlucky = kit.deployment.process("unlucky", &lossy);
    let events = kit.events(2);
    let lost = kit.append(&unlucky, ExpectedVersion::Any, events.clone()).await;
    assert!(lost.is_err(), "{lost:?}");
    kit.migrate(&process, "m", "cold").await;
    let again = kit.append(&process, ExpectedVersion::Any, events).await.unwrap();
    assert!(again.replay);
    assert_eq!((again.first.0, again.last.0), (3, 4));
    kit.check(&process).await;
}

/// Sixteen writers on one object without pause while it moves; none sees an error.
#[tokio::test(start_paused = true)]
async fn a_hot_stream_written_as_fast_as_it_can_be() {
    let kit = std::sync::Arc::new(Kit::new(4));
    let process = kit.deployment.healthy("a");
    kit.write(&process, 1).await;
    let mut request = kit.request("hot", "cold");
    request.options.on_convergence_failure = OnConvergenceFailure::PauseSource;
    request.options.page_events_max = 100;
    let id = request.migration_id();
    let writers = async {
        let writer = |number: u64| {
            let (kit, process) = (&kit, &process);
            async move {
                for _ in 0..200 {
                    kit.write(process, 1).await;
                    kit.deployment.clock.sleep(Duration::from_micros(100 + number)).await;
                }
            }
        };
        futures::future::join_all((0..16).map(writer)).await;
    };
    process.migrations.start(request).await.unwrap();
    writers.await;
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
    kit.check(&process).await;
    assert_eq!(kit.history.lock().unwrap().acknowledged(&kit.object), 1 + 16 * 200);
}

/// A migrator sleeps over its own cancellation and wakes while another process is about to settle
/// its copy: it copies on and closes, and the copy must still be there.
async fn wakes_while_its_copy_is_settled(kit: &Kit) {
    let before = kit.deployment.process("before", &FaultPlan::none());
    kit.write(&before, 5).await;
    let mut appends = 0;
    let sleepy = FaultPlan::new(move |call| {
        appends += u32::from(call.part == "cold" && call.operation == "append");
        match call.operation {
            "append" if appends == 2 => Fate::Stall(Duration::from_secs(30)),
            _ => Fate::Done,
        }
    });
    // Its half of the lock service tells it that all is well.
    let half = Arc::new(InProcessLock::new(Arc::clone(&kit.deployment.clock)));
    let sleeper = kit.deployment.process_apart("sleeper", &sleepy, half);
    let request = kit.request("slept", "cold");
    let id = request.migration_id();
    sleeper.migrations.start(request).await.unwrap();
    // The others may have its lease, and it does not look at its record meanwhile.
    let settling = FaultPlan::new(|call| match (call.part, call.operation) {
        ("cold", "close") => Fate::Stall(Duration::from_secs(40)),
        _ => Fate::Done,
    });
    kit.deployment.clock.sleep(Duration::from_secs(12)).await;
    let settler = kit.deployment.process("settler", &settling);
    settler.migrations.cancel(id, true).await.unwrap();
    settler.runtime.shutdown.spawn(settler.migrations.clone().supervise());
    let view = kit.wait_final(&settler, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded, "the close came first: {view:#?}");
    // By now the settler has done what it was about to do.
    kit.deployment.clock.sleep(Duration::from_secs(60)).await;
    kit.check(&before).await;
    kit.write(&before, 1).await;
    kit.check(&settler).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_removed_under_a_sleeping_migrator() {
    let mut kit = Kit::new(5);
    kit.deployment.migration_settings.record_interval = Duration::from_secs(3_600);
    kit.deployment.migration_settings.lease_ttl = Duration::from_secs(10);
    wakes_while_its_copy_is_settled(&kit).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "which was removed")]
async fn planted_a_removal_by_check_then_act_is_found() {
    let mut kit = Kit::with_bug(5, Bug::RemovalByCheckThenAct);
    kit.deployment.migration_settings.record_interval = Duration::from_secs(3_600);
    wakes_while_its_copy_is_settled(&kit).await;
}

/// A cancelled migration leaves a complete copy that cannot be settled yet; another migration
/// moves the object to the same store; only then is the first one settled.
async fn moves_on_after_an_unsettled_copy(kit: &Kit) {
    let stubborn = FaultPlan::new(|call| match (call.part, call.operation) {
        ("hot", "close") => Fate::LoseRequest,
        _ => Fate::Done,
    });
    let first = kit.deployment.process("first", &stubborn);
    kit.write(&first, 5).await;
    let request = kit.request("first", "cold");
    let id = request.migration_id();
    first.migrations.start(request).await.unwrap();
    kit.wait_for(&first, id, |view| view.record.phase == Phase::Closing).await;
    first.migrations.cancel(id, true).await.unwrap();
    let view = kit.wait_for(&first, id, |view| view.record.phase.has_ended()).await;
    assert!(view.record.provisional, "the copy is complete, so a close could still overtake it");

    let second = kit.deployment.process("second", &FaultPlan::none());
    kit.migrate(&second, "second", "cold").await;
    kit.write(&second, 1).await;
    second.migrations.scan().await;
    let view = kit.wait_final(&second, id).await;
    assert_eq!(view.record.phase, Phase::Cancelled);
    kit.write(&second, 1).await;
    kit.check(&second).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_settled_after_another_migration_moved_the_object() {
    moves_on_after_an_unsettled_copy(&Kit::new(6)).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "names no continuation")]
async fn planted_a_target_shared_by_two_migrations_is_found() {
    moves_on_after_an_unsettled_copy(&Kit::with_bug(6, Bug::TargetSharedByTwoMigrations)).await;
}
