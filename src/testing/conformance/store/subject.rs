//! A store under test, and a stream in it.

use std::any::Any;
use std::sync::Arc;

use crate::domain::{
    CloseEvent, Event, ExpectedVersion, Head, MigrationId, ObjectKey, StreamHeader, StreamId,
    Version,
};
use crate::runtime::{Entropy, SystemEntropy};
use crate::store::{Append, Appended, Close, EventStore, StoreError, Tail};
use crate::testing::builders;
use crate::testing::conformance::Finish;

/// A store, and how hard it is tried.
#[derive(Clone)]
pub struct StoreSubject {
    pub store: Arc<dyn EventStore>,
    /// Rounds of appends racing a close; a real store needs fewer than a fast one can bear.
    pub race_rounds: u32,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Finish for StoreSubject {
    async fn finish(&self) {}
}

impl StoreSubject {
    pub fn new(store: impl EventStore) -> Self {
        Self::of(Arc::new(store))
    }

    pub fn of(store: Arc<dyn EventStore>) -> Self {
        Self { store, race_rounds: 200, keep: None }
    }

    #[must_use]
    pub fn race_rounds(mut self, race_rounds: u32) -> Self {
        self.race_rounds = race_rounds;
        self
    }

    /// Keeps what must live as long as the store, as its folder.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any + Send + Sync) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// An object that no other case has, also in a store that outlives the case.
    pub(super) fn object(&self) -> ObjectKey {
        builders::object(&SystemEntropy.uuid().to_string())
    }

    /// The handle of a stream that does not exist yet.
    pub(super) fn absent(&self, made_by: Option<MigrationId>, base: u64) -> TestStream {
        let object = self.object();
        TestStream {
            store: Arc::clone(&self.store),
            id: StreamId::numbered(&object, 0),
            header: StreamHeader { made_by, ..builders::header(&object) },
            base: Version(base),
        }
    }

    /// A stream that was just created, as the first of an object is.
    pub(super) async fn stream(&self) -> TestStream {
        let stream = self.absent(None, 0);
        stream.create().await.expect("the id is new");
        stream
    }

    /// A stream that holds the first `count` events.
    pub(super) async fn stream_of(&self, count: u64) -> TestStream {
        let stream = self.stream().await;
        let first = stream.append(ExpectedVersion::Any, builders::events(0..count)).await;
        first.expect("nothing is in the way");
        stream
    }

    /// The head of `stream_of(3)`, closed.
    pub(super) async fn closed_stream_of(&self, count: u64) -> (TestStream, CloseEvent) {
        let stream = self.stream_of(count).await;
        let close = stream.close(1, Head::before(Version(count))).await;
        (stream, close.expect("nobody else appends"))
    }
}

/// A stream and what a writer must know of it.
#[derive(Clone)]
pub struct TestStream {
    pub store: Arc<dyn EventStore>,
    pub id: StreamId,
    pub header: StreamHeader,
    pub base: Version,
}

impl TestStream {
    pub(super) async fn create(&self) -> Result<(), StoreError> {
        self.store.create(&self.id, &self.header).await
    }

    pub(super) fn append_of(&self, expected: ExpectedVersion, events: Vec<Event>) -> Append {
        Append { made_by: self.header.made_by, base: self.base, expected, events }
    }

    pub(super) async fn append(
        &self,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<Appended, StoreError> {
        self.store.append(&self.id, self.append_of(expected, events)).await
    }

    /// An `any` append, again as often as it certainly was not done.
    pub(super) async fn append_anyhow(&self, events: Vec<Event>) -> Result<Appended, StoreError> {
        loop {
            match self.append(ExpectedVersion::Any, events.clone()).await {
                Err(StoreError::Contended { .. }) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    }

    /// A close by the `migration`-th migration.
    pub(super) async fn close(&self, migration: u64, head: Head) -> Result<CloseEvent, StoreError> {
        let event = builders::close_event(builders::migration(migration), head);
        self.store.close(&self.id, Close { made_by: self.header.made_by, event }).await
    }

    pub(super) async fn tail(&self) -> Tail {
        self.store.tail(&self.id).await.expect("the stream exists")
    }

    /// All events, page by page, each page checked to start where the last one ended.
    pub(super) async fn read_all(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut from = self.base;
        loop {
            let page = self.store.read(&self.id, builders::range(from.0)).await;
            let page = page.expect("the stream can be read");
            assert_eq!(page.first, from, "a page starts where it was asked to");
            from = page.next();
            let done = page.reaches_head();
            assert!(done || !page.events.is_empty(), "a page before the head holds an event");
            events.extend(page.events);
            if done {
                return events;
            }
        }
    }

    /// Asserts that the stream holds exactly these events and ends with them.
    #[track_caller]
    pub(super) fn holds(&self, expected: &[Event]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let held = self.read_all().await;
            assert_eq!(held, expected, "asserted at {caller}");
            let tail = self.tail().await;
            let head = Head::before(self.base.plus(expected.len() as u64));
            assert_eq!(tail.head, head, "asserted at {caller}");
        }
    }
}

/// Versions that mean something else each, in a stream of `count` events and a CloseEvent.
pub(super) fn every_expectation(count: u64) -> Vec<ExpectedVersion> {
    let exact = (0..count + 3).chain([count + 1_000, u64::MAX - 1]);
    let modes = [ExpectedVersion::Any, ExpectedVersion::NoStream, ExpectedVersion::StreamExists];
    modes.into_iter().chain(exact.map(|version| ExpectedVersion::Exact(Version(version)))).collect()
}

/// Asserts that an answer is the named error.
macro_rules! refused {
    ($answer:expr, $error:pat) => {
        let answer = $answer;
        assert!(matches!(answer, Err($error)), "expected {}, got {answer:?}", stringify!($error));
    };
}
pub(super) use refused;
