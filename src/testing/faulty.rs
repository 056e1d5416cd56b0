//! Stores, documents and locks that fail as the world does: the request gets lost, the answer gets
//! lost, the call is on its way and lands later, or the process dies at that very call.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::documents::{
    Document, DocumentError, DocumentKey, DocumentStore, Etag, ListedDocuments, Precondition,
};
use crate::domain::{CloseEvent, EventId, ObjectKey, StreamHeader, StreamId};
use crate::lock::{Lease, Lock, LockError, Owner};
use crate::runtime::Entropy;
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail,
};

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// Not done, and no answer.
    LoseRequest,
    /// Done, and no answer.
    LoseAnswer,
    /// No answer now; done at the moment that [`FaultPlan::land_late`] picks. Reads are lost.
    Late,
    /// Done after a while on tokio's clock, and answered then: the caller hangs.
    Stall(Duration),
    /// Done at once, and answered after a while on tokio's clock: the caller sleeps over it.
    StallAnswer(Duration),
    /// Not done, and the caller never goes on: it died here.
    Dead,
}

/// A call that something is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// 1-based, over all wrappers that share the plan.
    pub number: u64,
    /// As `hot.append` or `documents.put`.
    pub part: &'static str,
    pub operation: &'static str,
    pub writes: bool,
}

type Decide = Box<dyn FnMut(Call) -> Fate + Send>;
type LateCall = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Plan {
    decide: Decide,
    calls: Vec<Call>,
    late: VecDeque<LateCall>,
}

/// Decides the fate of every call of one process; shared by its wrappers.
#[derive(Clone)]
pub struct FaultPlan {
    plan: Arc<Mutex<Plan>>,
}

impl FaultPlan {
    pub fn new(decide: impl FnMut(Call) -> Fate + Send + 'static) -> Self {
        let plan = Plan { decide: Box::new(decide), calls: Vec::new(), late: VecDeque::new() };
        Self { plan: Arc::new(Mutex::new(plan)) }
    }

    pub fn none() -> Self {
        Self::new(|_| Fate::Done)
    }

    /// The process dies at its `number`-th call, once `fate` has befallen that call.
    pub fn die_at(number: u64, fate: Fate) -> Self {
        Self::new(move |call| match call.number.cmp(&number) {
            std::cmp::Ordering::Less => Fate::Done,
            std::cmp::Ordering::Equal => fate,
            std::cmp::Ordering::Greater => Fate::Dead,
        })
    }

    /// Only the `number`-th call fails; the process lives on.
    pub fn fail_once_at(number: u64, fate: Fate) -> Self {
        Self::new(move |call| if call.number == number { fate } else { Fate::Done })
    }

    /// Each call fails with a probability of `per_mille`, in one of the ways given.
    pub fn seeded(entropy: Arc<dyn Entropy>, per_mille: u64, ways: &'static [Fate]) -> Self {
        Self::new(move |_| {
            if entropy.below(1000) >= per_mille {
                return Fate::Done;
            }
            ways[usize::try_from(entropy.below(ways.len() as u64)).expect("a small number")]
        })
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.plan.lock().expect("no holder panics").calls.clone()
    }

    pub fn late_calls(&self) -> usize {
        self.plan.lock().expect("no holder panics").late.len()
    }

    /// Lets the oldest call that is on its way happen now. False if there is none.
    pub async fn land_late(&self) -> bool {
        let late = self.plan.lock().expect("no holder panics").late.pop_front();
        match late {
            Some(call) => {
                call.await;
                true
            }
            None => false,
        }
    }

    fn fate(&self, part: &'static str, operation: &'static str, writes: bool) -> Fate {
        let mut plan = self.plan.lock().expect("no holder panics");
        let number = plan.calls.len() as u64 + 1;
        let call = Call { number, part, operation, writes };
        plan.calls.push(call);
        (plan.decide)(call)
    }

    fn keep(&self, call: LateCall) {
        self.plan.lock().expect("no holder panics").late.push_back(call);
    }

    async fn read<T, E>(
        &self,
        part: &'static str,
        operation: &'static str,
        lost: impl FnOnce() -> E,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.fate(part, operation, false) {
            Fate::Done => call.await,
            Fate::LoseRequest | Fate::LoseAnswer | Fate::Late => Err(lost()),
            Fate::Stall(length) => {
                stall(length).await;
                call.await
            }
            Fate::StallAnswer(length) => {
                let answer = call.await;
                stall(length).await;
                answer
            }
            Fate::Dead => std::future::pending().await,
        }
    }

    async fn write<T, E>(
        &self,
        part: &'static str,
        operation: &'static str,
        unknown: impl FnOnce() -> E,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        match self.fate(part, operation, true) {
            Fate::Done => call.await,
            Fate::LoseRequest => Err(unknown()),
            Fate::LoseAnswer => {
                drop(call.await);
                Err(unknown())
            }
            Fate::Late => {
                self.keep(Box::pin(async move { drop(call.await) }));
                Err(unknown())
            }
            Fate::Stall(length) => {
                stall(length).await;
                call.await
            }
            Fate::StallAnswer(length) => {
                let answer = call.await;
                stall(length).await;
                answer
            }
            Fate::Dead => std::future::pending().await,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the fault is in the world, not in the process")]
async fn stall(length: Duration) {
    tokio::time::sleep(length).await;
}

/// An event store behind a plan of faults.
pub struct FaultyStore {
    part: &'static str,
    inner: Arc<dyn EventStore>,
    plan: FaultPlan,
}

impl FaultyStore {
    pub fn new(part: &'static str, inner: Arc<dyn EventStore>, plan: FaultPlan) -> Self {
        Self { part, inner, plan }
    }
}

fn store_lost() -> StoreError {
    StoreError::Unavailable { cause: None, retry_after: None }
}

fn store_unknown() -> StoreError {
    StoreError::OutcomeUnknown { cause: None }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for FaultyStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let (inner, stream, header) = (Arc::clone(&self.inner), stream.clone(), header.clone());
        let call = async move { inner.create(&stream, &header).await };
        self.plan.write(self.part, "create", store_unknown, call).await
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        let (inner, stream) = (Arc::clone(&self.inner), stream.clone());
        let call = async move { inner.append(&stream, append).await };
        self.plan.write(self.part, "append", store_unknown, call).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.plan.read(self.part, "read", store_lost, self.inner.read(stream, range)).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        self.plan.read(self.part, "tail", store_lost, self.inner.tail(stream)).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.plan.read(self.part, "find", store_lost, self.inner.find(stream, ids)).await
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let (inner, stream) = (Arc::clone(&self.inner), stream.clone());
        let call = async move { inner.close(&stream, close).await };
        self.plan.write(self.part, "close", store_unknown, call).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let (inner, stream) = (Arc::clone(&self.inner), stream.clone());
        let call = async move { inner.remove(&stream).await };
        self.plan.write(self.part, "remove", store_unknown, call).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// A document store behind a plan of faults.
pub struct FaultyDocuments {
    inner: Arc<dyn DocumentStore>,
    plan: FaultPlan,
}

impl FaultyDocuments {
    pub fn new(inner: Arc<dyn DocumentStore>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

const DOCUMENTS: &str = "documents";

fn documents_lost() -> DocumentError {
    DocumentError::Unavailable { cause: None, retry_after: None }
}

fn documents_unknown() -> DocumentError {
    DocumentError::OutcomeUnknown { cause: None }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DocumentStore for FaultyDocuments {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
        self.plan.read(DOCUMENTS, "get", documents_lost, self.inner.get(key)).await
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: Bytes,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        let call = async move { inner.put(&key, body, precondition).await };
        self.plan.write(DOCUMENTS, "put", documents_unknown, call).await
    }

    async fn list(
        &self,
        prefix: &DocumentKey,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<ListedDocuments, DocumentError> {
        let call = self.inner.list(prefix, after, limit);
        self.plan.read(DOCUMENTS, "list", documents_lost, call).await
    }

    async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
        let (inner, key, etag) = (Arc::clone(&self.inner), key.clone(), etag.clone());
        let call = async move { inner.delete(&key, &etag).await };
        self.plan.write(DOCUMENTS, "delete", documents_unknown, call).await
    }
}

/// A lock behind a plan of faults.
pub struct FaultyLock {
    inner: Arc<dyn Lock>,
    plan: FaultPlan,
}

impl FaultyLock {
    pub fn new(inner: Arc<dyn Lock>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

const LOCK: &str = "lock";

fn lock_lost() -> LockError {
    LockError::Unavailable { retry_after: None }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Lock for FaultyLock {
    async fn acquire(
        &self,
        object: &ObjectKey,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Lease, LockError> {
        let (inner, object, owner) = (Arc::clone(&self.inner), object.clone(), owner.clone());
        let call = async move { inner.acquire(&object, &owner, ttl).await };
        self.plan.write(LOCK, "acquire", lock_lost, call).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LockError> {
        let (inner, lease) = (Arc::clone(&self.inner), lease.clone());
        let call = async move { inner.renew(&lease, ttl).await };
        self.plan.write(LOCK, "renew", lock_lost, call).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let (inner, lease) = (Arc::clone(&self.inner), lease.clone());
        let call = async move { inner.release(&lease).await };
        self.plan.write(LOCK, "release", lock_lost, call).await
    }

    async fn holder(&self, object: &ObjectKey) -> Result<Option<Lease>, LockError> {
        self.plan.read(LOCK, "holder", lock_lost, self.inner.holder(object)).await
    }
}
