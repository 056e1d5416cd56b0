//! What a caller is told when tries get lost, under a plan that decides which.

use std::sync::Arc;

use super::*;
use crate::backends::memory::MemoryStore;
use crate::domain::{ExpectedVersion, Head, Version};
use crate::runtime::Deadline;
use crate::testing::builders::{
    append, close, close_event, event, events, head, header, migration, object, patience, range,
    stream_id,
};
use crate::testing::faulty::{Fate, FaultPlan, FaultyStore};
use crate::testing::virtual_clock::VirtualClock;

struct Scene {
    store: RetryStore,
    /// The same store without faults.
    inside: MemoryStore,
    plan: FaultPlan,
    stream: StreamId,
}

/// A stream with three events, in a store whose calls then meet the fates given, one by one.
async fn scene(fates: &'static [Fate]) -> Scene {
    let inside = MemoryStore::new();
    let stream = stream_id("Order/1/0000000000");
    inside.create(&stream, &header(&object("1"))).await.unwrap();
    inside.append(&stream, append(ExpectedVersion::Any, events(0..3))).await.unwrap();
    let mut fates = fates.iter();
    let plan = FaultPlan::new(move |_| fates.next().copied().unwrap_or(Fate::Done));
    let faulty = FaultyStore::new("hot", Arc::new(inside.clone()), plan.clone());
    let runtime = Runtime { clock: Arc::new(VirtualClock::new()), ..Runtime::system() };
    let store = RetryStore::new(Arc::new(faulty), runtime, patience());
    Scene { store, inside, plan, stream }
}

impl Scene {
    async fn append(&self, version: u64, number: u64) -> Result<Appended, StoreError> {
        let exact = ExpectedVersion::Exact(Version(version));
        self.store.append(&self.stream, append(exact, vec![event(number)])).await
    }

    async fn held(&self) -> usize {
        self.inside.read(&self.stream, range(0)).await.unwrap().events.len()
    }
}

macro_rules! unknown {
    ($answer:expr) => {
        let answer = $answer;
        assert!(matches!(answer, Err(StoreError::OutcomeUnknown { .. })), "{answer:?}");
    };
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_made_again() {
    let scene = scene(&[Fate::LoseRequest, Fate::LoseRequest]).await;
    let appended = scene.append(2, 3).await.unwrap();
    assert_eq!((appended.first, appended.replay), (Version(3), false));
    assert_eq!(scene.plan.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_by_its_ids() {
    let scene = scene(&[Fate::LoseAnswer]).await;
    let appended = scene.append(2, 3).await.unwrap();
    assert_eq!((appended.first, appended.replay), (Version(3), true));
    assert_eq!(scene.held().await, 4);
}

#[tokio::test(start_paused = true)]
async fn tries_end_and_the_doubt_is_told() {
    let scene = scene(&[Fate::LoseAnswer; 3]).await;
    unknown!(scene.append(2, 3).await);
    assert_eq!(scene.plan.calls().len(), 3);
    assert_eq!(scene.held().await, 4, "it was done");
}

/// Said to have failed for want of its ids, the append would land afterwards.
#[tokio::test(start_paused = true)]
async fn an_append_on_its_way_is_not_said_to_have_failed() {
    let scene = scene(&[Fate::Late]).await;
    // Ahead of the head: refused now, and met as soon as somebody else has appended.
    unknown!(scene.append(3, 9).await);
    let other = append(ExpectedVersion::Any, vec![event(3)]);
    scene.inside.append(&scene.stream, other).await.unwrap();
    assert!(scene.plan.land_late().await);
    assert_eq!(scene.held().await, 5, "the late one landed");
}

#[tokio::test(start_paused = true)]
async fn a_lost_position_settles_an_append_on_its_way() {
    let scene = scene(&[Fate::Late]).await;
    let answer = scene.append(1, 9).await;
    assert!(matches!(answer, Err(StoreError::WrongExpectedVersion(_))), "{answer:?}");
    assert!(scene.plan.land_late().await);
    assert_eq!(scene.held().await, 3, "the late one was refused as well");
}

#[tokio::test(start_paused = true)]
async fn an_append_in_doubt_that_meets_a_close_stays_in_doubt() {
    // The first answer gets lost, then the stream is closed and its events are removed.
    let scene = scene(&[Fate::LoseAnswer, Fate::LoseRequest, Fate::LoseRequest]).await;
    unknown!(scene.append(2, 3).await);
    scene.inside.close(&scene.stream, close(migration(1), head(3))).await.unwrap();
    scene.inside.remove(&scene.stream).await.unwrap();
    // A call of its own is not in doubt, and meets the close.
    assert!(matches!(scene.append(2, 3).await, Err(StoreError::Closed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_close_in_doubt_is_settled_by_its_repetition() {
    let scene = scene(&[Fate::LoseAnswer]).await;
    let closed = scene.store.close(&scene.stream, close(migration(1), head(2))).await.unwrap();
    assert_eq!(closed, close_event(migration(1), head(2)));
}

#[tokio::test(start_paused = true)]
async fn a_close_in_doubt_is_settled_by_anothers_and_by_a_head_gone_by() {
    let scene_closed = scene(&[Fate::Late]).await;
    let rival = close(migration(2), head(2));
    scene_closed.inside.close(&scene_closed.stream, rival).await.unwrap();
    let own = close(migration(1), head(2));
    let answer = scene_closed.store.close(&scene_closed.stream, own).await;
    assert!(matches!(answer, Err(StoreError::Closed { .. })), "{answer:?}");

    for (asked, settled) in [(head(1), true), (head(5), false), (Head::NONE, true)] {
        let scene = scene(&[Fate::Late]).await;
        let answer = scene.store.close(&scene.stream, close(migration(1), asked)).await;
        let told = matches!(answer, Err(StoreError::WrongExpectedVersion(_)));
        let doubted = matches!(answer, Err(StoreError::OutcomeUnknown { .. }));
        assert_eq!((told, doubted), (settled, !settled), "at {asked}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_and_refusals_are_not() {
    let scene = scene(&[Fate::LoseAnswer, Fate::LoseRequest]).await;
    assert_eq!(scene.store.tail(&scene.stream).await.unwrap().head, head(2));
    assert_eq!(scene.plan.calls().len(), 3);
    let missing = scene.store.tail(&stream_id("missing")).await;
    assert!(matches!(missing, Err(StoreError::NotFound)));
    assert_eq!(scene.plan.calls().len(), 4);
    let conflict = scene.append(0, 9).await;
    assert!(matches!(conflict, Err(StoreError::WrongExpectedVersion(_))));
    assert_eq!(scene.plan.calls().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn for_a_caller_that_gave_up_only_what_is_in_doubt_is_repeated() {
    let passed = Deadline::after(&VirtualClock::new(), Duration::ZERO);
    let caller = || Caller::new(Some(passed), None);
    let lost = scene(&[Fate::LoseRequest]).await;
    let tail = caller().serve(lost.store.tail(&lost.stream)).await;
    assert!(tail.is_err(), "{tail:?}");
    assert_eq!(lost.plan.calls().len(), 1);
    let in_doubt = scene(&[Fate::LoseAnswer]).await;
    let appended = caller().serve(in_doubt.append(2, 3)).await.unwrap();
    assert_eq!((appended.first, in_doubt.plan.calls().len()), (Version(3), 2));
}
