//! A process dies at its first external call, at its second, and so on until one run completes
//! untouched: once losing the request, once losing the answer. A fresh process must finish what it
//! left, without a person.

use std::time::Duration;

use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{ExpectedVersion, Version};
use streamgate::migration::{MigrationRequest, Phase};
use streamgate::store::StoreError;
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Fate, FaultPlan};

use crate::kit::Kit;

use MigrationKind::{Continue, Copy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// Migrate.
    Plain,
    /// A writer with the oldest route appends after the crash, before anyone resumes.
    WriterBetween,
    /// The migration is cancelled after the crash, its copy to be removed.
    Cancel,
}

/// What a dead process leaves is found after its lease has expired.
const LEASE_AND_MORE: Duration = Duration::from_secs(15);

async fn operate(process: &Process, request: MigrationRequest) {
    let id = request.migration_id();
    if process.migrations.start(request).await.is_err() {
        return;
    }
    if let Ok(mut watch) = process.migrations.watch(id).await {
        while let Some(Ok(_)) = watch.next().await {}
    }
}

/// Runs the story with a death at call `number`; true if that call was never reached.
async fn survive(kind: MigrationKind, story: Story, number: u64, fate: Fate) -> bool {
    let kit = Kit::new(number);
    let stale = kit.deployment.healthy("stale");
    kit.write(&stale, 5).await;

    let plan = FaultPlan::die_at(number, fate);
    let dying = kit.deployment.process("dying", &plan);
    let request = kit.request_to(kind, "move", "cold");
    let id = request.migration_id();
    let clock = &kit.deployment.clock;
    tokio::select! {
        () = operate(&dying, request.clone()) => {}
        () = clock.sleep(LEASE_AND_MORE) => {}
    }
    dying.runtime.shutdown.begin();
    let untouched = (plan.calls().len() as u64) < number;

    if story == Story::WriterBetween {
        kit.write(&stale, 1).await;
    }
    let fresh = kit.deployment.healthy("fresh");
    if fresh.migrations.get(id).await.is_err() {
        // The operator got no answer and asks again.
        fresh.migrations.start(request).await.unwrap();
    }
    if story == Story::Cancel {
        // It may come too late, and says so.
        let _ = fresh.migrations.cancel(id, true).await;
        kit.wait_for(&fresh, id, |view| view.record.phase.has_ended()).await;
        // The source goes past the copy, so that the end can become final.
        kit.write(&stale, 1).await;
        if kind == Continue {
            // Nothing but another's close stops a sleeper that copies nothing.
            kit.run(&fresh, kit.request_to(Continue, "another", "archive")).await;
        }
    }
    let view = kit.wait_final(&fresh, id).await;
    kit.write(&stale, 2).await;
    kit.check(&fresh).await;
    kit.check(&stale).await;

    let document = fresh.proxy.object(&kit.object).await.unwrap().document;
    match view.record.phase {
        Phase::Succeeded => {
            match kind {
                Copy => {
                    let certificate = view.record.certificate.expect("success is certified");
                    assert_eq!(certificate.source_checksum, certificate.target_checksum);
                    assert_eq!(document.active.base, Version::FIRST);
                }
                Continue => {
                    assert_eq!(view.record.certificate, None, "nothing was copied");
                    let source = &document.terminated_streams[0];
                    assert_eq!(view.progress.source_head, source.head);
                }
            }
            let moved = document.chain().find(|stream| stream.made_by == Some(id));
            assert_eq!(moved.map(|stream| &stream.address), view.record.target.as_ref());
            assert!(story == Story::Cancel || document.active.made_by == Some(id));
        }
        Phase::Cancelled => {
            assert_eq!(story, Story::Cancel);
            assert!(document.chain().all(|stream| stream.made_by != Some(id)));
            if let Some(target) = view.record.target.clone() {
                let mut stream = document.active.clone();
                stream.address = target;
                match kind {
                    Copy => {
                        let tail = kit.tail(&stream).await.unwrap();
                        let close = tail.closed.as_ref().expect("a cancelled copy is sealed");
                        assert!(close.continuation.is_none() && tail.removed, "{tail:?}");
                    }
                    // It is never closed and never removed; the header may be missing.
                    Continue => {
                        let left = kit.tail(&stream).await;
                        let is_left_alone = match &left {
                            Ok(tail) => tail.closed.is_none() && !tail.removed,
                            Err(error) => matches!(error, StoreError::NotFound),
                        };
                        assert!(is_left_alone, "{left:?}");
                    }
                }
            }
        }
        phase => panic!("{phase:?}: {:#?}", view.record),
    }
    let exact = ExpectedVersion::Exact(
        fresh.proxy.object(&kit.object).await.unwrap().head.version().unwrap(),
    );
    kit.append(&stale, exact, kit.events(1)).await.unwrap();
    clock.sleep(LEASE_AND_MORE).await;
    assert_eq!(kit.deployment.lock.holder(&kit.object).await.unwrap(), None);
    untouched
}

async fn matrix(kind: MigrationKind, story: Story, fate: Fate) {
    for number in 1.. {
        let replay = format!("{kind:?}, {story:?}, {fate:?} at call {number}");
        let run = tokio::task::LocalSet::new();
        let untouched = run.run_until(survive(kind, story, number, fate)).await;
        if untouched {
            println!("{replay}: untouched; {} crash points survived", number - 1);
            assert!(number > 12, "the matrix has to reach every call of a migration");
            return;
        }
    }
}

macro_rules! crash_matrix {
    ($($name:ident: $kind:expr, $story:expr, $fate:expr;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                matrix($kind, $story, $fate).await;
            }
        )*
    };
}

crash_matrix! {
    a_lost_request_at_every_call: Copy, Story::Plain, Fate::LoseRequest;
    a_lost_answer_at_every_call: Copy, Story::Plain, Fate::LoseAnswer;
    a_lost_request_and_a_stale_writer: Copy, Story::WriterBetween, Fate::LoseRequest;
    a_lost_answer_and_a_stale_writer: Copy, Story::WriterBetween, Fate::LoseAnswer;
    a_lost_request_and_a_cancellation: Copy, Story::Cancel, Fate::LoseRequest;
    a_lost_answer_and_a_cancellation: Copy, Story::Cancel, Fate::LoseAnswer;
    without_copy_a_lost_request_at_every_call: Continue, Story::Plain, Fate::LoseRequest;
    without_copy_a_lost_answer_at_every_call: Continue, Story::Plain, Fate::LoseAnswer;
    without_copy_a_lost_request_and_a_stale_writer:
        Continue, Story::WriterBetween, Fate::LoseRequest;
    without_copy_a_lost_answer_and_a_stale_writer: Continue, Story::WriterBetween, Fate::LoseAnswer;
    without_copy_a_lost_request_and_a_cancellation: Continue, Story::Cancel, Fate::LoseRequest;
    without_copy_a_lost_answer_and_a_cancellation: Continue, Story::Cancel, Fate::LoseAnswer;
}

/// One call fails and the process lives on: it finishes by itself.
async fn single_failures_of(kind: MigrationKind) {
    for fate in [Fate::LoseRequest, Fate::LoseAnswer, Fate::Late] {
        for number in 1.. {
            let kit = Kit::new(number);
            let stale = kit.deployment.healthy("stale");
            kit.write(&stale, 5).await;
            let plan = FaultPlan::fail_once_at(number, fate);
            let process = kit.deployment.process("living", &plan);
            let supervise = process.migrations.clone().supervise();
            process.runtime.shutdown.spawn(supervise);
            let request = kit.request_to(kind, "move", "cold");
            let id = request.migration_id();
            if process.migrations.start(request.clone()).await.is_err() {
                process.migrations.start(request).await.unwrap();
            }
            kit.wait_final(&process, id).await;
            while plan.land_late().await {}
            kit.write(&stale, 2).await;
            kit.check(&stale).await;
            kit.check(&kit.deployment.healthy("fresh")).await;
            if (plan.calls().len() as u64) < number {
                break;
            }
            // The supervisor scans forever, so there is always one more call: enough is enough.
            if number > 60 {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_single_failure_is_survived_by_the_process_itself() {
    single_failures_of(Copy).await;
}

#[tokio::test(start_paused = true)]
async fn without_copy_any_single_failure_is_survived_by_the_process_itself() {
    single_failures_of(Continue).await;
}
