//! Many appends on one call: those of one object in the order in which they came, those of
//! different objects side by side, and every answer in the order of the requests.
//!
//! Each object has a lane. A lane has one append on its way; nothing later of the object goes to
//! any store before that one is settled, or two appends would change places at a cut-over. What
//! waits in a lane meanwhile goes together as one append when it can, so that a busy object costs
//! one store call for many requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::lane::{Group, GroupAnswer, Lane, Waiting};
use super::{AppendCommand, AppendOutcome, Proxy, ProxyError};
use crate::domain::ObjectKey;
use crate::domain::limits::Limits;

/// One request of a session. `tag` comes back with its answer.
pub struct SessionRequest<T> {
    pub tag: T,
    /// None: the request does not even say which object it is about.
    pub object: Option<ObjectKey>,
    /// None: the request is not valid. It counts as one that was not done.
    pub command: Option<AppendCommand>,
    /// The client knows that an earlier request of this object was not done.
    pub after_failure: bool,
}

/// What became of a request.
pub struct SessionAnswer<T> {
    pub tag: T,
    pub outcome: Result<AppendOutcome, SessionError>,
}

/// Why a request was not done, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It was handed over as not valid.
    #[error("the request is not valid")]
    NotTaken,
    /// An earlier request of the object was not done, so this one was not either.
    #[error("an earlier append to {object} was not done, so this one was not either")]
    PredecessorFailed { object: ObjectKey },
    #[error("{0}")]
    Append(#[from] ProxyError),
}

/// A session. It does nothing by itself: [`Self::progress`] must be polled while it is busy.
///
/// Cancellation: dropping it gives up what has not been sent and leaves what was sent done or not
/// done, as a lost answer does.
pub struct Session<T> {
    proxy: Arc<Proxy>,
    lanes: HashMap<ObjectKey, Lane>,
    on_their_way: FuturesUnordered<BoxFuture<'static, (ObjectKey, GroupAnswer)>>,
    /// In the order of the requests; the first is that of `first_slot`.
    slots: VecDeque<Slot<T>>,
    first_slot: u64,
    bytes: usize,
}

/// A request on its way to its answer.
struct Slot<T> {
    tag: T,
    outcome: Option<Result<AppendOutcome, SessionError>>,
    bytes: usize,
}

impl<T> Session<T> {
    pub fn new(proxy: Arc<Proxy>) -> Self {
        Self {
            proxy,
            lanes: HashMap::new(),
            on_their_way: FuturesUnordered::new(),
            slots: VecDeque::new(),
            first_slot: 0,
            bytes: 0,
        }
    }

    /// Whether one more request may be handed over.
    pub fn has_room(&self) -> bool {
        let options = &self.proxy.options;
        self.slots.len() < options.session_in_flight_max && self.bytes < options.session_bytes_max
    }

    /// Whether every request was answered.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether [`Self::progress`] has something to wait for.
    pub fn is_busy(&self) -> bool {
        !self.on_their_way.is_empty()
    }

    /// Objects of which something must be remembered: requests that are not settled, or that the
    /// last one was not done.
    pub fn objects(&self) -> usize {
        self.lanes.len()
    }

    /// Takes a request. It is answered in its turn.
    pub fn submit(&mut self, request: SessionRequest<T>) {
        let SessionRequest { tag, object, command, after_failure } = request;
        let slot = self.first_slot + self.slots.len() as u64;
        let bytes = command.as_ref().map_or(0, |command| {
            command.events.iter().map(|event| event.size() + SLOT_BYTES).sum()
        });
        self.bytes += bytes;
        self.slots.push_back(Slot { tag, outcome: None, bytes });
        let Some(object) = object else {
            return self.answer(slot, Err(SessionError::NotTaken));
        };
        let lane = self.lanes.entry(object.clone()).or_default();
        lane.push(Waiting { slot, command, after_failure, alone: false });
        self.go_on(object);
    }

    /// Waits until at least one append was settled.
    ///
    /// Cancellation: dropping this loses nothing.
    pub async fn progress(&mut self) {
        if let Some((object, answer)) = self.on_their_way.next().await {
            self.settle(object, answer);
        }
    }

    /// The next answer in the order of the requests, if it is there.
    pub fn next_answer(&mut self) -> Option<SessionAnswer<T>> {
        self.slots.front()?.outcome.as_ref()?;
        let slot = self.slots.pop_front()?;
        self.first_slot += 1;
        self.bytes -= slot.bytes;
        let outcome = slot.outcome?;
        Some(SessionAnswer { tag: slot.tag, outcome })
    }

    /// Whether [`Self::next_answer`] has one.
    pub fn has_answer(&self) -> bool {
        self.slots.front().is_some_and(|slot| slot.outcome.is_some())
    }

    /// Gives up what has not been sent: nobody waits for it any more.
    pub fn give_up_waiting(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.give_up_waiting();
        }
    }

    fn settle(&mut self, object: ObjectKey, answer: GroupAnswer) {
        let Some(lane) = self.lanes.get_mut(&object) else { return };
        let answers = lane.settle(&object, answer);
        for (slot, outcome) in answers {
            self.answer(slot, outcome);
        }
        self.go_on(object);
    }

    /// Sends what the lane may send, and forgets a lane that has nothing to remember.
    fn go_on(&mut self, object: ObjectKey) {
        let limits = self.merge_limits(&object);
        let planted = self.proxy.options.runs_ahead();
        let Some(lane) = self.lanes.get_mut(&object) else { return };
        let mut refused = Vec::new();
        while let Some(group) = lane.next_group(limits, planted, &mut refused) {
            self.on_their_way.push(send(Arc::clone(&self.proxy), object.clone(), group));
        }
        if lane.is_forgettable() {
            self.lanes.remove(&object);
        }
        for (slot, invalid) in refused {
            let outcome = match invalid {
                true => SessionError::NotTaken,
                false => SessionError::PredecessorFailed { object: object.clone() },
            };
            self.answer(slot, Err(outcome));
        }
    }

    /// How much may go together: what both the deployment and the object's store take at once. A
    /// store that is not known takes one request at a time.
    fn merge_limits(&self, object: &ObjectKey) -> Option<Limits> {
        let route = self.proxy.routes.get(object)?;
        let store = self.proxy.store_of(&route.active.address).ok()?;
        Some(self.proxy.limits.and(store.capabilities().limits))
    }

    fn answer(&mut self, slot: u64, outcome: Result<AppendOutcome, SessionError>) {
        let index = usize::try_from(slot - self.first_slot).expect("slots are few");
        self.slots[index].outcome = Some(outcome);
    }
}

/// What an event costs beside its content, for the bound on bytes.
const SLOT_BYTES: usize = 256;

fn send(
    proxy: Arc<Proxy>,
    object: ObjectKey,
    group: Group,
) -> BoxFuture<'static, (ObjectKey, GroupAnswer)> {
    Box::pin(async move {
        let Group { members, command } = group;
        let outcome = proxy.append(command).await;
        (object, GroupAnswer { members, outcome })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::domain::ExpectedVersion;
    use crate::proxy::ProxyOptions;
    use crate::runtime::{SystemClock, SystemEntropy};
    use crate::testing::builders::{events, object};
    use crate::testing::deployment::Deployment;
    use crate::testing::faulty::FaultPlan;

    fn request(number: u64) -> SessionRequest<u64> {
        let object = object("1");
        let command = AppendCommand {
            object: object.clone(),
            expected: ExpectedVersion::Any,
            events: events(number..number + 1),
            auto_retry_on_stream_closure: None,
            deadline: None,
        };
        let (object, command) = (Some(object), Some(command));
        SessionRequest { tag: number, object, command, after_failure: false }
    }

    #[tokio::test]
    async fn a_session_is_full_until_an_answer_is_taken() {
        let store = Arc::new(MemoryStore::new());
        let stores = vec![("hot", store.clone() as Arc<dyn crate::store::EventStore>)];
        let clock = Arc::new(SystemClock);
        let mut deployment = Deployment::new(stores, store, clock, Arc::new(SystemEntropy));
        for options in [
            ProxyOptions { session_in_flight_max: 2, ..ProxyOptions::default() },
            ProxyOptions { session_bytes_max: 2 * SLOT_BYTES, ..ProxyOptions::default() },
        ] {
            deployment.proxy_options = options;
            let process = deployment.process("one", &FaultPlan::none());
            let mut session = Session::new(process.proxy);
            session.submit(request(0));
            assert!(session.has_room());
            session.submit(request(1));
            assert!(!session.has_room());
            while session.is_busy() {
                session.progress().await;
            }
            assert!(!session.has_room(), "what is not heard still takes its place");
            assert!(session.next_answer().is_some_and(|answer| answer.outcome.is_ok()));
            assert!(session.has_room());
        }
    }
}
