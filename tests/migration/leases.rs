//! Leases: who runs a migration, how long after a death somebody else does, and what becomes of
//! migrations while the lock service is away or has forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use streamgate::coordination::InProcessLock;
use streamgate::domain::{ExpectedVersion, ObjectKey, Reason};
use streamgate::migration::{MigrationRequest, Phase, WithoutLock};
use streamgate::proxy::AppendCommand;
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Fate, FaultPlan};

use crate::kit::Kit;

const LEASE: Duration = Duration::from_secs(10);

/// A lock service that is away while it is told to be.
fn without_lock(
    is_away: &Arc<AtomicBool>,
    fate: impl Fn(&str, &str) -> Fate + Send + 'static,
) -> FaultPlan {
    let is_away = Arc::clone(is_away);
    FaultPlan::new(move |call| match call.part {
        "lock" if is_away.load(Ordering::SeqCst) => Fate::LoseRequest,
        part => fate(part, call.operation),
    })
}

fn healthy(_: &str, _: &str) -> Fate {
    Fate::Done
}

/// Each page takes a second to write.
fn slow(part: &str, operation: &str) -> Fate {
    match (part, operation) {
        ("cold", "append") => Fate::Stall(Duration::from_secs(1)),
        _ => Fate::Done,
    }
}

fn supervise(process: &Process) {
    process.runtime.shutdown.spawn(process.migrations.clone().supervise());
}

#[tokio::test(start_paused = true)]
async fn while_the_lock_is_away_new_migrations_are_refused_and_appends_and_reads_go_on() {
    let kit = Kit::new(21);
    let is_away = Arc::new(AtomicBool::new(true));
    let process = kit.deployment.process("proxy", &without_lock(&is_away, healthy));
    kit.write(&process, 5).await;
    let request = kit.request("move", "cold");
    let id = request.migration_id();
    let refused = process.migrations.start(request.clone()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::LockUnavailable);
    assert!(refused.retry_after().is_some_and(|after| !after.is_zero()));
    assert!(process.migrations.get(id).await.is_err(), "nothing was written");
    kit.write(&process, 5).await;
    kit.check(&process).await;
    is_away.store(false, Ordering::SeqCst);
    kit.run(&process, request).await;
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn where_it_is_configured_a_new_migration_waits_for_the_lock() {
    let mut kit = Kit::new(22);
    kit.deployment.migration_settings.without_lock = WithoutLock::Wait;
    let is_away = Arc::new(AtomicBool::new(true));
    let process = kit.deployment.process("proxy", &without_lock(&is_away, healthy));
    supervise(&process);
    kit.write(&process, 5).await;
    let request = kit.request("move", "cold");
    let id = request.migration_id();
    process.migrations.start(request).await.unwrap();
    kit.deployment.clock.sleep(Duration::from_secs(60)).await;
    let view = process.migrations.get(id).await.unwrap();
    assert_eq!(view.record.phase, Phase::Preparing, "it has not begun");
    is_away.store(false, Ordering::SeqCst);
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    kit.check(&process).await;
}

/// The lock service goes away in the middle of a migration for longer than a lease. Nobody may
/// rely on the lease after it, so the migration stops; nothing is lost by that, and it goes on by
/// itself.
#[tokio::test(start_paused = true)]
async fn a_running_migration_stops_when_its_lease_runs_out_and_goes_on_by_itself() {
    let mut kit = Kit::new(23);
    kit.deployment.migration_settings.lease_ttl = LEASE;
    let is_away = Arc::new(AtomicBool::new(false));
    let process = kit.deployment.process("proxy", &without_lock(&is_away, slow));
    supervise(&process);
    kit.write(&process, 80).await;
    let request = kit.request("move", "cold");
    let id = request.migration_id();
    process.migrations.start(request).await.unwrap();
    let clock = Arc::clone(&kit.deployment.clock);
    clock.sleep(Duration::from_secs(5)).await;
    is_away.store(true, Ordering::SeqCst);
    clock.sleep(LEASE + Duration::from_secs(2)).await;
    let copied = |process: &Process| {
        process
            .plan
            .calls()
            .iter()
            .filter(|call| (call.part, call.operation) == ("cold", "append"))
            .count()
    };
    let (stopped_at, view) = (copied(&process), process.migrations.get(id).await.unwrap());
    assert_eq!(view.record.phase, Phase::CatchingUp);
    assert!(stopped_at > 10, "it went on while its lease lasted: {stopped_at}");
    kit.write(&process, 3).await;
    clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(copied(&process), stopped_at, "it has stopped");
    kit.check_history(&process).await;
    is_away.store(false, Ordering::SeqCst);
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    kit.check(&process).await;
}

/// A service that is away for less than a lease costs nothing.
#[tokio::test(start_paused = true)]
async fn a_lock_that_is_away_for_less_than_a_lease_stops_nothing() {
    let mut kit = Kit::new(24);
    kit.deployment.migration_settings.lease_ttl = LEASE;
    let is_away = Arc::new(AtomicBool::new(false));
    // Nobody would take it up again if it stopped.
    let process = kit.deployment.process("proxy", &without_lock(&is_away, slow));
    kit.write(&process, 60).await;
    let request = kit.request("move", "cold");
    let id = request.migration_id();
    process.migrations.start(request).await.unwrap();
    for _ in 0..3 {
        kit.deployment.clock.sleep(Duration::from_secs(4)).await;
        is_away.store(true, Ordering::SeqCst);
        kit.deployment.clock.sleep(LEASE / 2).await;
        is_away.store(false, Ordering::SeqCst);
    }
    let view = kit.wait_final(&process, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    kit.check(&process).await;
}

/// The service is restarted empty under a running migration, and its tokens begin again at 1. The
/// record's do not.
#[tokio::test(start_paused = true)]
async fn the_token_in_the_record_grows_though_the_lock_service_forgets() {
    let mut kit = Kit::new(25);
    let mut tokens = Vec::new();
    for life in 1..=4_u64 {
        // Every life meets a service that knows nothing, and dies once it has copied some pages.
        let clock = Arc::clone(&kit.deployment.clock);
        kit.deployment.lock = Arc::new(InProcessLock::new(clock));
        let mut pages = 0;
        let plan = FaultPlan::new(move |call| {
            pages += u64::from((call.part, call.operation) == ("cold", "append"));
            if pages > 2 { Fate::Dead } else { Fate::Done }
        });
        let process = kit.deployment.process(&format!("life-{life}"), &plan);
        let request = kit.request("move", "cold");
        let id = request.migration_id();
        if life == 1 {
            kit.write(&process, 40).await;
            process.migrations.start(request).await.unwrap();
        } else {
            process.migrations.scan().await;
        }
        kit.deployment.clock.sleep(Duration::from_secs(1)).await;
        let witness = kit.deployment.process("witness", &FaultPlan::none());
        let view = witness.migrations.get(id).await.unwrap();
        assert_eq!(view.record.owner, Some(format!("life-{life}")));
        let held = kit.deployment.lock.holder(&kit.object).await.unwrap().unwrap();
        assert_eq!(held.token.0, 1, "the service has forgotten");
        assert_eq!(view.record.lease_expires_at, Some(held.expires_at), "the lock is asked");
        tokens.push(view.record.token);
        process.runtime.shutdown.begin();
    }
    assert_eq!(tokens, [1, 2, 3, 4]);
    let last = kit.deployment.healthy("last");
    let id = kit.request("move", "cold").migration_id();
    let view = kit.wait_final(&last, id).await;
    assert_eq!((view.record.phase, view.record.token), (Phase::Succeeded, 5));
    kit.check(&last).await;
}

/// A proxy dies at its first external call, at its second, and so on, beside another that
/// supervises: that one finishes what was begun within two lease lengths.
#[tokio::test(start_paused = true)]
async fn whatever_a_proxy_dies_in_is_finished_within_two_leases() {
    let mut finished = 0;
    for number in 1.. {
        let mut kit = Kit::new(number);
        kit.deployment.migration_settings.lease_ttl = LEASE;
        let other = kit.deployment.healthy("other");
        kit.write(&other, 5).await;
        // The other scans at moments of its own.
        let entropy = &kit.deployment.entropy;
        let moment = Duration::from_millis(entropy.below(10_000));
        kit.deployment.clock.sleep(moment).await;
        let plan = FaultPlan::die_at(number, Fate::LoseAnswer);
        let dying = kit.deployment.process("dying", &plan);
        let request = kit.request("move", "cold");
        let id = request.migration_id();
        tokio::select! {
            _ = dying.migrations.start(request) => {}
            () = kit.deployment.clock.sleep(Duration::from_millis(1)) => {}
        }
        let died_at = kit.deployment.clock.monotonic();
        if other.migrations.get(id).await.is_err() {
            // It died before anything was promised.
            continue;
        }
        let view = kit.wait_final(&other, id).await;
        assert_eq!(view.record.phase, Phase::Succeeded);
        let took = kit.deployment.clock.monotonic() - died_at;
        assert!(took <= 2 * LEASE, "died at call {number}: finished after {took:?}");
        kit.check(&other).await;
        if (plan.calls().len() as u64) < number {
            break;
        }
        finished += 1;
    }
    assert!(finished > 20, "only {finished} deaths");
}

const OBJECTS: usize = 1_000;

/// A thousand migrations that nobody runs, and three proxies that begin to look at once: each is
/// run by one of them, and each of them runs its share.
#[tokio::test(start_paused = true)]
async fn a_thousand_unfinished_migrations_are_shared_evenly_each_by_one() {
    let mut kit = Kit::new(26);
    kit.deployment.migration_settings.running_max = OBJECTS;
    kit.deployment.migration_settings.without_lock = WithoutLock::Wait;
    let is_away = Arc::new(AtomicBool::new(true));
    let gone = kit.deployment.process("gone", &without_lock(&is_away, healthy));
    let mut ids = Vec::new();
    for number in 0..OBJECTS {
        let object = ObjectKey::new("order", format!("many-{number}")).unwrap();
        let command = AppendCommand {
            object: object.clone(),
            expected: ExpectedVersion::Any,
            events: kit.events(2),
            auto_retry_on_stream_closure: None,
            deadline: None,
        };
        gone.proxy.append(command).await.unwrap();
        let request = MigrationRequest { object, ..kit.request(&format!("move-{number}"), "cold") };
        ids.push(request.migration_id());
        gone.migrations.start(request).await.unwrap();
    }
    gone.runtime.shutdown.begin();

    // Each takes so long that none has ended before the last was picked up.
    let takes_long = || {
        FaultPlan::new(|call| match (call.part, call.operation) {
            ("cold", "append") => Fate::Stall(Duration::from_secs(120)),
            _ => Fate::Done,
        })
    };
    let fleet: Vec<Process> =
        ["a", "b", "c"].map(|name| kit.deployment.process(name, &takes_long())).into();
    fleet.iter().for_each(supervise);
    kit.deployment.clock.sleep(Duration::from_secs(100)).await;
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for id in &ids {
        let view = fleet[0].migrations.get(*id).await.unwrap();
        *shares.entry(view.record.owner.unwrap()).or_default() += 1;
    }
    println!("of {OBJECTS} migrations each proxy runs: {shares:?}");
    for name in ["a", "b", "c"] {
        let share = shares.get(name).copied().unwrap_or_default();
        assert!((OBJECTS / 4..OBJECTS / 2).contains(&share), "{shares:?}");
    }
    for id in ids {
        let view = kit.wait_final(&fleet[0], id).await;
        assert_eq!(view.record.phase, Phase::Succeeded);
    }
    let appends = |process: &Process| {
        let calls = process.plan.calls();
        calls.iter().filter(|call| (call.part, call.operation) == ("cold", "append")).count()
    };
    assert_eq!(fleet.iter().map(appends).sum::<usize>(), OBJECTS, "each page was written once");
}
