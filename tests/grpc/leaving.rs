//! Clients that do not wait for the end: what stops with them, and what does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streamgate::app::{Resources, Stopped};
use streamgate::backends::memory::MemoryStore;
use streamgate::domain::{CloseEvent, EventId, ObjectKey, Reason, StreamHeader, StreamId};
use streamgate::lock::Pauses;
use streamgate::runtime::Runtime;
use streamgate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Stores, Tail, Wakeups,
};
use tokio::sync::Semaphore;
use tonic::{Code, Request};

use crate::kit::{Server, append, config, history, payloads, read, refused};

/// A store whose appends of "slow" wait at a gate, and whose reads wait there while it is closed.
struct Gated {
    inner: MemoryStore,
    entered: AtomicUsize,
    left: AtomicUsize,
    gate: Semaphore,
}

/// Counts a call that ended or was dropped.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Gated {
    async fn pass(&self) {
        let _leaving = Leaving(&self.left);
        self.entered.fetch_add(1, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
    }

    async fn until_entered(&self) {
        while self.entered.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tonic::async_trait]
impl EventStore for Gated {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.inner.create(stream, header).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        if append.events[0].payload == "slow" {
            self.pass().await;
        }
        self.inner.append(stream, append).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let page = self.inner.read(stream, range).await?;
        if page.events.iter().any(|event| event.payload == "slow to read") {
            self.pass().await;
        }
        Ok(page)
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.inner.tail(stream).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.inner.find(stream, ids).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        self.inner.close(stream, close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.inner.remove(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

async fn gated_server() -> (Server, Arc<Gated>) {
    let config = config("[[stores]]\nname = 'hot'\nkind = 'memory'");
    let runtime = Runtime::system();
    let mut registry = streamgate::app::registry();
    let mut resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
    let gated = Arc::new(Gated {
        inner: MemoryStore::new(),
        entered: AtomicUsize::new(0),
        left: AtomicUsize::new(0),
        gate: Semaphore::new(0),
    });
    let name = config.stores[0].name.clone();
    let store: Arc<dyn EventStore> = gated.clone();
    resources.stores = Stores::new(BTreeMap::from([(name, store)]), Wakeups::new());
    (Server::over(config, resources).await, gated)
}

#[tokio::test]
async fn an_append_that_was_not_sent_yet_leaves_with_its_client() {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let key = ObjectKey::new("order", "a").unwrap();
    server.pauses.pause(&key, Duration::from_secs(60)).await.unwrap();
    let mut events = server.events.clone();
    let held = tokio::spawn(async move { events.append(append("a", &["gone"])).await });
    server.until_held(1).await;
    held.abort();
    while server.pauses.held() > 0 {
        tokio::task::yield_now().await;
    }
    server.pauses.resume(&key).await.unwrap();
    server.events.append(append("a", &["y"])).await.unwrap();
    let (_, found) = history(&mut server.events, read("a")).await.unwrap();
    assert_eq!(payloads(&found), ["x", "y"]);
}

#[tokio::test]
async fn an_append_that_was_sent_ends_without_its_client_and_counts_until_then() {
    let (mut server, store) = gated_server().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let mut events = server.events.clone();
    let sent = tokio::spawn(async move { events.append(append("a", &["slow"])).await });
    store.until_entered().await;
    let Server { app, channel, events, migrations, .. } = server;
    // The whole connection goes, not only the request.
    sent.abort();
    assert!(sent.await.unwrap_err().is_cancelled());
    drop((events, migrations, channel));
    assert_eq!(store.left.load(Ordering::Relaxed), 0);

    let proxy = Arc::clone(app.proxy());
    let stop = tokio::spawn(app.stop());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!stop.is_finished(), "a stop waits for what was sent");
    store.gate.add_permits(1);
    assert_eq!(stop.await.unwrap(), Stopped::InTime);
    let object = ObjectKey::new("order", "a").unwrap();
    let head = proxy.object(&object).await.unwrap().head;
    assert_eq!(head.version().unwrap().0, 1, "it was done");
}

#[tokio::test]
async fn an_append_whose_deadline_passes_at_the_store_is_unknown_and_ends_by_itself() {
    let (mut server, store) = gated_server().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    let sent = append("a", &["slow"]);
    let mut request = Request::new(sent.clone());
    request.set_timeout(Duration::from_millis(500));
    let answer = server.events.append(request).await;
    refused(answer, Code::Unknown, Reason::OutcomeUnknown);
    assert_eq!(store.left.load(Ordering::Relaxed), 0, "it is still on its way");
    store.gate.add_permits(2);
    let repeated = server.events.append(sent).await.unwrap().into_inner();
    assert_eq!((repeated.first_version, repeated.last_version), (1, 1));
    let (_, found) = history(&mut server.events, read("a")).await.unwrap();
    assert_eq!(payloads(&found), ["x", "slow"], "once");
}

#[tokio::test]
async fn a_read_whose_deadline_passed_stops_in_the_store() {
    let (mut server, store) = gated_server().await;
    server.events.append(append("a", &["slow to read"])).await.unwrap();
    let mut request = Request::new(read("a"));
    request.set_timeout(Duration::from_millis(100));
    server.events.read(request).await.unwrap_err();
    while store.left.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
}
