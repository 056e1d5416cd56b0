//! A process dies at its first external call, at its second, and so on until one run completes
//! untouched: once losing the request, once losing the answer.

use std::time::Duration;

use streamgate::domain::close_event::MigrationKind;
use streamgate::testing::faulty::{Fate, FaultPlan};

use crate::kit::Kit;
use crate::survival::{Story, survive};

use MigrationKind::{Continue, Copy};

const LEASE_AND_MORE: Duration = Duration::from_secs(15);

async fn matrix(kind: MigrationKind, story: Story, fate: Fate) {
    for number in 1.. {
        let replay = format!("{kind:?}, {story:?}, {fate:?} at call {number}");
        let run = tokio::task::LocalSet::new();
        let survive = survive(Kit::new(number), (kind, story), (number, fate), LEASE_AND_MORE);
        let untouched = run.run_until(survive).await;
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
