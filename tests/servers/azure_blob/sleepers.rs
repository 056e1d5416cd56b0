//! Requests that sleep on their way to the service, and wake when all has changed.

use std::sync::Arc;

use streamgate::backends::azure_blob::{AzureBlobOptions, AzureBlobStore};
use streamgate::domain::{ExpectedVersion, StreamId, Version};
use streamgate::runtime::Runtime;
use streamgate::store::retry::RetryStore;
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders::{
    append, close, event, events, head, header, migration, object, patience, stream_id,
};
use tokio::sync::Semaphore;

use super::middle::{Fate, Middle, Request};
use super::rollover::read_all;

/// How far the stream gets while the request sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Appended,
    RolledOver,
    Closed,
    Removed,
}

const UNTIL: [Until; 4] = [Until::Appended, Until::RolledOver, Until::Closed, Until::Removed];

struct Scene {
    middle: Middle,
    stream: StreamId,
    /// Speaks to the service through the middleman.
    sleeper: Arc<AzureBlobStore>,
    /// Speaks to it directly.
    other: AzureBlobStore,
}

impl Scene {
    async fn new() -> Self {
        let middle = Middle::start().await;
        let options = super::small();
        let through = AzureBlobOptions { endpoint: middle.endpoint(), ..options.clone() };
        let other = super::open(options).await;
        let sleeper = Arc::new(super::open(through).await);
        Self { middle, stream: stream_id("Order/1/0000000000"), sleeper, other }
    }

    async fn create(&self, store: &AzureBlobStore) -> Result<(), StoreError> {
        store.create(&self.stream, &header(&object("1"))).await
    }

    /// The other process goes on with the stream, which holds two events.
    async fn go_on(&self, until: Until) -> u64 {
        let count = if until == Until::Appended { 3 } else { 9 };
        for number in 2..count {
            let one = append(ExpectedVersion::Any, vec![event(number)]);
            self.other.append(&self.stream, one).await.expect("nothing is in its way");
        }
        if until >= Until::Closed {
            let close = close(migration(1), head(count - 1));
            self.other.close(&self.stream, close).await.expect("this is its head");
        }
        if until >= Until::Removed {
            self.other.remove(&self.stream).await.expect("it is closed");
        }
        count
    }

    /// What the stream must be, after all.
    async fn is(&self, until: Until, count: u64) {
        for store in [&self.other, &*self.sleeper] {
            store.forget();
            let tail = store.tail(&self.stream).await.expect("it exists");
            assert_eq!(tail.head, head(count - 1), "{until:?}");
            assert_eq!(tail.closed.is_some(), until >= Until::Closed, "{until:?}");
            assert_eq!(tail.removed, until == Until::Removed, "{until:?}");
            if !tail.removed {
                assert_eq!(read_all(store, &self.stream).await, events(0..count), "{until:?}");
            }
        }
    }

    /// Holds the next request of this sort until the gate opens.
    fn hold(&self, sort: impl Fn(&Request) -> bool + Send + 'static) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        let mut holds = Some(Arc::clone(&gate));
        self.middle.decide(move |request| match sort(request) {
            true => holds.take().map_or(Fate::Pass, Fate::Hold),
            false => Fate::Pass,
        });
        gate
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_that_slept_through_everything_is_refused() {
    for until in UNTIL {
        let scene = Scene::new().await;
        scene.create(&scene.sleeper).await.unwrap();
        let two = append(ExpectedVersion::Any, events(0..2));
        scene.sleeper.append(&scene.stream, two).await.unwrap();

        let gate = scene.hold(Request::appends);
        let (sleeper, stream) = (Arc::clone(&scene.sleeper), scene.stream.clone());
        let slept = tokio::task::spawn(async move {
            let late = append(ExpectedVersion::Exact(Version(1)), vec![event(99)]);
            sleeper.append(&stream, late).await
        });
        scene.middle.is_held().await;
        let count = scene.go_on(until).await;
        gate.add_permits(1);
        match slept.await.unwrap() {
            Err(StoreError::WrongExpectedVersion(wrong)) if until < Until::Closed => {
                assert_eq!(wrong.actual, head(count - 1));
            }
            Err(StoreError::Closed { close }) if until >= Until::Closed => {
                assert_eq!(close.head, head(count - 1));
            }
            other => panic!("{until:?}: {other:?}"),
        }
        scene.is(until, count).await;
    }
}

/// The first append to a stream lands in an empty blob: of all places the one that a blob that was
/// deleted and made again would offer anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_append_that_slept_through_everything_is_refused() {
    for until in UNTIL {
        let scene = Scene::new().await;
        scene.create(&scene.sleeper).await.unwrap();
        let gate = scene.hold(Request::appends);
        let (sleeper, stream) = (Arc::clone(&scene.sleeper), scene.stream.clone());
        let slept = tokio::task::spawn(async move {
            sleeper.append(&stream, append(ExpectedVersion::NoStream, vec![event(99)])).await
        });
        scene.middle.is_held().await;
        let two = append(ExpectedVersion::NoStream, events(0..2));
        scene.other.append(&scene.stream, two).await.unwrap();
        let count = scene.go_on(until).await;
        gate.add_permits(1);
        let refused = slept.await.unwrap();
        let is_refused =
            matches!(refused, Err(StoreError::WrongExpectedVersion(_) | StoreError::Closed { .. }));
        assert!(is_refused, "{until:?}: {refused:?}");
        scene.is(until, count).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_creation_that_slept_through_everything_changes_nothing() {
    let sorts: [fn(&Request) -> bool; 2] = [Request::makes_blob, |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        request.method == "PUT" && path.ends_with("stream")
    }];
    for sort in sorts {
        for until in UNTIL {
            let scene = Scene::new().await;
            let gate = scene.hold(sort);
            let (sleeper, stream) = (Arc::clone(&scene.sleeper), scene.stream.clone());
            let slept = tokio::task::spawn(async move {
                let mut other = header(&object("1"));
                other.made_by = Some(migration(7));
                sleeper.create(&stream, &other).await
            });
            scene.middle.is_held().await;
            scene.create(&scene.other).await.unwrap();
            let two = append(ExpectedVersion::NoStream, events(0..2));
            scene.other.append(&scene.stream, two).await.unwrap();
            let count = scene.go_on(until).await;
            gate.add_permits(1);
            let refused = slept.await.unwrap();
            assert!(matches!(refused, Err(StoreError::AlreadyExists)), "{until:?}: {refused:?}");
            scene.is(until, count).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_roll_over_that_slept_through_everything_is_refused() {
    for until in [Until::RolledOver, Until::Closed, Until::Removed] {
        let scene = Scene::new().await;
        scene.create(&scene.sleeper).await.unwrap();
        for number in 0..3 {
            let one = append(ExpectedVersion::Any, vec![event(number)]);
            scene.sleeper.append(&scene.stream, one).await.unwrap();
        }
        let gate = scene.hold(Request::makes_blob);
        let (sleeper, stream) = (Arc::clone(&scene.sleeper), scene.stream.clone());
        let slept = tokio::task::spawn(async move {
            let late = append(ExpectedVersion::Exact(Version(2)), vec![event(99)]);
            sleeper.append(&stream, late).await
        });
        scene.middle.is_held().await;
        let three = append(ExpectedVersion::Any, vec![event(3), event(4), event(5)]);
        scene.other.append(&scene.stream, three).await.unwrap();
        let close_at = close(migration(1), head(5));
        if until >= Until::Closed {
            scene.other.close(&scene.stream, close_at).await.unwrap();
        }
        if until >= Until::Removed {
            scene.other.remove(&scene.stream).await.unwrap();
        }
        gate.add_permits(1);
        let refused = slept.await.unwrap();
        let is_refused =
            matches!(refused, Err(StoreError::WrongExpectedVersion(_) | StoreError::Closed { .. }));
        assert!(is_refused, "{until:?}: {refused:?}");
        scene.is(until, 6).await;
    }
}

/// Everything a stream lives through, with one request or one answer lost, whichever: what was
/// repeated with patience comes out the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_request_or_answer_is_lost_nothing_is_lost_or_doubled() {
    for fate in [Fate::LoseRequest, Fate::LoseAnswer] {
        for lost in 1.. {
            let scene = Scene::new().await;
            let (mut count, fate) = (0, fate.clone());
            scene.middle.decide(move |_| {
                count += 1;
                if count == lost { fate.clone() } else { Fate::Pass }
            });
            let patient = RetryStore::new(scene.sleeper.clone(), Runtime::system(), patience());
            scene.middle.seen();
            live(&patient, &scene.stream).await;
            let requests = scene.middle.seen().len();
            let tail = scene.other.tail(&scene.stream).await.expect("it exists");
            assert!(tail.removed, "request {lost}");
            if requests < lost {
                assert!(lost > 12, "{requests} requests are too few to have been all");
                break;
            }
        }
    }
}

async fn live(store: &RetryStore, stream: &StreamId) {
    store.create(stream, &header(&object("1"))).await.expect("the id is new");
    for number in 0..6 {
        let expected = match number {
            0 => ExpectedVersion::NoStream,
            later => ExpectedVersion::Exact(Version(later - 1)),
        };
        let appended = store.append(stream, append(expected, vec![event(number)])).await;
        let appended = appended.expect("nobody else writes");
        assert_eq!(appended.first, Version(number));
    }
    let page = store.read(stream, streamgate::testing::builders::range(0)).await.unwrap();
    let mut held = page.events;
    while held.len() < 6 {
        let from = streamgate::testing::builders::range(held.len() as u64);
        held.extend(store.read(stream, from).await.unwrap().events);
    }
    assert_eq!(held, events(0..6));
    store.close(stream, close(migration(1), head(5))).await.expect("this is its head");
    let late = store.append(stream, append(ExpectedVersion::Any, vec![event(9)])).await;
    assert!(matches!(late, Err(StoreError::Closed { .. })), "{late:?}");
    store.remove(stream).await.expect("it is closed");
}
