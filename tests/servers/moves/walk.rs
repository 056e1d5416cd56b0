//! One object that goes through every kind of store and back, with a writer and a follower all the
//! way.

use std::sync::Arc;
use std::time::Duration;

use streamgate::grpc::v1;
use streamgate::grpc::v1::expected_version::Kind as Expected;
use streamgate::grpc::v1::read_response::Message;
use streamgate::runtime::SystemClock;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::Kind;
use super::client::{Client, assert_same, has_ended, soon};
use super::import::{assert_certified, read_stream};
use super::in_process::InProcess;

/// The far end is the last but one; each way leads over all of them.
const WAY: [Kind; 6] = Kind::ALL;
/// Acknowledged appends before each move, and after the last.
const EVENTS_BETWEEN: u64 = 15;
/// How far the writer may be ahead of the follower.
const LEAD_MAX: u64 = 8;
/// A hundred events a second, and at most two hundred while the object is on its way: a store in
/// pieces is read more slowly than another is written, and the way must have an end.
const EVENT_INTERVAL: Duration = Duration::from_millis(10);
const EVENTS_ON_THE_WAY_MAX: u64 = 200;

fn object() -> v1::ObjectRef {
    v1::ObjectRef { object_name: "walker".into(), object_id: "around/the world".into() }
}

fn event(number: u64) -> v1::NewEvent {
    v1::NewEvent {
        event_id: Uuid::from_u128(0xF << 120 | u128::from(number)).to_string(),
        event_type: format!("Walked{}", number % 3),
        content_type: "text/plain".into(),
        payload: format!("step {number} {}", "\u{1f97e}".repeat((number % 50) as usize)).into(),
        metadata: [("number".to_owned(), number.to_string())].into(),
        ..v1::NewEvent::default()
    }
}

/// How far the writer and the follower are.
struct Progress {
    acknowledged: watch::Sender<u64>,
    heard: watch::Sender<u64>,
    /// The most events that the writer may have appended; it grows with each station.
    allowed: watch::Sender<u64>,
    /// The number of events at which the writer ends.
    end: watch::Sender<Option<u64>>,
}

/// Waits until a count is reached.
async fn reaches(count: &watch::Sender<u64>, wanted: u64, what: &str) {
    let mut counted = count.subscribe();
    let waited = soon(what, counted.wait_for(|count| *count >= wanted)).await;
    waited.expect("the walk is not over");
}

/// Appends one event after the other; each must land where a single writer expects it.
async fn write(client: &Client, progress: &Progress) {
    let mut pace = tokio::time::interval(EVENT_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        pace.tick().await;
        reaches(&progress.allowed, number + 1, "the next station").await;
        if progress.end.borrow().is_some_and(|end| number >= end) {
            return;
        }
        reaches(&progress.heard, number.saturating_sub(LEAD_MAX), "the follower").await;
        let expected = match number % 3 {
            0 => None,
            _ => Some(Expected::Exact(number - 1)),
        };
        let answer = client.append(&object(), expected, vec![event(number)]).await;
        let answer = answer.unwrap_or_else(|status| panic!("{number} was answered {status:?}"));
        assert_eq!((answer.first_version, answer.replay), (number, false));
        progress.acknowledged.send_replace(number + 1);
    }
}

/// One follow from the first event to the last, which no move interrupts.
async fn follow(client: &Client, progress: &Progress) -> Vec<v1::RecordedEvent> {
    reaches(&progress.acknowledged, 1, "the first event").await;
    let request = v1::ReadRequest {
        object: Some(object()),
        follow: Some(v1::FollowOptions::default()),
        ..v1::ReadRequest::default()
    };
    let mut messages = client.events().read(request).await.unwrap().into_inner();
    let mut heard = Vec::new();
    while progress.end.borrow().is_none_or(|end| (heard.len() as u64) < end) {
        let message = soon("an event to follow", messages.message()).await;
        let message = message.expect("a follow goes on").expect("a follow has no end");
        let Some(Message::Batch(batch)) = message.message else { continue };
        for event in batch.events {
            assert_eq!(event.version, heard.len() as u64, "a gap or a repeat");
            heard.push(event);
        }
        progress.heard.send_replace(heard.len() as u64);
    }
    heard
}

/// There and back.
async fn lead(client: &Client, progress: &Progress) -> Vec<v1::Migration> {
    let there = WAY[1..].iter();
    let back = WAY[..WAY.len() - 1].iter().rev();
    let mut moves = Vec::new();
    for (number, kind) in there.chain(back).enumerate() {
        let written = *progress.acknowledged.borrow();
        progress.allowed.send_replace(written + EVENTS_BETWEEN + EVENTS_ON_THE_WAY_MAX);
        reaches(&progress.acknowledged, written + EVENTS_BETWEEN, "the writer").await;
        let request = v1::MigrateRequest {
            request_id: format!("leg {number}"),
            object: Some(object()),
            target_store: kind.word().to_owned(),
            ..v1::MigrateRequest::default()
        };
        let started = client.migrate(request).await.expect("nothing stands in the way");
        let mut watch = client.watch(&started.migration_id).await.unwrap();
        let moved = soon("the end of a migration", watch.until(has_ended)).await.unwrap();
        assert_eq!(moved.phase(), v1::MigrationPhase::Succeeded, "{moved:#?}");
        moves.push(moved);
    }
    let written = *progress.acknowledged.borrow();
    progress.allowed.send_replace(u64::MAX);
    progress.end.send_replace(Some(written + EVENTS_BETWEEN));
    moves
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_walks_through_all_kinds_and_back_with_a_writer_and_a_follower() {
    let mut settings = String::new();
    for kind in WAY {
        settings += &kind.settings_in_pieces(kind.word()).await;
    }
    let mover = InProcess::over(&settings, Arc::new(SystemClock)).await;
    // What the follower learns of the way, the writer's proxy does not.
    let (front, listener) = (mover.another().await, mover.another().await);
    let (writer, follower) = (front.client(), listener.client());
    let progress = Progress {
        acknowledged: watch::Sender::new(0),
        heard: watch::Sender::new(0),
        allowed: watch::Sender::new(0),
        end: watch::Sender::new(None),
    };
    let operator = mover.client();
    let ((), heard, moves) = tokio::join!(
        write(&writer, &progress),
        follow(&follower, &progress),
        lead(&operator, &progress),
    );

    let sent: Vec<v1::NewEvent> = (0..*progress.acknowledged.borrow()).map(event).collect();
    let history = mover.client().read(&object()).await.unwrap();
    assert_same(&object(), &history, &sent);
    assert_eq!(heard, history.events, "the follower heard what is there");
    let chain = &history.header.chain;
    let lies: Vec<&str> = chain.iter().map(|stream| stream.store.as_str()).collect();
    let way: Vec<&str> =
        WAY.iter().chain(WAY.iter().rev().skip(1)).map(|kind| kind.word()).collect();
    assert_eq!(lies, way);
    for (source, migration) in chain.iter().zip(&moves) {
        let last = source.last_version.expect("a source is closed");
        assert_certified(migration, last);
        // Every station still holds what it held when it was left.
        let (kept, _) = read_stream(&operator, source).await;
        assert_eq!(kept, history.events[..=last as usize]);
    }
    let redirected = front.counter("streamgate_appends_redirected_total").await;
    println!("{} events, {} moves, {redirected} appends redirected", sent.len(), moves.len());
    assert_eq!(redirected, moves.len() as u64, "the writer met every close, once");
    listener.stop().await;
    front.stop().await;
    mover.stop().await;
}
