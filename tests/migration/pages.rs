//! Pages of a copy: the next one is read while one is appended, and never taken for the end.

use std::time::Duration;

use streamgate::domain::{Checksum, ExpectedVersion, Version};
use streamgate::testing::faulty::{Call, Fate, FaultPlan};

use crate::kit::Kit;

/// Appends to the target take this long.
const APPEND: Duration = Duration::from_secs(1);
/// What a dead process leaves is found after its lease has expired.
const LEASE_AND_MORE: Duration = Duration::from_secs(15);

fn slow_target() -> FaultPlan {
    FaultPlan::new(
        |call| if is(&call, "cold", "append") { Fate::Stall(APPEND) } else { Fate::Done },
    )
}

fn is(call: &Call, part: &str, operation: &str) -> bool {
    call.part == part && call.operation == operation
}

/// Pages of both sides, in the order in which they were asked for.
fn pages(plan: &FaultPlan) -> String {
    let told = |call: &Call| match (call.part, call.operation) {
        ("hot", "read") => Some("read"),
        ("cold", "append") => Some("append"),
        ("cold", "read") => Some("back"),
        ("hot", "close") => Some("close"),
        _ => None,
    };
    plan.calls().iter().filter_map(told).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_read_while_one_is_appended() {
    let kit = Kit::new(31);
    kit.write(&kit.deployment.healthy("writer"), 7).await;
    let plan = slow_target();
    let process = kit.deployment.process("a", &plan);
    kit.migrate(&process, "m", "cold").await;
    // The last page is read again in its turn: the close follows it.
    let expected = "read append read back append read back append read back read append back close";
    assert_eq!(pages(&plan), expected);
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn what_came_while_the_last_page_was_read_ahead_is_copied_before_the_close() {
    let kit = Kit::new(32);
    let writer = kit.deployment.healthy("writer");
    kit.write(&writer, 5).await;
    let plan = slow_target();
    let process = kit.deployment.process("a", &plan);
    let started = process.migrations.start(kit.request("m", "cold")).await.unwrap();
    // The second append is on its way, and the third page, of one event, was read.
    while plan.calls().iter().filter(|call| is(call, "cold", "append")).count() < 2 {
        kit.deployment.clock.sleep(APPEND / 10).await;
    }
    kit.write(&writer, 1).await;
    kit.wait_final(&process, started.record.migration).await;
    assert_eq!(pages(&plan).matches("close").count(), 1, "{}", pages(&plan));
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_compared_in_halves_has_the_checksum_of_the_whole() {
    let kit = Kit::new(33);
    let writer = kit.deployment.healthy("writer");
    kit.append(&writer, ExpectedVersion::Any, kit.events(300)).await.unwrap();
    // Half a page may hold 150 events, but its bytes cut it short.
    let mut request = kit.request("m", "cold");
    request.options.page_events_max = 300;
    request.options.page_bytes_max = 4 * 1024;
    let id = request.migration_id();

    // It dies before the close, so that whoever goes on compares the whole copy.
    let mut is_dead = false;
    let plan = FaultPlan::new(move |call| {
        is_dead |= is(&call, "hot", "close");
        if is_dead { Fate::Dead } else { Fate::Done }
    });
    let dying = kit.deployment.process("dying", &plan);
    dying.migrations.start(request).await.unwrap();
    kit.deployment.clock.sleep(LEASE_AND_MORE).await;
    assert!(pages(&plan).ends_with("close"), "{}", pages(&plan));
    dying.runtime.shutdown.begin();

    let fresh = kit.deployment.healthy("fresh");
    let view = kit.wait_final(&fresh, id).await;
    let certificate = view.record.certificate.unwrap();
    let history = fresh.history(&kit.object).await.unwrap();
    let whole = Checksum::START.chain_all(Version::FIRST, &history);
    assert_eq!((certificate.source_checksum, certificate.target_checksum), (whole, whole));
    kit.check(&fresh).await;
}
