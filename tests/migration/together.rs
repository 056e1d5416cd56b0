//! Several proxies: what they tell each other saves time, and what they miss costs no more than
//! time (I7, I9).

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join, join_all};
use streamgate::domain::{ExpectedVersion, Reason};
use streamgate::lock::{Ears, Heard, Hint, Hints};
use streamgate::migration::{MigrationSettings, MigrationView, OnConvergenceFailure, Phase};
use streamgate::proxy::ReadCommand;
use streamgate::proxy::read::Followed;
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Fate, FaultPlan};
use streamgate::testing::unruly::Unruliness;

use crate::kit::Kit;

/// A proxy with one writer through it, and the milliseconds between two of its appends.
type Written<'a> = (&'a Process, u64);

/// The target takes this long for every page.
fn slow_target(millis: u64) -> FaultPlan {
    FaultPlan::new(move |call| match (call.part, call.operation) {
        ("cold", "append") => Fate::Stall(Duration::from_millis(millis)),
        _ => Fate::Done,
    })
}

/// Moves the object through the first proxy while writers leave it no room, and tells what became
/// of the move. Every append must succeed.
async fn move_under_writers(
    kit: &Kit,
    written: &[Written<'_>],
    pause_max: Duration,
) -> MigrationView {
    let mover = written[0].0;
    kit.write(mover, 300).await;
    let mut request = kit.request("busy", "cold");
    request.options.on_convergence_failure = OnConvergenceFailure::PauseSource;
    request.options.close_timeout = Duration::from_secs(20);
    request.options.pause_source_max = pause_max;
    // Each round takes long enough for the writers to be ahead again.
    request.options.page_events_max = 5_000;
    request.options.events_per_second_max = Some(800);
    let id = request.migration_id();
    mover.migrations.start(request).await.unwrap();
    let has_ended = Cell::new(false);
    let writer = |(process, millis)| {
        let has_ended = &has_ended;
        async move {
            while !has_ended.get() {
                kit.write(process, 1).await;
                kit.deployment.clock.sleep(Duration::from_millis(millis)).await;
            }
        }
    };
    let ended = async {
        let view = kit.wait_for(mover, id, |view| view.record.phase.has_ended()).await;
        has_ended.set(true);
        view
    };
    let (view, _) = join(ended, join_all(written.iter().copied().map(writer))).await;
    kit.write(mover, 1).await;
    kit.wait_final(mover, id).await;
    kit.check(mover).await;
    view
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_the_writers_of_every_proxy() {
    let kit = Kit::new(1).hearing(Unruliness::none());
    let here = kit.deployment.process("here", &slow_target(5));
    let there = kit.deployment.healthy("there");
    kit.write(&there, 1).await;
    let view =
        move_under_writers(&kit, &[(&here, 2), (&there, 2)], Duration::from_millis(500)).await;
    assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
    for process in [&here, &there] {
        let figures = process.holds.figures();
        assert!(figures.held() > 0, "an append was held in each proxy");
        assert_eq!((process.holds.held(), figures.refused()), (0, 0));
    }
}

/// What a proxy asks of stores and documents, and when it could hear that a pause began or ended.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    /// Notes all calls. The target takes this long for every page.
    fn plan(&self, mut ears: Ears, cold_append: Duration) -> FaultPlan {
        let noted = self.clone();
        FaultPlan::new(move |call| {
            let mut notes = noted.0.lock().unwrap();
            while let Some(heard) = ears.hear().now_or_never() {
                let Heard::Hints(hints) = heard else { continue };
                let words = hints.iter().map(Hint::kind).filter(|kind| PAUSES.contains(kind));
                notes.extend(words.map(str::to_owned));
            }
            notes.push(format!("{}.{}", call.part, call.operation));
            match (call.part, call.operation) {
                ("cold", "append") => Fate::Stall(cold_append),
                _ => Fate::Done,
            }
        })
    }

    /// The notes between the one pause and its end, and those behind both.
    fn around_the_pause(&self) -> (Vec<String>, Vec<String>) {
        let notes = self.0.lock().unwrap();
        let at = |word| notes.iter().position(|note| note == word).expect("heard of");
        let (began, ended) = (at(PAUSES[0]), at(PAUSES[1]));
        (notes[began + 1..ended].to_vec(), notes[ended + 1..].to_vec())
    }
}

const PAUSES: [&str; 2] = ["paused", "resumed"];

/// The pause lasts as long as the calls in it, so each of them is named here. Nobody who was held
/// meets the closed source or reads the document: the route came with the word that all is over.
#[tokio::test(start_paused = true)]
async fn a_pause_is_a_handful_of_calls_and_nobody_looks_for_the_way() {
    const HELD: usize = 8;
    let kit = Kit::new(9).hearing(Unruliness::none());
    let (at_here, at_there) = (Noted::default(), Noted::default());
    let hints = &kit.deployment.hints;
    let plan = at_here.plan(hints.listen(), Duration::from_millis(5));
    let here = kit.deployment.process("here", &plan);
    let plan = at_there.plan(hints.listen(), Duration::ZERO);
    let there = kit.deployment.process("there", &plan);
    kit.write(&there, 300).await;
    let mut request = kit.request("busy", "cold");
    request.options.on_convergence_failure = OnConvergenceFailure::PauseSource;
    request.options.page_events_max = 5_000;
    request.options.events_per_second_max = Some(800);
    let id = request.migration_id();
    let mut ears = kit.deployment.hints.listen();
    here.migrations.start(request).await.unwrap();

    let is_paused = Cell::new(false);
    let write = |process| {
        let (kit, is_paused) = (&kit, &is_paused);
        async move {
            while !is_paused.get() {
                kit.write(process, 1).await;
                kit.deployment.clock.sleep(Duration::from_millis(2)).await;
            }
        }
    };
    let hear = async {
        loop {
            let Heard::Hints(hints) = ears.hear().await else { continue };
            if hints.iter().any(|hint| matches!(hint, Hint::Paused { .. })) {
                break;
            }
        }
        is_paused.set(true);
    };
    // Those who are on their way when the pause begins end first; then others come and are held.
    let writers = [&here, &there].map(write);
    join(hear, join_all(writers)).await;
    let kit = &kit;
    let held = |process| {
        join_all((0..HELD).map(move |_| kit.append(process, ExpectedVersion::Any, kit.events(1))))
    };
    let (from_here, from_there) = join(held(&here), held(&there)).await;
    for answers in [from_here, from_there] {
        let outcomes: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(outcomes.iter().all(|outcome| outcome.followed == 0), "{outcomes:?}");
        assert!(outcomes.is_sorted_by_key(|outcome| outcome.first), "{outcomes:?}");
    }
    for process in [&here, &there] {
        assert_eq!(process.holds.figures().held(), HELD as u64);
    }

    let (mut calls, _) = at_here.around_the_pause();
    // A page of many events is read back in two halves at once.
    calls.dedup();
    let one_round =
        ["hot.read", "cold.append", "cold.read", "hot.close", "documents.get", "documents.put"];
    assert_eq!(calls, one_round);
    let (during, behind) = at_there.around_the_pause();
    assert_eq!(during, [""; 0], "what was on its way had ended");
    assert_eq!(behind, ["cold.append"; HELD], "nothing but the appends themselves");
    kit.wait_final(&here, id).await;
    kit.check(&there).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_hear_of_a_pause_costs_rounds_and_nothing_else() {
    let kit = Kit::new(2);
    let here = kit.deployment.process("here", &slow_target(5));
    let there = kit.deployment.healthy("there");
    kit.write(&there, 1).await;
    let view =
        move_under_writers(&kit, &[(&here, 2), (&there, 20)], Duration::from_millis(500)).await;
    assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
    assert_eq!(there.holds.figures().held(), 0);
    assert!(here.holds.figures().held() > 0, "the pause holds where it was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_which_nobody_can_be_told_holds_nobody() {
    let unavailable = Unruliness { unavailable_percent: 100, ..Unruliness::none() };
    let kit = Kit::new(3).hearing(unavailable);
    let here = kit.deployment.process("here", &slow_target(5));
    let there = kit.deployment.healthy("there");
    kit.write(&there, 1).await;
    let view =
        move_under_writers(&kit, &[(&here, 2), (&there, 2)], Duration::from_millis(500)).await;
    let failure = view.record.failure.expect("without a pause it does not converge");
    assert_eq!(failure.reason, Reason::CloseTimeout);
    for process in [&here, &there] {
        assert_eq!(process.holds.held(), 0);
        let waits = process.holds.figures();
        assert_eq!(waits.ended(streamgate::telemetry::holds::HoldEnd::TimedOut), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_could_not_be_kept_is_not_begun() {
    let kit = Kit::new(4).hearing(Unruliness::none());
    // A page takes longer than the whole pause may.
    let here = kit.deployment.process("here", &slow_target(120));
    let view = move_under_writers(&kit, &[(&here, 1)], Duration::from_millis(100)).await;
    let failure = view.record.failure.expect("it does not converge without a pause");
    assert_eq!(failure.reason, Reason::CloseTimeout);
    for figure in
        ["events were left", "the source takes", "the copy can take", "a pause has room for"]
    {
        assert!(failure.message.contains(figure), "no {figure:?} in {:?}", failure.message);
    }
    assert_eq!(here.holds.figures().held(), 0, "an append was held for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_route_that_others_changed_is_not_held_on_to() {
    for (redirects, kit) in [(0, Kit::new(5).hearing(Unruliness::none())), (1, Kit::new(5))] {
        let (here, there) = (kit.deployment.healthy("here"), kit.deployment.healthy("there"));
        kit.write(&there, 2).await;
        kit.migrate(&here, "moved", "cold").await;
        let mut followed = Vec::new();
        for _ in 0..3 {
            let append = kit.append(&there, ExpectedVersion::Any, kit.events(1)).await;
            followed.push(append.unwrap().followed);
        }
        assert_eq!(followed, [redirects, 0, 0]);
        kit.check(&there).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_hears_at_once_of_what_another_proxy_appended() {
    let kit = Kit::new(6).hearing(Unruliness::none());
    let (here, there) = (kit.deployment.healthy("here"), kit.deployment.healthy("there"));
    kit.write(&here, 1).await;
    let reader = here.proxy.read(ReadCommand::all(kit.object.clone())).await.unwrap();
    let mut follower = reader.follow(None);
    while !matches!(follower.next().await.unwrap(), Some(Followed::CaughtUp(_))) {}
    for _ in 0..2 {
        let clock = &kit.deployment.clock;
        let began = clock.monotonic();
        kit.write(&there, 1).await;
        let Some(Followed::Batch(batch)) = follower.next().await.unwrap() else {
            panic!("something else than the event was told first");
        };
        assert_eq!(batch.events.len(), 1);
        let took = clock.monotonic() - began;
        assert!(took < Duration::from_millis(10), "heard after {took:?}");
        // Also after a move that another proxy made.
        kit.migrate(&there, &format!("{began:?}"), "cold").await;
    }
}

/// Nobody scans here within the time of the test: what happens, happens because it was told.
fn without_scans(kit: &mut Kit) {
    kit.deployment.migration_settings = MigrationSettings {
        scan_interval: Duration::from_secs(3_600),
        lease_ttl: Duration::from_secs(3_600),
        record_interval: Duration::from_secs(3_600),
        ..MigrationSettings::default()
    };
}

#[tokio::test(start_paused = true)]
async fn what_a_stopping_proxy_leaves_is_taken_up_at_once() {
    let mut kit = Kit::new(7).hearing(Unruliness::none());
    without_scans(&mut kit);
    let stopping = kit.deployment.process("stopping", &FaultPlan::none());
    let next = kit.deployment.healthy("next");
    kit.write(&stopping, 30).await;
    let mut request = kit.request("long", "cold");
    request.options.events_per_second_max = Some(10);
    let id = request.migration_id();
    stopping.migrations.start(request).await.unwrap();
    kit.wait_for(&stopping, id, |view| view.progress.events_copied > 2).await;
    stopping.runtime.shutdown.begin();
    stopping.runtime.shutdown.ended().await;
    let view = kit.wait_final(&next, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    assert_eq!(view.record.certificate.unwrap().events, 30);
    kit.check(&next).await;
}

#[tokio::test(start_paused = true)]
async fn orders_reach_the_proxy_that_runs_the_migration() {
    let mut kit = Kit::new(8).hearing(Unruliness::none());
    without_scans(&mut kit);
    let (here, there) = (kit.deployment.healthy("here"), kit.deployment.healthy("there"));
    kit.write(&here, 100).await;
    let mut request = kit.request("long", "cold");
    request.options.events_per_second_max = Some(1);
    request.options.close_timeout = Duration::from_secs(3_600);
    let id = request.migration_id();
    here.migrations.start(request).await.unwrap();
    kit.wait_for(&here, id, |view| view.progress.events_copied > 2).await;
    let began = kit.deployment.clock.monotonic();
    there.migrations.cancel(id, false).await.unwrap();
    kit.wait_for(&here, id, |view| view.record.phase == Phase::Cancelled).await;
    let took = kit.deployment.clock.monotonic() - began;
    assert!(took < Duration::from_secs(10), "cancelled after {took:?}");
}
