//! Objects that go on without copy, and chains of both kinds.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::InProcessLock;
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{Event, ExpectedVersion, Head, ObjectDocument, Version};
use streamgate::migration::{MigrationError, Phase, TargetBase};
use streamgate::proxy::read::{Direction, ReadLimits, ReadStart, Recorded};
use streamgate::proxy::{AppendOutcome, ProxyError, ReadCommand};
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Fate, FaultPlan};
use streamgate::testing::lying::Bug;

use crate::kit::{Kit, STORES};

use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
use MigrationKind::{Continue, Copy};

async fn document(kit: &Kit, process: &Process) -> std::sync::Arc<ObjectDocument> {
    process.proxy.object(&kit.object).await.unwrap().document
}

/// The history from a version on, in either direction, as this process reads it.
async fn read(kit: &Kit, process: &Process, from: u64, direction: Direction) -> Vec<Event> {
    let start = ReadStart::Version(Version(from));
    let range = ReadLimits { start, direction, ..ReadLimits::default() };
    let command = ReadCommand { object: kit.object.clone(), range };
    let mut reader = process.proxy.read(command).await.unwrap();
    let mut events: Vec<Recorded> = Vec::new();
    while let Some(batch) = reader.next_batch().await.unwrap() {
        events.extend(batch.events);
    }
    let one_after_the_other = events.windows(2).all(|pair| match direction {
        Direction::Forward => pair[1].version == pair[0].version.next(),
        Direction::Backward => pair[0].version == pair[1].version.next(),
    });
    assert!(one_after_the_other, "a gap or a repeat: {events:?}");
    events.into_iter().map(|recorded| recorded.event).collect()
}

async fn read_from(kit: &Kit, process: &Process, from: u64) -> Vec<Event> {
    read(kit, process, from, Direction::Forward).await
}

fn is_replay_at(answer: &Result<AppendOutcome, ProxyError>, first: u64, count: u64) -> bool {
    answer.as_ref().is_ok_and(|outcome| {
        outcome.replay && (outcome.first.0, outcome.last.0) == (first, first + count - 1)
    })
}

fn is_duplicate(answer: &Result<AppendOutcome, ProxyError>) -> bool {
    matches!(answer, Err(ProxyError::DuplicateEventId { .. }))
}

/// Appends what the history holds again, in every mode: each answer is the first one.
async fn replay_all(kit: &Kit, process: &Process, history: &[Event]) {
    let modes = [Any, NoStream, StreamExists, Exact(Version(0)), Exact(Version(99))];
    for (first, event) in (0..).zip(history) {
        for expected in modes {
            let again = kit.append(process, expected, vec![event.clone()]).await;
            assert!(is_replay_at(&again, first, 1), "{first} {expected}: {again:?}");
        }
    }
    // All of it at once, across every boundary between two streams.
    let again = kit.append(process, Any, history.to_vec()).await;
    assert!(is_replay_at(&again, 0, history.len() as u64), "{again:?}");
}

/// Every way to put six moves of two kinds in order, across three stores.
#[tokio::test(start_paused = true)]
async fn chains_of_six_moves_of_both_kinds_in_any_order() {
    for order in 0..64_u64 {
        let kit = Kit::new(100 + order);
        let process = kit.deployment.healthy("a");
        let oldest = kit.deployment.healthy("oldest");
        kit.write(&oldest, 3).await;
        let mut old = Vec::new();
        for number in 0..6_usize {
            let kind = if order >> number & 1 == 0 { Copy } else { Continue };
            let target = STORES[(number + 1) % STORES.len()];
            kit.run(&process, kit.request_to(kind, &format!("{number}"), target)).await;
            // Some streams of the chain stay empty.
            if !(order + number as u64).is_multiple_of(3) {
                kit.write(&process, 2).await;
            }
            let stale = kit.deployment.healthy("stale");
            read_from(&kit, &stale, 0).await;
            old.push(stale);
        }
        let history = process.history(&kit.object).await.unwrap();
        for from in 0..=history.len() as u64 + 1 {
            let rest = history.get(usize::try_from(from).unwrap()..).unwrap_or_default();
            for reader in old.iter().chain([&process, &oldest]) {
                assert_eq!(read_from(&kit, reader, from).await, rest, "{order:06b} from {from}");
                let back = read(&kit, reader, from, Direction::Backward).await;
                let before = history.iter().take(usize::try_from(from).unwrap() + 1).rev();
                assert!(back.iter().eq(before), "{order:06b} back from {from}");
            }
        }
        for writer in old.iter().chain([&process, &oldest]) {
            replay_all(&kit, writer, &history).await;
            kit.check(writer).await;
        }
        kit.write(&oldest, 1).await;
        let copied = kit.migrate(&process, "whole", "hot").await;
        let certificate = copied.record.certificate.unwrap();
        assert_eq!(certificate.events, history.len() as u64 + 1, "the whole history is copied");
        let document = document(&kit, &process).await;
        assert_eq!(document.active.base, Version::FIRST);
        assert_eq!(document.inherited().count(), 0);
        kit.check(&oldest).await;
    }
}

/// The retry of an append whose answer was lost comes when the object has gone on in an empty
/// stream that knows none of its ids.
async fn repeats_behind_a_continuation(kit: &Kit) {
    let process = kit.deployment.healthy("a");
    kit.write(&process, 3).await;
    let lossy = FaultPlan::new(|call| match call.operation {
        "append" => Fate::LoseAnswer,
        _ => Fate::Done,
    });
    let unlucky = kit.deployment.process("unlucky", &lossy);
    let events = kit.events(2);
    assert!(kit.append(&unlucky, Any, events.clone()).await.is_err());
    kit.go_on(&process, "m", "cold").await;
    // One knows of the continuation only, the other still goes to the closed stream first.
    for through in [&kit.deployment.healthy("fresh"), &process] {
        for expected in [Any, NoStream, StreamExists, Exact(Version(2)), Exact(Version(7))] {
            let again = kit.append(through, expected, events.clone()).await;
            assert!(is_replay_at(&again, 3, 2), "{expected} is no repetition: {again:?}");
        }
    }
    kit.check(&process).await;
}

#[tokio::test(start_paused = true)]
async fn ids_are_known_in_a_continuation() {
    repeats_behind_a_continuation(&Kit::new(1)).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "any is no repetition")]
async fn planted_ids_that_are_not_looked_up_in_predecessors_are_found() {
    repeats_behind_a_continuation(&Kit::with_bug(1, Bug::InheritedIdsUnknown)).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_inherited_and_new_ids_is_a_duplicate() {
    let kit = Kit::new(2);
    let process = kit.deployment.healthy("a");
    let before = kit.events(3);
    kit.append(&process, Any, before.clone()).await.unwrap();
    kit.go_on(&process, "m", "cold").await;
    let after = kit.events(2);
    kit.append(&process, Any, after.clone()).await.unwrap();
    let new = kit.event();
    let pick = |events: &[&Event]| events.iter().map(|event| (*event).clone()).collect::<Vec<_>>();
    // Known and new, out of order, with a gap, and the same id with another content.
    let mut changed = before[1].clone();
    changed.payload = b"something else".as_slice().into();
    changed.digest = streamgate::domain::Digest::of(&changed);
    for batch in [
        pick(&[&before[2], &new]),
        pick(&[&new, &before[2]]),
        pick(&[&after[0], &before[2]]),
        pick(&[&before[1], &after[0]]),
        pick(&[&before[2], &after[0], &new]),
        pick(&[&before[0], &before[2]]),
        vec![changed],
    ] {
        for expected in [Any, Exact(Version(2)), Exact(Version(4))] {
            let command = streamgate::proxy::AppendCommand {
                object: kit.object.clone(),
                expected,
                events: batch.clone(),
                auto_retry_on_stream_closure: None,
                deadline: None,
            };
            let answer = process.proxy.append(command).await;
            assert!(is_duplicate(&answer), "{answer:?}");
        }
    }
    // What the object holds side by side is a repetition, whatever streams it lies in.
    let again = kit.append(&process, Any, pick(&[&before[2], &after[0]])).await;
    assert!(is_replay_at(&again, 2, 2), "{again:?}");
    kit.append(&process, Exact(Version(4)), vec![new]).await.unwrap();
    kit.check(&process).await;
}

/// An object is what is judged, and not the empty stream in which it goes on.
#[tokio::test(start_paused = true)]
async fn expectations_are_judged_on_the_object() {
    for route_is_stale in [false, true] {
        let kit = Kit::new(3);
        let mover = kit.deployment.healthy("mover");
        let writer = kit.deployment.healthy("writer");
        kit.write(&writer, 4).await;
        kit.go_on(&mover, "m", "cold").await;
        let through = if route_is_stale { &writer } else { &mover };
        for expected in [NoStream, Exact(Version(2)), Exact(Version(4))] {
            let refused = kit.append(through, expected, kit.events(1)).await;
            let Err(ProxyError::WrongExpectedVersion(wrong)) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(wrong.actual, Head::at(Version(3)));
        }
        assert_eq!(mover.proxy.object(&kit.object).await.unwrap().head, Head::at(Version(3)));
        let done = kit.append(through, StreamExists, kit.events(1)).await.unwrap();
        assert_eq!(done.first, Version(4));
        kit.append(through, Exact(Version(4)), kit.events(2)).await.unwrap();
        kit.check(&mover).await;
        kit.check(&writer).await;
    }
}

/// An object whose one event was refused has a document and no event; it goes on all the same.
#[tokio::test(start_paused = true)]
async fn an_object_without_events_goes_on_and_moves() {
    let kit = Kit::new(4);
    let refusing = FaultPlan::new(|call| match (call.part, call.operation) {
        ("hot", "append") => Fate::LoseRequest,
        _ => Fate::Done,
    });
    let unlucky = kit.deployment.process("unlucky", &refusing);
    assert!(kit.append(&unlucky, Any, kit.events(1)).await.is_err());
    let process = kit.deployment.healthy("a");
    kit.go_on(&process, "one", "cold").await;
    kit.go_on(&process, "two", "archive").await;
    kit.migrate(&process, "three", "hot").await;
    kit.go_on(&process, "four", "cold").await;
    assert_eq!(process.proxy.object(&kit.object).await.unwrap().head, Head::NONE);
    assert_eq!(read_from(&kit, &process, 0).await, []);
    let refused = kit.append(&process, StreamExists, kit.events(1)).await;
    assert!(matches!(refused, Err(ProxyError::WrongExpectedVersion(_))), "{refused:?}");
    let first = kit.append(&process, NoStream, kit.events(1)).await.unwrap();
    assert_eq!(first.first, Version(0));
    kit.check(&process).await;
}

/// A writer whose route is three continuations old appends in one call.
#[tokio::test(start_paused = true)]
async fn a_writer_with_a_route_three_continuations_old() {
    let kit = Kit::new(5);
    let process = kit.deployment.healthy("a");
    let stale = kit.deployment.healthy("stale");
    kit.write(&stale, 2).await;
    for (number, target) in ["cold", "archive", "hot"].into_iter().enumerate() {
        kit.go_on(&process, &format!("{number}"), target).await;
        if number == 1 {
            kit.write(&process, 1).await;
        }
    }
    let done = kit.append(&stale, Any, kit.events(1)).await.unwrap();
    assert_eq!((done.followed, done.first), (1, Version(3)), "the document is past all of them");
    kit.check(&stale).await;
}

/// Each continuation begins where its source ended; the source's events stay where they are.
#[tokio::test(start_paused = true)]
async fn nothing_is_copied_and_the_target_goes_on_at_the_next_version() {
    let kit = Kit::new(6);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 5).await;
    let view = kit.go_on(&process, "m", "cold").await;
    assert_eq!((view.progress.events_copied, view.progress.events_behind), (0, 0));
    assert_eq!(view.record.certificate, None);
    let document = document(&kit, &process).await;
    assert_eq!(document.active.base, Version(5));
    assert_eq!(document.terminated_streams[0].kind, Continue);
    let tail = kit.tail(&document.active).await.unwrap();
    assert_eq!((tail.base, tail.header.base), (None, None), "the first event sets the base");
    kit.write(&process, 1).await;
    let tail = kit.tail(&document.active).await.unwrap();
    assert_eq!((tail.base, tail.head), (Some(Version(5)), Head::at(Version(5))));
}

/// A copy that begins where its source does leaves what lies before in the older streams.
#[tokio::test(start_paused = true)]
async fn a_copy_can_begin_at_the_source() {
    let kit = Kit::new(7);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 5).await;
    kit.go_on(&process, "on", "cold").await;
    kit.write(&process, 4).await;
    let mut request = kit.request("copy", "archive");
    request.target_base = Some(TargetBase::Source);
    let view = kit.run(&process, request.clone()).await;
    assert_eq!(view.record.certificate.unwrap().events, 4);
    assert_eq!(document(&kit, &process).await.active.base, Version(5));
    let history = process.history(&kit.object).await.unwrap();
    replay_all(&kit, &process, &history).await;
    kit.check(&process).await;

    request.target_base = Some(TargetBase::History);
    let other = process.migrations.start(request).await;
    assert!(matches!(other, Err(MigrationError::Invalid(_))), "{other:?}");
    let mut meaningless = kit.request_to(Continue, "nowhere", "hot");
    meaningless.target_base = Some(TargetBase::Source);
    let refused = process.migrations.start(meaningless).await;
    assert!(matches!(refused, Err(MigrationError::Invalid(_))), "{refused:?}");
}

/// A copy of a continued object dies between two streams of the chain, and another goes on.
#[tokio::test(start_paused = true)]
async fn a_copy_of_a_chain_dies_at_every_call_and_is_finished() {
    for number in 1.. {
        let kit = Kit::new(number);
        let stale = kit.deployment.healthy("stale");
        kit.write(&stale, 3).await;
        kit.go_on(&stale, "one", "cold").await;
        kit.write(&stale, 3).await;
        kit.go_on(&stale, "two", "archive").await;
        kit.write(&stale, 1).await;
        let plan = FaultPlan::die_at(number, Fate::LoseAnswer);
        let dying = kit.deployment.process("dying", &plan);
        let request = kit.request("copy", "hot");
        let id = request.migration_id();
        tokio::select! {
            _ = async {
                dying.migrations.start(request.clone()).await?;
                kit.deployment.clock.sleep(Duration::from_secs(60)).await;
                Ok::<_, MigrationError>(())
            } => {}
            () = kit.deployment.clock.sleep(Duration::from_secs(15)) => {}
        }
        dying.runtime.shutdown.begin();
        kit.write(&stale, 1).await;
        let fresh = kit.deployment.healthy("fresh");
        if fresh.migrations.get(id).await.is_err() {
            fresh.migrations.start(request).await.unwrap();
        }
        let view = kit.wait_final(&fresh, id).await;
        assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
        let certificate = view.record.certificate.unwrap();
        assert!(certificate.events >= 7, "{certificate:?}");
        assert_eq!(certificate.source_checksum, certificate.target_checksum);
        kit.check(&fresh).await;
        kit.check(&stale).await;
        if (plan.calls().len() as u64) < number {
            assert!(number > 15, "the matrix has to reach every call of a migration");
            return;
        }
    }
}

/// Two continuations of one object at once: one goes on, and nothing of the other is touched.
#[tokio::test(start_paused = true)]
async fn rival_continuations_have_one_winner() {
    for kinds in [[Continue, Continue], [Copy, Continue], [Continue, Copy]] {
        let kit = Kit::new(8);
        let one = kit.deployment.healthy("one");
        let two = kit.deployment.healthy("two");
        kit.write(&one, 4).await;
        let a = kit.request_to(kinds[0], "a", "cold");
        let b = kit.request_to(kinds[1], "b", "archive");
        let ids = [a.migration_id(), b.migration_id()];
        let (first, second) = tokio::join!(one.migrations.start(a), two.migrations.start(b));
        assert!(first.is_ok() || second.is_ok());
        let mut succeeded = 0;
        for id in ids {
            if one.migrations.get(id).await.is_err() {
                continue;
            }
            let view = kit.wait_for(&one, id, |view| view.record.phase.has_ended()).await;
            succeeded += usize::from(view.record.phase == Phase::Succeeded);
        }
        assert_eq!(succeeded, 1);
        kit.write(&one, 1).await;
        kit.write(&two, 1).await;
        kit.check(&one).await;
        kit.check(&two).await;
    }
}

/// A continuation that is cancelled while its migrator sleeps before the close. Nothing can stop
/// the sleeper, so its empty target is never closed and never removed, and the end stays
/// provisional until the source is closed.
#[tokio::test(start_paused = true)]
async fn the_empty_target_of_a_cancelled_continuation_is_left_alone() {
    let mut kit = Kit::new(9);
    kit.deployment.migration_settings.record_interval = Duration::from_secs(3_600);
    kit.deployment.migration_settings.lease_ttl = Duration::from_secs(10);
    let before = kit.deployment.process("before", &FaultPlan::none());
    kit.write(&before, 5).await;
    let sleepy = FaultPlan::new(|call| match (call.part, call.operation) {
        ("hot", "close") => Fate::Stall(Duration::from_secs(60)),
        _ => Fate::Done,
    });
    // Its half of the lock service tells it that all is well.
    let half = Arc::new(InProcessLock::new(Arc::clone(&kit.deployment.clock)));
    let sleeper = kit.deployment.process_apart("sleeper", &sleepy, half);
    let request = kit.request_to(Continue, "slept", "cold");
    let id = request.migration_id();
    sleeper.migrations.start(request).await.unwrap();
    kit.deployment.clock.sleep(Duration::from_secs(12)).await;
    before.migrations.cancel(id, true).await.unwrap();
    before.runtime.shutdown.spawn(before.migrations.clone().supervise());
    let view = kit.wait_for(&before, id, |view| view.record.phase.has_ended()).await;
    assert_eq!((view.record.phase, view.record.provisional), (Phase::Cancelled, true));
    kit.deployment.clock.sleep(Duration::from_secs(20)).await;
    let mut target = document(&kit, &before).await.active.clone();
    target.address = view.record.target.clone().unwrap();
    let tail = kit.tail(&target).await.unwrap();
    assert!(tail.closed.is_none() && !tail.removed, "{tail:?}");
    // The sleeper wakes and closes: what was provisional is overtaken (I12).
    let view = kit.wait_final(&before, id).await;
    assert_eq!(view.record.phase, Phase::Succeeded);
    kit.write(&before, 1).await;
    kit.check(&before).await;
}

/// Sixteen writers on one object without pause while it goes on elsewhere again and again.
#[tokio::test(start_paused = true)]
async fn a_hot_stream_goes_on_under_its_writers() {
    let kit = Kit::new(10);
    let process = kit.deployment.healthy("a");
    kit.write(&process, 1).await;
    let writers = async {
        let writer = |number: u64| {
            let (kit, process) = (&kit, &process);
            async move {
                for _ in 0..100 {
                    kit.write(process, 1).await;
                    kit.deployment.clock.sleep(Duration::from_micros(100 + number)).await;
                }
            }
        };
        futures::future::join_all((0..16).map(writer)).await;
    };
    let mover = async {
        for (number, target) in ["cold", "archive", "hot", "cold"].into_iter().enumerate() {
            kit.go_on(&process, &format!("{number}"), target).await;
        }
    };
    futures::future::join(writers, mover).await;
    kit.check(&process).await;
    assert_eq!(kit.history.lock().unwrap().acknowledged(&kit.object), 1 + 16 * 100);
}

/// Streams that a copy made needless are removed; a route from before knows them still.
#[tokio::test(start_paused = true)]
async fn a_stale_route_over_removed_streams_finds_the_ids() {
    let kit = Kit::new(11);
    let process = kit.deployment.healthy("a");
    let events = kit.events(2);
    kit.append(&process, Any, events.clone()).await.unwrap();
    kit.go_on(&process, "on", "cold").await;
    let stale = kit.deployment.healthy("stale");
    let later = kit.events(1);
    kit.append(&stale, Any, later.clone()).await.unwrap();
    kit.migrate(&process, "copy", "archive").await;
    for terminated in document(&kit, &process).await.terminated_streams.clone() {
        let address = &terminated.stream.address;
        let stores = &kit.deployment.stores;
        let store = stores.iter().find(|(name, _)| *name == address.store.as_str()).unwrap();
        store.1.remove(&address.stream_id).await.unwrap();
    }
    let again = kit.append(&stale, Any, events).await;
    assert!(is_replay_at(&again, 0, 2), "{again:?}");
    let again = kit.append(&stale, Any, later).await;
    assert!(is_replay_at(&again, 2, 1), "{again:?}");
    kit.write(&stale, 1).await;
    let read = stale.history(&kit.object).await.unwrap();
    kit.history.lock().unwrap().check(&kit.object, &read);
}
