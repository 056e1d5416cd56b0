//! Proxies that are cut off from a store, but not from the lock service: they give the lease back
//! instead of keeping it for nothing, another goes on, and nothing happens twice. A store that is
//! only slow keeps its migration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use streamgate::domain::{MigrationId, Reason};
use streamgate::migration::{MigrationView, Phase};
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Call, Fate, FaultPlan};
use streamgate::testing::unruly::Unruliness;

use crate::kit::Kit;

const LEASE: Duration = Duration::from_secs(10);

/// What a proxy may be cut off from.
const CUTS: [&[&str]; 5] =
    [&["cold"], &["hot"], &["hot", "cold"], &["documents"], &["hot", "cold", "documents"]];

fn kit(seed: u64) -> Kit {
    let mut kit = Kit::new(seed);
    kit.deployment.migration_settings.lease_ttl = LEASE;
    kit
}

/// A link to some stores that can be cut and mended.
#[derive(Clone, Default)]
struct Link(Arc<AtomicBool>);

impl Link {
    fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn mend(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// While it is cut, calls of these parts meet `fate`; all others what `else_` says.
    fn plan(
        &self,
        parts: &'static [&'static str],
        fate: Fate,
        else_: impl Fn(Call) -> Fate + Send + 'static,
    ) -> FaultPlan {
        let is_cut = Arc::clone(&self.0);
        FaultPlan::new(move |call| {
            let meets_it = is_cut.load(Ordering::SeqCst) && parts.contains(&call.part);
            if meets_it { fate } else { else_(call) }
        })
    }
}

/// Each page takes this long to write.
fn slow_pages(millis: u64) -> impl Fn(Call) -> Fate + Send + 'static {
    move |call| match (call.part, call.operation) {
        ("cold", "append") => Fate::Stall(Duration::from_millis(millis)),
        _ => Fate::Done,
    }
}

fn supervise(process: &Process) {
    process.runtime.shutdown.spawn(process.migrations.clone().supervise());
}

fn count(process: &Process, part: &str, operation: &str) -> usize {
    let calls = process.plan.calls();
    calls.iter().filter(|call| (call.part, call.operation) == (part, operation)).count()
}

fn waits_for(view: &MigrationView) -> Option<&str> {
    let failure = view.record.failure.as_ref()?;
    assert_eq!(failure.reason, Reason::StoreUnavailable, "{failure:?}");
    Some(&failure.message)
}

/// A proxy loses some stores at one of its external calls, at every second one of all of them from
/// `first` on, and never gets them back. Whatever the phase, another finishes the migration within
/// two leases, though neither hears of the other; and what is cut off changes nothing any more.
async fn is_taken_over_from(fate: Fate, first: u64) {
    let mut finished: BTreeMap<&[&str], u32> = BTreeMap::new();
    for parts in CUTS {
        for number in (first..).step_by(2) {
            let kit = kit(number);
            let other = kit.deployment.healthy("other");
            kit.write(&other, 5).await;
            // The other scans at moments of its own.
            let moment = Duration::from_millis(kit.deployment.entropy.below(10_000));
            kit.deployment.clock.sleep(moment).await;
            let plan = FaultPlan::new(move |call| {
                if call.number >= number && parts.contains(&call.part) { fate } else { Fate::Done }
            });
            let cut_off = kit.deployment.process("cut-off", &plan);
            supervise(&cut_off);
            let request = kit.request("move", "cold");
            let id = request.migration_id();
            tokio::select! {
                _ = cut_off.migrations.start(request) => {}
                () = kit.deployment.clock.sleep(Duration::from_millis(1)) => {}
            }
            let began = kit.deployment.clock.monotonic();
            if other.migrations.get(id).await.is_err() {
                // Nothing was promised.
                continue;
            }
            let view = kit.wait_final(&other, id).await;
            assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
            assert_eq!(view.record.failure, None);
            let (took, calls) = (kit.deployment.clock.monotonic() - began, plan.calls().len());
            assert!(took <= 2 * LEASE, "cut from {parts:?} at call {number}: took {took:?}");
            kit.check(&other).await;
            let all = other.proxy.object(&kit.object).await.unwrap().document;
            kit.deployment.clock.sleep(3 * LEASE).await;
            assert_eq!(other.proxy.object(&kit.object).await.unwrap().document, all);
            assert_eq!(other.migrations.get(id).await.unwrap(), view);
            kit.check(&other).await;
            if view.record.owner.as_deref() == Some("other") {
                *finished.entry(parts).or_default() += 1;
            } else if (calls as u64) < number {
                break;
            }
        }
    }
    println!("migrations that the other finished, by what was cut off: {finished:?}");
    assert!(CUTS.iter().all(|parts| finished[parts] >= 3), "{finished:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_stores_fail_for_one_proxy_another_finishes_within_two_leases() {
    is_taken_over_from(Fate::LoseRequest, 1).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_stores_hang_for_one_proxy_another_finishes_within_two_leases() {
    is_taken_over_from(Fate::Dead, 2).await;
}

/// In the middle of a long copy, and where proxies hear each other: what one cannot go on with the
/// other has at once.
#[tokio::test(start_paused = true)]
async fn another_hears_that_a_proxy_is_cut_off_and_goes_on_where_it_was() {
    for (seed, parts, fate) in [
        (1, CUTS[0], Fate::LoseRequest),
        (2, CUTS[0], Fate::Dead),
        (3, CUTS[1], Fate::LoseRequest),
        (4, CUTS[1], Fate::Dead),
    ] {
        let mut kit = kit(seed).hearing(Unruliness::none());
        kit.deployment.migration_settings.scan_interval = Duration::from_secs(3_600);
        let link = Link::default();
        let here = kit.deployment.process("here", &link.plan(parts, fate, slow_pages(100)));
        let there = kit.deployment.process("there", &FaultPlan::new(slow_pages(100)));
        kit.write(&there, 80).await;
        let request = kit.request("move", "cold");
        let id = request.migration_id();
        here.migrations.start(request).await.unwrap();
        let before = kit.wait_for(&here, id, |view| view.progress.events_copied >= 20).await.record;
        assert_eq!(before.owner.as_deref(), Some("here"));
        link.cut();
        let began = kit.deployment.clock.monotonic();
        let taken = kit.wait_for(&there, id, |view| {
            view.record.owner.as_deref() == Some("there") && view.progress.events_copied > 40
        });
        let taken = taken.await;
        let took = kit.deployment.clock.monotonic() - began;
        println!("cut from {parts:?}, {fate:?}: half copied by the other after {took:?}");
        assert!(taken.record.token > before.token);
        let view = kit.wait_final(&there, id).await;
        let took = kit.deployment.clock.monotonic() - began;
        assert!(took < LEASE * 3 / 2, "finished after {took:?}");
        assert_eq!((view.record.phase, view.record.failure.clone()), (Phase::Succeeded, None));
        assert_eq!(view.record.certificate.as_ref().unwrap().events, 80);
        let appended = count(&here, "cold", "append") + count(&there, "cold", "append");
        assert!(appended < 40 + 10, "{appended} pages were written, of 40");
        link.mend();
        kit.deployment.clock.sleep(5 * LEASE).await;
        assert_eq!(there.migrations.get(id).await.unwrap(), view);
        kit.check(&there).await;
    }
}

/// Nobody else is there: it costs a pause and nothing more.
#[tokio::test(start_paused = true)]
async fn alone_a_proxy_says_what_it_waits_for_and_goes_on_by_itself() {
    for (seed, parts, fate) in [
        (1, CUTS[0], Fate::LoseRequest),
        (2, CUTS[0], Fate::Dead),
        (3, CUTS[1], Fate::LoseRequest),
        (4, CUTS[2], Fate::Dead),
    ] {
        let kit = kit(seed);
        let link = Link::default();
        let alone = kit.deployment.process("alone", &link.plan(parts, fate, slow_pages(100)));
        supervise(&alone);
        kit.write(&alone, 40).await;
        let mut request = kit.request("move", "cold");
        request.options.close_timeout = Duration::from_secs(3_600);
        let id = request.migration_id();
        alone.migrations.start(request).await.unwrap();
        kit.wait_for(&alone, id, |view| view.progress.events_copied >= 10).await;
        link.cut();
        let waiting = kit.wait_for(&alone, id, |view| view.record.failure.is_some()).await;
        let message = waits_for(&waiting).unwrap();
        println!("{message}");
        assert!(message.contains("store cold") || message.contains("store hot"), "{message}");
        assert_eq!(waiting.record.phase, Phase::CatchingUp);
        let nobody = kit.wait_for(&alone, id, |view| view.record.owner.is_none()).await;
        assert!(waits_for(&nobody).is_some(), "nobody runs it, and it does not say why");
        kit.deployment.clock.sleep(20 * LEASE).await;
        assert!(waits_for(&alone.migrations.get(id).await.unwrap()).is_some());
        link.mend();
        let began = kit.deployment.clock.monotonic();
        // The longest wait, a scan, and the copy; before that, a call that hangs for good.
        let leases_max = if fate == Fate::Dead { 16 } else { 8 };
        kit.deployment.clock.sleep(leases_max / 2 * LEASE).await;
        let view = kit.wait_final(&alone, id).await;
        let took = kit.deployment.clock.monotonic() - began;
        println!("went on by itself, and was done {took:?} after the store came back");
        assert!(took <= leases_max * LEASE, "{took:?}");
        assert_eq!((view.record.phase, view.record.failure.clone()), (Phase::Succeeded, None));
        kit.check(&alone).await;
    }
}

/// A store that is away for less than the time after which a process counts as cut off costs the
/// lease nothing.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_half_a_lease_keeps_its_migration_here() {
    for fate in [Fate::LoseRequest, Fate::Stall(LEASE / 2)] {
        let kit = kit(5);
        let link = Link::default();
        let here = kit.deployment.process("here", &link.plan(CUTS[2], fate, slow_pages(100)));
        supervise(&here);
        let other = kit.deployment.healthy("other");
        kit.write(&other, 40).await;
        let request = kit.request("move", "cold");
        let id = request.migration_id();
        here.migrations.start(request).await.unwrap();
        for copied in [10, 20] {
            kit.wait_for(&here, id, |view| view.progress.events_copied >= copied).await;
            link.cut();
            kit.deployment.clock.sleep(LEASE / 2).await;
            link.mend();
        }
        let view = kit.wait_final(&other, id).await;
        assert_eq!(view.record.owner.as_deref(), Some("here"));
        assert_eq!((view.record.phase, view.record.token), (Phase::Succeeded, 1));
        assert_eq!(count(&other, "cold", "append"), 0);
        kit.check(&other).await;
    }
}

/// Runs a migration over stores that answer late, beside a proxy for which they are quick.
async fn run_slowly(kit: &Kit, plan: &FaultPlan) -> (Process, Process, MigrationView) {
    let other = kit.deployment.healthy("other");
    kit.write(&other, 6).await;
    let slow = kit.deployment.process("slow", plan);
    supervise(&slow);
    let id = begin_slowly(kit, &slow).await;
    kit.deployment.clock.sleep(16 * LEASE).await;
    let view = kit.wait_final(&other, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
    kit.check(&other).await;
    (slow, other, view)
}

async fn begin_slowly(kit: &Kit, slow: &Process) -> MigrationId {
    let mut request = kit.request("move", "cold");
    request.options.close_timeout = Duration::from_secs(24 * 3_600);
    slow.migrations.start(request).await.unwrap().record.migration
}

/// Slow is not gone: whoever answers anything keeps its migration, however long one call takes.
#[tokio::test(start_paused = true)]
async fn a_call_that_takes_many_leases_does_not_end_one() {
    let kit = kit(6);
    let five_leases = u64::try_from((5 * LEASE).as_millis()).unwrap();
    let (slow, other, view) = run_slowly(&kit, &FaultPlan::new(slow_pages(five_leases))).await;
    assert_eq!((view.record.owner.as_deref(), view.record.token), (Some("slow"), 1));
    assert_eq!((count(&slow, "cold", "append"), count(&other, "cold", "append")), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn stores_whose_every_call_takes_most_of_half_a_lease_keep_it() {
    let kit = kit(7);
    let plan = FaultPlan::new(|call| match call.part {
        "hot" | "cold" => Fate::Stall(LEASE * 2 / 5),
        _ => Fate::Done,
    });
    let (slow, other, view) = run_slowly(&kit, &plan).await;
    assert_eq!((view.record.owner.as_deref(), view.record.token), (Some("slow"), 1));
    assert_eq!((count(&slow, "cold", "append"), count(&other, "cold", "append")), (3, 0));
}

/// Every call, also the small question, takes longer than a silence is borne at first. It is borne
/// for longer each time, so the migration gets there, alone.
#[tokio::test(start_paused = true)]
async fn stores_whose_every_call_takes_longer_than_a_lease_are_got_used_to() {
    let kit = kit(8);
    let plan = FaultPlan::new(|call| match call.part {
        "hot" | "cold" => Fate::Stall(LEASE * 3),
        _ => Fate::Done,
    });
    let writer = kit.deployment.process("writer", &FaultPlan::none());
    kit.write(&writer, 6).await;
    let slow = kit.deployment.process("slow", &plan);
    supervise(&slow);
    let id = begin_slowly(&kit, &slow).await;
    kit.deployment.clock.sleep(100 * LEASE).await;
    let view = kit.wait_final(&writer, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    assert_eq!(count(&slow, "cold", "append"), 3);
    kit.check(&writer).await;
}

/// The store is away for everybody, and everybody hears everybody: they take turns, ever more
/// rarely, and go on when it is back.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_all_is_tried_rarely_and_by_turns() {
    const LEASES: u32 = 40;
    for fate in [Fate::LoseRequest, Fate::Dead] {
        let kit = kit(9).hearing(Unruliness::none());
        let link = Link::default();
        let fleet = ["a", "b", "c"]
            .map(|name| kit.deployment.process(name, &link.plan(CUTS[0], fate, slow_pages(100))));
        fleet.iter().for_each(supervise);
        kit.write(&fleet[0], 40).await;
        let mut request = kit.request("move", "cold");
        request.options.close_timeout = Duration::from_secs(3_600);
        let id = request.migration_id();
        fleet[0].migrations.start(request).await.unwrap();
        kit.wait_for(&fleet[0], id, |view| view.progress.events_copied >= 10).await;
        link.cut();
        let before = fleet.each_ref().map(|process| process.plan.calls().len());
        kit.deployment.clock.sleep(LEASES * LEASE).await;
        let view = fleet[0].migrations.get(id).await.unwrap();
        assert!(waits_for(&view).unwrap().contains("store cold"));
        let mut calls = Vec::new();
        for (process, before) in fleet.iter().zip(before) {
            let tries = count(process, "cold", "create") + count(process, "cold", "tail");
            assert!(tries > 0, "one never tried");
            calls.push(process.plan.calls().len() - before);
        }
        println!("{fate:?}: token {} and {calls:?} calls in {LEASES} leases", view.record.token);
        // Each tries for most of a lease, then waits for one, two, four, four ...
        assert!(view.record.token <= u64::from(3 * (3 + LEASES / 4)), "{}", view.record.token);
        link.mend();
        let began = kit.deployment.clock.monotonic();
        let leases_max = if fate == Fate::Dead { 16 } else { 8 };
        kit.deployment.clock.sleep(leases_max / 2 * LEASE).await;
        let view = kit.wait_final(&fleet[2], id).await;
        let took = kit.deployment.clock.monotonic() - began;
        println!("done {took:?} after the store came back");
        assert!(took <= leases_max * LEASE, "{took:?}");
        assert_eq!((view.record.phase, view.record.failure.clone()), (Phase::Succeeded, None));
        kit.check(&fleet[1]).await;
    }
}
