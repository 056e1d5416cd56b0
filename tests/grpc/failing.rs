//! Stores that fail in every way: what a client is told, and what it is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamgate::app::Resources;
use streamgate::backends::memory::MemoryStore;
use streamgate::domain::{
    CloseEvent, EventId, ExpectedVersion, Reason, StreamHeader, StreamId, WrongExpectedVersion,
};
use streamgate::grpc::v1;
use streamgate::runtime::Runtime;
use streamgate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Stores, Tail, Wakeups,
};
use streamgate::testing::builders::events;
use tonic::Code;

use crate::kit::{Server, append, config, history, read, refused};

/// A store that fails an append in the way that the payload of its first event names.
struct Failing(MemoryStore);

fn failure(payload: &[u8]) -> Option<StoreError> {
    match payload {
        b"corrupt" => Some(StoreError::Corrupt { detail: "secret path".into() }),
        b"bug" => Some(StoreError::Bug { detail: "secret state".into() }),
        b"panic" => panic!("secret words"),
        b"unavailable" => Some(StoreError::unavailable("secret host")),
        b"contended" => Some(StoreError::Contended { attempts: 7 }),
        b"overloaded" => Some(StoreError::Overloaded { retry_after: None }),
        b"unsupported" => Some(StoreError::Unsupported { what: "do that" }),
        b"unknown" => Some(StoreError::unknown("secret socket")),
        _ => None,
    }
}

impl Failing {
    /// Does the append, loses its answer, and knows nothing of it when it is repeated, since
    /// more has come than it remembers.
    async fn append_and_forget(
        &self,
        stream: &StreamId,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let expected = append.expected;
        if self.0.find(stream, &[append.events[0].event_id]).await?[0].is_some() {
            let actual = self.0.tail(stream).await?.head;
            return Err(WrongExpectedVersion { expected, actual }.into());
        }
        self.0.append(stream, append.clone()).await?;
        let more = Append { expected: ExpectedVersion::Any, events: events(700..703), ..append };
        self.0.append(stream, more).await?;
        Err(StoreError::unknown("secret socket"))
    }
}

#[tonic::async_trait]
impl EventStore for Failing {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        self.0.create(stream, header).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        if append.events[0].payload == "forgotten" {
            return self.append_and_forget(stream, append).await;
        }
        match failure(&append.events[0].payload) {
            Some(error) => Err(error),
            None => self.0.append(stream, append).await,
        }
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        let page = self.0.read(stream, range).await?;
        if page.first.0 >= 2 && page.events.iter().any(|event| event.payload == "panic later") {
            panic!("secret words");
        }
        Ok(page)
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.0.tail(stream).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.0.find(stream, ids).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        self.0.close(stream, close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.0.remove(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { event_id_window: Some(1), ..self.0.capabilities() }
    }
}

async fn failing_server() -> Server {
    let text = "
        [proxy]
        append_timeout = '200ms'
        read_batch_events_max = 1
        [[stores]]
        name = 'hot'
        kind = 'memory'";
    let config = config(text);
    let runtime = Runtime::system();
    let mut registry = streamgate::app::registry();
    let mut resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
    let failing: Arc<dyn EventStore> = Arc::new(Failing(MemoryStore::new()));
    let name = config.stores[0].name.clone();
    resources.stores = Stores::new(BTreeMap::from([(name, failing)]), Wakeups::new());
    Server::over(config, resources).await
}

#[tokio::test]
async fn every_failure_of_a_store_has_its_code_and_reason() {
    let mut server = failing_server().await;
    server.events.append(append("a", &["fine"])).await.unwrap();
    for (payload, code, reason, has_delay) in [
        ("unavailable", Code::Unavailable, Reason::StoreUnavailable, true),
        ("contended", Code::Unavailable, Reason::Contended, true),
        ("overloaded", Code::ResourceExhausted, Reason::TooManyInFlight, true),
        ("unsupported", Code::Unimplemented, Reason::UnsupportedByStore, false),
        ("unknown", Code::Unknown, Reason::OutcomeUnknown, false),
        ("corrupt", Code::DataLoss, Reason::CorruptData, false),
        ("bug", Code::Internal, Reason::Internal, false),
        ("panic", Code::Internal, Reason::Internal, false),
    ] {
        let status = server.events.append(append("a", &[payload])).await.unwrap_err();
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        let delay = status.metadata().contains_key("grpc-retry-pushback-ms");
        assert_eq!(delay, has_delay, "{payload}");
        let request_id = status.metadata().get("x-request-id").cloned();
        let values = refused::<()>(Err(status), code, reason);
        if matches!(code, Code::Internal | Code::DataLoss) {
            assert_eq!(request_id.unwrap(), &*values["request_id"], "{payload}");
        }
    }
    server.events.append(append("a", &["fine"])).await.expect("the connection lives on");
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_read_ends_that_read_alone() {
    let mut server = failing_server().await;
    server.events.append(append("a", &["1", "2", "panic later"])).await.unwrap();
    let broken = history(&mut server.events, read("a")).await.unwrap_err();
    assert_eq!(broken.code(), Code::Internal, "{broken:?}");
    assert!(!format!("{broken:?}").contains("secret"), "{broken:?}");
    server.events.append(append("a", &["fine"])).await.expect("the connection lives on");
}

/// A store that knows only its newest events by id cannot tell a repetition from a conflict once
/// they are out of its sight, so nobody may say that the append was not done.
#[tokio::test]
async fn what_a_store_may_have_forgotten_is_not_called_a_conflict() {
    let mut server = failing_server().await;
    server.events.append(append("a", &["fine"])).await.unwrap();
    let mut request = append("a", &["forgotten"]);
    let kind = Some(v1::expected_version::Kind::Exact(0));
    request.expected_version = Some(v1::ExpectedVersion { kind });
    refused(server.events.append(request).await, Code::Unknown, Reason::OutcomeUnknown);
}
