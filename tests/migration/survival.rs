//! A process that dies at one of its external calls, and what a fresh one must make of what it
//! left, without a person.

use std::time::Duration;

use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{ExpectedVersion, Version};
use streamgate::migration::{MigrationRequest, Phase};
use streamgate::runtime::Clock;
use streamgate::store::StoreError;
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Fate, FaultPlan};

use super::kit::Kit;

use MigrationKind::{Continue, Copy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    /// Migrate.
    Plain,
    /// A writer with the oldest route appends after the crash, before anyone resumes.
    WriterBetween,
    /// The migration is cancelled after the crash, its copy to be removed.
    Cancel,
}

/// The longest that a process is waited for which neither dies nor comes to an end.
const PATIENCE: Duration = Duration::from_secs(60);

async fn operate(process: &Process, request: MigrationRequest) {
    let id = request.migration_id();
    if process.migrations.start(request).await.is_err() {
        return;
    }
    if let Ok(mut watch) = process.migrations.watch(id).await {
        while let Some(Ok(_)) = watch.next().await {}
    }
}

/// Resolves when the process has lost its `number`-th call and goes on to another, where it dies.
async fn death(clock: &dyn Clock, plan: &FaultPlan, number: u64) {
    while plan.calls().len() as u64 <= number {
        clock.sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the story with a death at call `number`; true if that call was never reached. What a dead
/// process leaves is found after its lease has expired, which `lease_and_more` outlasts.
pub(crate) async fn survive(
    kit: Kit,
    (kind, story): (MigrationKind, Story),
    (number, fate): (u64, Fate),
    lease_and_more: Duration,
) -> bool {
    let stale = kit.deployment.healthy("stale");
    kit.write(&stale, 5).await;

    let plan = FaultPlan::die_at(number, fate);
    let dying = kit.deployment.process("dying", &plan);
    let request = kit.request_to(kind, "move", "cold");
    let id = request.migration_id();
    let clock = &kit.deployment.clock;
    let ended = tokio::select! {
        () = operate(&dying, request.clone()) => true,
        () = death(&**clock, &plan, number) => false,
        () = clock.sleep(PATIENCE) => false,
    };
    let untouched = ended && (plan.calls().len() as u64) < number;
    if !untouched {
        clock.sleep(lease_and_more).await;
    }
    dying.runtime.shutdown.begin();

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
    clock.sleep(lease_and_more).await;
    assert_eq!(kit.deployment.lock.holder(&kit.object).await.unwrap(), None);
    for process in [stale, fresh] {
        process.runtime.shutdown.begin();
    }
    untouched
}
