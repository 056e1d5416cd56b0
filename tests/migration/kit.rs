//! What every test here starts from: three stores, proxies over them, and one checked history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamgate::backends::memory::MemoryStore;
use streamgate::documents::DocumentStore;
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{
    Digest, Event, EventId, ExpectedVersion, MigrationId, ObjectKey, StreamRef, Timestamp,
};
use streamgate::migration::{
    MigrationOptions, MigrationRequest, MigrationView, OnConvergenceFailure, Phase,
};
use streamgate::proxy::{AppendCommand, AppendOutcome, ProxyError};
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock, Entropy};
use streamgate::store::{EventStore, StoreError, Tail};
use streamgate::testing::deployment::{Deployment, Process, store_name};
use streamgate::testing::history::History;
use streamgate::testing::lying::{Bug, LyingDocuments, LyingStore};
use streamgate::testing::unruly::Unruliness;
use streamgate::testing::virtual_clock::VirtualClock;

pub(crate) const STORES: [&str; 3] = ["hot", "cold", "archive"];

/// Proxies that hear nothing of each other, so that a stale route stays stale.
const NOTHING_IS_HEARD: Unruliness = Unruliness { lost_percent: 100, ..Unruliness::none() };

/// A deployment, and what its clients were told. Proxies do not hear each other.
pub(crate) struct Kit {
    pub(crate) deployment: Deployment,
    pub(crate) history: Mutex<History>,
    pub(crate) object: ObjectKey,
}

impl Kit {
    /// Over memory stores, on tokio's time.
    pub(crate) fn new(seed: u64) -> Self {
        let store = || -> Arc<dyn EventStore> { Arc::new(MemoryStore::default()) };
        Self::over(seed, [store(), store(), store()], Arc::new(MemoryStore::default()))
    }

    /// Whose proxies hear each other, as far as `unruliness` lets them.
    pub(crate) fn hearing(mut self, unruliness: Unruliness) -> Self {
        self.deployment.unruliness = unruliness;
        self
    }

    /// Over stores that lie in one way.
    pub(crate) fn with_bug(seed: u64, bug: Bug) -> Self {
        let store = || -> Arc<dyn EventStore> {
            Arc::new(LyingStore { inner: Arc::new(MemoryStore::default()), bug })
        };
        let inner = Arc::new(MemoryStore::default());
        let documents = Arc::new(LyingDocuments { inner, bug });
        Self::over(seed, [store(), store(), store()], documents)
    }

    /// Over these stores, named as in [`STORES`].
    pub(crate) fn over(
        seed: u64,
        stores: [Arc<dyn EventStore>; 3],
        documents: Arc<dyn DocumentStore>,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let stores = STORES.into_iter().zip(stores).collect();
        let mut deployment = Deployment::new(stores, documents, clock, entropy);
        deployment.unruliness = NOTHING_IS_HEARD;
        let object = ObjectKey::new("order", "1").unwrap();
        Self { deployment, history: Mutex::default(), object }
    }

    pub(crate) fn event(&self) -> Event {
        let entropy = &self.deployment.entropy;
        let mut event = Event {
            event_id: EventId(entropy.uuid()),
            event_type: "Noted".into(),
            schema_version: 1,
            content_type: "application/octet-stream".into(),
            payload: entropy.next_u64().to_be_bytes().to_vec().into(),
            metadata: BTreeMap::from([("k".into(), "v".into())]),
            occurred_at: Some(Timestamp::from_nanos(-1)),
            recorded_at: Timestamp::EPOCH,
            digest: Digest::from_bytes([0; 32]),
        };
        event.digest = Digest::of(&event);
        event
    }

    pub(crate) fn events(&self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.event()).collect()
    }

    pub(crate) async fn append(
        &self,
        process: &Process,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<AppendOutcome, ProxyError> {
        let command = AppendCommand {
            object: self.object.clone(),
            expected,
            events: events.clone(),
            auto_retry_on_stream_closure: None,
            deadline: None,
        };
        let answer = process.proxy.append(command).await;
        self.history.lock().unwrap().told(&self.object, &events, &answer);
        answer
    }

    /// Appends so many events, one by one.
    pub(crate) async fn write(&self, process: &Process, count: usize) {
        for event in self.events(count) {
            self.append(process, ExpectedVersion::Any, vec![event]).await.unwrap();
        }
    }

    pub(crate) fn request(&self, request_id: &str, target: &str) -> MigrationRequest {
        MigrationRequest {
            request_id: request_id.into(),
            object: self.object.clone(),
            kind: MigrationKind::Copy,
            target_store: store_name(target),
            target_stream_id: None,
            target_base: None,
            expected_source: None,
            options: MigrationOptions {
                page_events_max: 2,
                on_convergence_failure: OnConvergenceFailure::KeepTrying,
                ..MigrationOptions::default()
            },
            labels: BTreeMap::new(),
            validate_only: false,
        }
    }

    /// A request of this kind.
    pub(crate) fn request_to(
        &self,
        kind: MigrationKind,
        request_id: &str,
        target: &str,
    ) -> MigrationRequest {
        MigrationRequest { kind, ..self.request(request_id, target) }
    }

    /// Waits, on virtual time, until the condition holds for the migration.
    pub(crate) async fn wait_for(
        &self,
        process: &Process,
        id: MigrationId,
        condition: impl Fn(&MigrationView) -> bool,
    ) -> MigrationView {
        for _ in 0..2_000 {
            // A process that was told of a fault may be asked again.
            if let Ok(view) = process.migrations.get(id).await
                && condition(&view)
            {
                return view;
            }
            self.deployment.clock.sleep(Duration::from_millis(50)).await;
        }
        let view = process.migrations.get(id).await;
        panic!("the migration did not come to the state that was waited for: {view:#?}");
    }

    pub(crate) async fn wait_final(&self, process: &Process, id: MigrationId) -> MigrationView {
        self.wait_for(process, id, |view| view.record.is_final()).await
    }

    pub(crate) async fn migrate(
        &self,
        process: &Process,
        request_id: &str,
        target: &str,
    ) -> MigrationView {
        self.run(process, self.request(request_id, target)).await
    }

    /// Goes on in the target without copy.
    pub(crate) async fn go_on(
        &self,
        process: &Process,
        request_id: &str,
        target: &str,
    ) -> MigrationView {
        let request = self.request_to(MigrationKind::Continue, request_id, target);
        self.run(process, request).await
    }

    /// Runs a migration that succeeds.
    pub(crate) async fn run(&self, process: &Process, request: MigrationRequest) -> MigrationView {
        let started = process.migrations.start(request).await.unwrap();
        let view = self.wait_final(process, started.record.migration).await;
        assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
        view
    }

    pub(crate) async fn tail(&self, stream: &StreamRef) -> Result<Tail, StoreError> {
        let stores = &self.deployment.stores;
        let named = stores.iter().find(|(name, _)| *name == stream.address.store.as_str());
        named.unwrap().1.tail(&stream.address.stream_id).await
    }

    /// What clients were told is what is read.
    pub(crate) async fn check_history(&self, process: &Process) -> usize {
        let read = process.history(&self.object).await.unwrap();
        self.history.lock().unwrap().check(&self.object, &read);
        read.len()
    }

    /// Everything that must hold once all is quiet.
    pub(crate) async fn check(&self, process: &Process) {
        let read = self.check_history(process).await;
        let document = process.proxy.object(&self.object).await.unwrap().document;
        assert!(document.running_migration.is_none(), "{document:#?}");
        for terminated in &document.terminated_streams {
            let tail = self.tail(&terminated.stream).await.unwrap();
            let close = tail.closed.expect("a terminated stream is closed");
            assert_eq!((close.head, close.migration), (terminated.head, terminated.closed_by));
            assert!(!tail.removed, "the document lists a removed stream");
        }
        let active = self.tail(&document.active).await.unwrap();
        assert!(active.closed.is_none() && !active.removed, "the active stream is open");
        assert_eq!(active.head_from(document.active.base).next().0, read as u64);
    }
}
