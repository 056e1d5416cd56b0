//! Who gets a place, who waits, and who is sent away.

use std::future::Future;
use std::pin::Pin;

use super::*;
use crate::backends::memory::{MemoryOptions, MemoryStore};
use crate::domain::ExpectedVersion;
use crate::domain::limits::Limits;
use crate::testing::builders::{append, events, header, object, stream_id};
use crate::testing::faulty::{Fate, FaultPlan, FaultyStore};
use crate::testing::virtual_clock::VirtualClock;

fn options(in_flight_max: usize, waiting_max: usize) -> StoreOptions {
    StoreOptions { in_flight_max, waiting_max, ..StoreOptions::default() }
}

/// A store whose calls never come back.
fn stuck(options: &StoreOptions) -> LimitStore {
    let plan = FaultPlan::new(|_| Fate::Dead);
    let faulty = FaultyStore::new("hot", Arc::new(MemoryStore::new()), plan);
    LimitStore::new(Arc::new(faulty), Arc::new(VirtualClock::new()), options)
}

type Reading<'a> = Pin<Box<dyn Future<Output = Result<Tail, StoreError>> + Send + 'a>>;

async fn is_pending(reading: &mut Reading<'_>) -> bool {
    futures::poll!(reading).is_pending()
}

#[tokio::test(start_paused = true)]
async fn beyond_the_places_some_wait_and_the_rest_is_sent_away() {
    let store = stuck(&options(1, 1));
    let stream = stream_id("a");
    let mut first: Reading<'_> = store.tail(&stream);
    assert!(is_pending(&mut first).await);
    let mut second: Reading<'_> = store.tail(&stream);
    assert!(is_pending(&mut second).await);
    let third = store.tail(&stream).await;
    assert!(matches!(third, Err(StoreError::Overloaded { .. })), "{third:?}");
    // Writes have places of their own.
    let header = header(&object("1"));
    let mut write = Box::pin(store.create(&stream, &header));
    assert!(futures::poll!(&mut write).is_pending());

    // One that goes away waiting makes room for another to wait.
    drop(second);
    let mut fourth: Reading<'_> = store.tail(&stream);
    assert!(is_pending(&mut fourth).await);
    drop(first);
    assert!(is_pending(&mut fourth).await, "it has the place now, and the store is stuck");
    let mut fifth: Reading<'_> = store.tail(&stream);
    assert!(is_pending(&mut fifth).await);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let store = stuck(&options(1, 5));
    let stream = stream_id("a");
    let mut first: Reading<'_> = store.tail(&stream);
    assert!(is_pending(&mut first).await);
    let waited = store.tail(&stream).await;
    assert!(matches!(waited, Err(StoreError::Overloaded { .. })), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_cannot_take_is_refused_before_it_is_called() {
    let limits = Limits { batch_events_max: 2, ..Limits::default() };
    let plan = FaultPlan::none();
    let memory = MemoryStore::with_options(MemoryOptions { limits });
    let faulty = FaultyStore::new("hot", Arc::new(memory), plan.clone());
    let store = LimitStore::new(Arc::new(faulty), Arc::new(VirtualClock::new()), &options(1, 1));
    let refused = store.append(&stream_id("a"), append(ExpectedVersion::Any, events(0..3))).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded(_))), "{refused:?}");
    assert_eq!(plan.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_caller_does() {
    let store = stuck(&options(1, 5));
    let stream = stream_id("a");
    let mut first: Reading<'_> = store.tail(&stream);
    assert!(is_pending(&mut first).await);
    let clock = VirtualClock::new();
    let began = clock.monotonic();
    let deadline = Deadline::after(&clock, Duration::from_millis(10));
    let waited = Caller::new(Some(deadline), None).serve(store.tail(&stream)).await;
    assert!(matches!(waited, Err(StoreError::Overloaded { .. })), "{waited:?}");
    assert_eq!(clock.monotonic() - began, Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn an_append_that_waits_for_its_place_does_not_outlive_its_caller() {
    let plan = FaultPlan::new(|_| Fate::Dead);
    let faulty = FaultyStore::new("hot", Arc::new(MemoryStore::new()), plan.clone());
    let store = LimitStore::new(Arc::new(faulty), Arc::new(VirtualClock::new()), &options(1, 5));
    let store = Arc::new(store);
    let shutdown = crate::runtime::Shutdown::new();
    let append = || {
        let store = Arc::clone(&store);
        crate::runtime::ToTheEnd::new(&shutdown, async move {
            store.append(&stream_id("a"), append(ExpectedVersion::Any, events(0..1))).await
        })
    };
    let mut sent = Box::pin(append());
    assert!(futures::poll!(&mut sent).is_pending());
    let leaves = async {
        let mut waiting = Box::pin(append());
        assert!(futures::poll!(&mut waiting).is_pending());
    };
    Caller::new(None, None).serve(leaves).await;
    assert_eq!(store.writes.waiting.load(Ordering::Relaxed), 1);
    shutdown.begin();
    shutdown.ended().await;
    assert_eq!(store.writes.waiting.load(Ordering::Relaxed), 0);
    assert_eq!(plan.calls().len(), 1, "it was never sent");
}
