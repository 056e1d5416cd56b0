//! Who plays: writers, an auditor, operators, and misfortune.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture, join_all};
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{Event, ExpectedVersion, Head, ObjectKey};
use streamgate::migration::{
    MigrationOptions, MigrationRequest, MigrationView, OnConvergenceFailure, Phase, TargetBase,
};
use streamgate::proxy::{AppendCommand, AppendOutcome, ProxyError};
use streamgate::runtime::Deadline;
use streamgate::testing::deployment::store_name;

use crate::followers::{check_heard, follower};
use crate::sessions::{PIPELINERS, check_order, pipeliner};
use crate::world::{Incarnation, OBJECTS, STORES, World};

const WRITERS: usize = 4;
const APPENDS_EACH: u64 = 25;
const MOVES_EACH: u64 = 4;

/// The whole play, from the first append to the last check.
pub(crate) async fn play(world: &World) {
    let writers = (0..WRITERS).map(|number| writer(world, number).boxed_local());
    let operators = (0..OBJECTS).map(|number| operator(world, number).boxed_local());
    let pipeliners = (0..PIPELINERS).map(|number| pipeliner(world, number).boxed_local());
    let busy: Vec<LocalBoxFuture<'_, ()>> = writers.chain(operators).chain(pipeliners).collect();
    let followers = join_all((0..OBJECTS).map(|number| follower(world, number)));
    let play = join_all(busy);
    tokio::select! {
        biased;
        _ = play => {}
        () = misfortune(world) => {}
        () = auditor(world) => {}
        _ = followers => {}
    }
    world.heal().await;
    come_to_rest(world).await;
}

/// An answer, or none because the process died meanwhile.
pub(crate) async fn ask<T>(
    world: &World,
    of: &Incarnation,
    call: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(call);
    loop {
        tokio::select! {
            biased;
            answer = &mut call => return Some(answer),
            () = world.deployment.clock.sleep(Duration::from_millis(200)) => {
                if of.is_dead() {
                    return None;
                }
            }
        }
    }
}

async fn writer(world: &World, number: usize) {
    let mut told = Vec::new();
    for _ in 0..APPENDS_EACH {
        let object = world.object(usize::try_from(world.below(OBJECTS as u64)).unwrap());
        let count = world.below(3) + 1;
        let events: Vec<_> = (0..count).map(|_| world.event()).collect();
        let expected = expectation(world, &object).await;
        let answer = append_until_told(world, number, &object, expected, events.clone()).await;
        if let Ok(outcome) = answer {
            told.push((object, events, outcome));
        }
        if world.chance(30) {
            repeat_one(world, number, &told).await;
        }
        world.idle(40).await;
    }
}

/// A client that forgot what it was told, however long ago: the first answer again, or none.
async fn repeat_one(world: &World, number: usize, told: &[(ObjectKey, Vec<Event>, AppendOutcome)]) {
    let place = usize::try_from(world.below(told.len().max(1) as u64)).unwrap();
    let Some((object, events, first)) = told.get(place) else { return };
    let expected = if world.chance(50) { ExpectedVersion::Any } else { ExpectedVersion::NoStream };
    match append_until_told(world, number, object, expected, events.clone()).await {
        Ok(again) => {
            let same = (again.first, again.last) == (first.first, first.last);
            assert!(same && again.replay, "{object}: {first:?}, and then {again:?}");
        }
        Err(error) => {
            let helps = error.retry_after().is_some();
            assert!(helps, "{object}: acknowledged at {}, and then {error}", first.first);
        }
    }
}

async fn expectation(world: &World, object: &ObjectKey) -> ExpectedVersion {
    if world.chance(60) {
        return ExpectedVersion::Any;
    }
    let asked = world.process();
    let head = match ask(world, &asked, asked.process.proxy.object(object)).await {
        Some(Ok(view)) => view.head,
        Some(Err(_)) | None => Head::NONE,
    };
    ExpectedVersion::exactly(head)
}

/// As a good client does: whatever is not known is asked again with the same events.
async fn append_until_told(
    world: &World,
    number: usize,
    object: &ObjectKey,
    expected: ExpectedVersion,
    events: Vec<Event>,
) -> Result<AppendOutcome, ProxyError> {
    loop {
        let through = world.process();
        let clock = &*world.deployment.clock;
        let command = AppendCommand {
            object: object.clone(),
            expected,
            events: events.clone(),
            auto_retry_on_stream_closure: None,
            deadline: Some(Deadline::after(clock, Duration::from_secs(2))),
        };
        let answer = ask(world, &through, through.process.proxy.append(command)).await;
        let answer = answer.unwrap_or(Err(ProxyError::OutcomeUnknown { cause: None }));
        let told = match &answer {
            Ok(outcome) => format!("{}..{}", outcome.first, outcome.last),
            Err(error) => error.reason().as_str().to_owned(),
        };
        world.note(format!("writer {number} {object} {expected} -> {told}"));
        world.history.borrow_mut().told(object, &events, &answer);
        if !matches!(answer, Err(ProxyError::OutcomeUnknown { .. })) {
            return answer;
        }
        world.idle(20).await;
    }
}

/// Reads again and again: what was acknowledged before a read began is in it, and no read goes
/// back behind an earlier one.
async fn auditor(world: &World) {
    let mut longest: BTreeMap<ObjectKey, Vec<Event>> = BTreeMap::new();
    loop {
        let object = world.object(usize::try_from(world.below(OBJECTS as u64)).unwrap());
        let acknowledged = world.history.borrow().acknowledged(&object);
        let through = world.process();
        if let Some(Ok(read)) = ask(world, &through, through.process.history(&object)).await {
            assert!(read.len() >= acknowledged, "{object}: a read misses acknowledged events");
            let before = longest.entry(object.clone()).or_default();
            let shared = before.len().min(read.len());
            assert_eq!(before[..shared], read[..shared], "{object}: the history changed");
            assert!(read.len() >= before.len(), "{object}: a read goes back");
            *before = read;
        }
        world.idle(60).await;
    }
}

/// Moves one object from store to store, and changes its mind now and then.
async fn operator(world: &World, number: usize) {
    let object = world.object(number);
    let mut moves = 0;
    while moves < MOVES_EACH {
        world.idle(200).await;
        let request = request(world, &object, format!("{object}/{moves}"));
        let through = world.process();
        let id = request.migration_id();
        let start = through.process.migrations.start(request);
        let Some(Ok(_)) = ask(world, &through, start).await else { continue };
        moves += 1;
        if world.chance(40) {
            world.idle(30).await;
            let through = world.process();
            let cancelled =
                ask(world, &through, through.process.migrations.cancel(id, world.chance(50))).await;
            world.note(format!("{object} cancel -> {}", matches!(cancelled, Some(Ok(_)))));
        }
        wait_until_ended(world, id).await;
    }
}

/// Of any kind, to any store.
fn request(world: &World, object: &ObjectKey, request_id: String) -> MigrationRequest {
    let kind = if world.chance(50) { MigrationKind::Copy } else { MigrationKind::Continue };
    let from_source = kind == MigrationKind::Copy && world.chance(25);
    MigrationRequest {
        request_id,
        object: object.clone(),
        kind,
        target_store: store_name(STORES[usize::try_from(world.below(3)).unwrap()]),
        target_stream_id: None,
        target_base: from_source.then_some(TargetBase::Source),
        expected_source: None,
        options: MigrationOptions {
            page_events_max: usize::try_from(world.below(4)).unwrap() + 1,
            catch_up_delay: Duration::from_millis(5),
            on_convergence_failure: OnConvergenceFailure::PauseSource,
            ..MigrationOptions::default()
        },
        labels: BTreeMap::new(),
        validate_only: false,
    }
}

async fn wait_until_ended(world: &World, id: streamgate::domain::MigrationId) {
    for _ in 0..400 {
        let through = world.process();
        if let Some(Ok(view)) = ask(world, &through, through.process.migrations.get(id)).await
            && view.record.phase.has_ended()
        {
            world.note(format!("migration {id} {}", view.record.phase.as_str()));
            return;
        }
        world.idle(200).await;
    }
}

/// Crashes, and calls that land late.
async fn misfortune(world: &World) {
    loop {
        world.idle(300).await;
        if world.chance(25) {
            world.crash();
        }
        if world.chance(15) {
            world.hang();
        }
        if world.chance(60) {
            world.land_late().await;
        }
    }
}

/// Nothing fails any more: everything must end truthfully, and by itself.
async fn come_to_rest(world: &World) {
    for round in 0..2 {
        // One more event takes every source beyond a cancelled copy of it, and one more move
        // closes what a cancelled continuation might still close.
        for number in 0..OBJECTS {
            let object = world.object(number);
            append_at_last(world, &object).await;
            move_at_last(world, &object, round).await;
        }
        wait_until_quiet(world).await;
    }
    for number in 0..OBJECTS {
        let object = world.object(number);
        let process = world.process();
        let read = process.process.history(&object).await.unwrap();
        world.history.borrow().check(&object, &read);
        check_order(world, &object, &read);
        check_heard(world, number, &read).await;
        let view = process.process.proxy.object(&object).await.unwrap();
        assert_eq!(view.document.running_migration, None);
        assert_eq!(view.head.next().0, read.len() as u64);
        world.note(format!("{object} ends with {} events", read.len()));
    }
}

/// Through processes that may still hang for a while.
async fn append_at_last(world: &World, object: &ObjectKey) {
    loop {
        let event = vec![world.event()];
        let any = ExpectedVersion::Any;
        if append_until_told(world, 99, object, any, event).await.is_ok() {
            return;
        }
    }
}

async fn move_at_last(world: &World, object: &ObjectKey, round: u32) {
    let request = request(world, object, format!("{object}/last/{round}"));
    let id = request.migration_id();
    while world.process().process.migrations.start(request.clone()).await.is_err() {
        world.idle(200).await;
    }
    wait_until_ended(world, id).await;
}

async fn wait_until_quiet(world: &World) {
    let process = world.process();
    let mut listed = Vec::new();
    for _ in 0..2_000 {
        let list = streamgate::migration::ListMigrations { page_size: 1_000, ..Default::default() };
        listed = process.process.migrations.list(list).await.unwrap().migrations;
        if listed.iter().all(|view| view.record.is_final()) {
            for view in &listed {
                check_is_true(world, view).await;
            }
            return;
        }
        world.deployment.clock.sleep(Duration::from_millis(100)).await;
    }
    listed.retain(|view| !view.record.is_final());
    panic!("migrations do not come to rest: {listed:#?}");
}

/// A final record says what happened.
async fn check_is_true(world: &World, view: &MigrationView) {
    let source = &view.record.source;
    let stores = &world.deployment.stores;
    let named = stores.iter().find(|(name, _)| *name == source.address.store.as_str());
    let tail = named.unwrap().1.tail(&source.address.stream_id).await.unwrap();
    let closed_by = tail.closed.map(|close| close.migration);
    let by_this = closed_by == Some(view.record.migration);
    assert_eq!(
        by_this,
        view.record.phase == Phase::Succeeded,
        "{view:#?}, closed by {closed_by:?}"
    );
}
