//! One atomic append: routed, followed across closes, settled before anything is said.

use std::future::poll_fn;
use std::sync::Arc;

use super::error::RETRY_AFTER;
use super::idempotency::LookedBefore;
use super::{Proxy, ProxyError};
use crate::domain::{
    CloseEvent, Event, ExpectedVersion, Head, InvalidValue, ObjectDocument, ObjectKey,
    StreamAddress, Version, WrongExpectedVersion,
};
use crate::lock::{Held, Pass};
use crate::runtime::{Backoff, Deadline, ToTheEnd};
use crate::store::retry::doubt::append_is_settled_by;
use crate::store::{Append, Appended, StoreError};

/// An append as a client asked for it.
#[derive(Clone, Debug)]
pub struct AppendCommand {
    pub object: ObjectKey,
    pub expected: ExpectedVersion,
    /// With their digests; `recorded_at` is set here.
    pub events: Vec<Event>,
    /// None: as configured.
    pub auto_retry_on_stream_closure: Option<bool>,
    /// None: as configured.
    pub deadline: Option<Deadline>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendOutcome {
    pub first: Version,
    pub last: Version,
    /// The events were there already.
    pub replay: bool,
    /// How many continuations were followed.
    pub followed: u32,
}

/// One append on its way through closes and lost answers.
struct Attempt<'a> {
    proxy: &'a Proxy,
    command: &'a AppendCommand,
    deadline: Deadline,
    backoff: Backoff,
    followed: u32,
    /// It was held and let go, and has not gone yet: it does not wait a second time.
    let_go: Option<Pass>,
    /// An earlier try may have been done, or may still be.
    in_doubt: bool,
    /// The stream before which none of the ids was found.
    new_behind: Option<StreamAddress>,
}

/// What to do after one try.
enum Next {
    Done(Appended),
    TryAgain(Arc<ObjectDocument>),
}

impl Proxy {
    /// Appends to the object wherever it lives.
    ///
    /// Every error but [`ProxyError::OutcomeUnknown`] means that the append was not done and will
    /// not be. A dropped future leaves it done or not done, as a lost answer does: what was not
    /// yet sent to a store never is, what was sent ends in a task of its own.
    pub async fn append(&self, command: AppendCommand) -> Result<AppendOutcome, ProxyError> {
        check_batch(&command.events)?;
        self.limits.check(&command.events)?;
        let clock = &*self.runtime.clock;
        let began = clock.monotonic();
        let configured = Deadline::after(clock, self.options.append_timeout);
        let mut attempt = Attempt {
            proxy: self,
            deadline: command.deadline.map_or(configured, |deadline| deadline.min(configured)),
            backoff: Backoff::new(self.options.retry_wait_first, self.options.retry_wait_max),
            followed: 0,
            let_go: None,
            in_doubt: false,
            new_behind: None,
            command: &command,
        };
        let done = attempt.run().await;
        let stats = self.moves.of(&command.object);
        if let Some(stats) = &stats {
            stats.note_append(clock.monotonic().saturating_sub(began));
        }
        if attempt.followed > 0 && done.is_ok() {
            self.moves.note_redirected(stats.as_deref());
        }
        let Appended { first, last, replay } = done?;
        Ok(AppendOutcome { first, last, replay, followed: attempt.followed })
    }
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<Appended, ProxyError> {
        let mut route = self.first_route().await?;
        loop {
            match self.try_once(&route).await? {
                Next::Done(appended) => return Ok(appended),
                Next::TryAgain(document) => route = document,
            }
        }
    }

    async fn first_route(&self) -> Result<Arc<ObjectDocument>, ProxyError> {
        let proxy = self.proxy;
        let object = &self.command.object;
        if let Some(known) = self.bounded(proxy.route(object)).await?? {
            return Ok(known);
        }
        // An expectation that only an existing object meets creates nothing.
        let expected = self.command.expected;
        match expected {
            ExpectedVersion::StreamExists | ExpectedVersion::Exact(_) => {
                Err(WrongExpectedVersion { expected, actual: Head::NONE }.into())
            }
            ExpectedVersion::Any | ExpectedVersion::NoStream => {
                self.bounded(proxy.create_object(object)).await?
            }
        }
    }

    async fn try_once(&mut self, route: &Arc<ObjectDocument>) -> Result<Next, ProxyError> {
        let proxy = self.proxy;
        let address = &route.active.address;
        let store = proxy.store_of(address)?;
        store.capabilities().limits.check(&self.command.events)?;
        if route.active.base != Version::FIRST
            && let Some(pass) = &mut self.let_go
        {
            // Nobody waits for the look of another.
            pass.gone();
        }
        if let Some(next) = self.look_before(route).await? {
            return Ok(next);
        }

        let (held, mut pass) = match self.let_go.take() {
            Some(pass) => (Held::No, pass),
            None => proxy.pauses.pass(&self.command.object, Some(self.deadline)).await,
        };
        match held {
            Held::No => {}
            // The pause ended with a reroute or with none. A route that was changed meanwhile saves
            // a look at the closed source; one that nobody told of is found out there.
            Held::Released => {
                let known = proxy.routes.get(&self.command.object);
                if known.as_ref().is_none_or(|known| known.active != route.active) {
                    self.let_go = Some(pass);
                    return Ok(Next::TryAgain(self.first_route().await?));
                }
            }
            Held::Refused { retry_after } => {
                return Err(self.certain(ProxyError::CutoverInProgress { retry_after }));
            }
        }
        let append = self.append_to(route);
        let (store, stream_id) = (Arc::clone(store), address.stream_id.clone());
        // Order: the pass is held until the store has answered, also when nobody waits for it.
        let call = async move {
            let mut appending = store.append(&stream_id, append);
            let answer = poll_fn(|context| {
                let polled = appending.as_mut().poll(context);
                // Order: the next that was held goes behind this one.
                pass.gone();
                polled
            });
            let answer = answer.await;
            drop(pass);
            answer
        };
        match self.bounded(ToTheEnd::new(&proxy.runtime.shutdown, call)).await {
            Ok(Ok(appended)) => Ok(Next::Done(appended)),
            Ok(Err(error)) => self.after_refusal(route, error).await,
            Err(_) => Err(ProxyError::OutcomeUnknown { cause: None }),
        }
    }

    fn append_to(&self, route: &ObjectDocument) -> Append {
        let now = self.proxy.runtime.clock.now().max(route.recorded_at_min());
        let mut events = self.command.events.clone();
        for event in &mut events {
            event.recorded_at = now;
        }
        let (made_by, base) = (route.active.made_by, route.active.base);
        Append { made_by, base, expected: self.command.expected, events }
    }

    /// Invariant 8: ids that lie in streams before the one that is appended to come first. What is
    /// not there now never will be, so one look is enough for all tries on this stream.
    async fn look_before(&mut self, route: &ObjectDocument) -> Result<Option<Next>, ProxyError> {
        let address = &route.active.address;
        if route.active.base == Version::FIRST || self.new_behind.as_ref() == Some(address) {
            return Ok(None);
        }
        let looked = self.proxy.look_before(route, &self.command.events);
        let looked = match self.bounded(looked).await? {
            // All streams that an earlier try can have reached were asked.
            Err(error @ ProxyError::DuplicateEventId { .. }) => return Err(error),
            looked => looked.map_err(|error| self.certain(error))?,
        };
        match looked {
            LookedBefore::Nothing => {
                self.new_behind = Some(address.clone());
                Ok(None)
            }
            LookedBefore::Replay(appended) => Ok(Some(Next::Done(appended))),
            LookedBefore::Moved(document) => Ok(Some(Next::TryAgain(document))),
            LookedBefore::Closed(close) => self.follow(address, *close).await.map(Some),
        }
    }

    async fn after_refusal(
        &mut self,
        route: &Arc<ObjectDocument>,
        error: StoreError,
    ) -> Result<Next, ProxyError> {
        let address = &route.active.address;
        match error {
            // What is in doubt stays so until the continuation has looked at the ids: a closed
            // stream whose events were removed refuses without knowing them.
            StoreError::Closed { close } => self.follow(address, *close).await,
            // Invariant 8: the same append again is the only way to settle it.
            StoreError::OutcomeUnknown { .. } => {
                self.in_doubt = true;
                self.wait_before_retry().await?;
                Ok(Next::TryAgain(Arc::clone(route)))
            }
            // Streams never vanish and never change their maker, so either the route was wrong
            // or the store lost something; the document says which.
            StoreError::NotFound | StoreError::WrongMaker { .. } => {
                let known = self.bounded(self.proxy.reload(&self.command.object)).await??;
                match known {
                    Some(document) if document.active != route.active => {
                        Ok(Next::TryAgain(document))
                    }
                    Some(_) | None => Err(ProxyError::from_store(address, error)),
                }
            }
            StoreError::Unavailable { .. }
            | StoreError::Contended { .. }
            | StoreError::Overloaded { .. }
            | StoreError::RateLimited { .. }
            | StoreError::TimedOut => Err(self.certain(ProxyError::from_store(address, error))),
            // The store looked at the ids first, in one step with this refusal, as far as it knows
            // them. What that says of an earlier try is the same here as below the store.
            StoreError::WrongExpectedVersion(_) | StoreError::DuplicateEventId { .. } => {
                let window = self.proxy.store_of(address)?.capabilities().event_id_window;
                let settled = append_is_settled_by(&error, self.command.expected, window);
                let error = ProxyError::from_store(address, error);
                Err(if settled { error } else { self.certain(error) })
            }
            StoreError::AlreadyExists
            | StoreError::Gone { .. }
            | StoreError::NotClosed
            | StoreError::LimitExceeded(_)
            | StoreError::Unsupported { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Bug { .. } => Err(self.certain(ProxyError::from_store(address, error))),
        }
    }

    async fn follow(
        &mut self,
        closed: &StreamAddress,
        close: CloseEvent,
    ) -> Result<Next, ProxyError> {
        let options = &self.proxy.options;
        let auto_retry = self.command.auto_retry_on_stream_closure;
        if !auto_retry.unwrap_or(options.auto_retry_on_stream_closure) {
            // The next call shall not meet the same closed stream again.
            self.proxy.routes.forget(&self.command.object);
            return Err(self.certain(ProxyError::from_store(closed, StoreError::closed(close))));
        }
        if self.followed >= options.max_stream_continuation_retries {
            self.proxy.routes.forget(&self.command.object);
            let (followed, retry_after) = (self.followed, RETRY_AFTER);
            return Err(self.certain(ProxyError::TooManyContinuations { followed, retry_after }));
        }
        self.followed += 1;
        let followed = self.proxy.follow(&self.command.object, closed, &close);
        Ok(Next::TryAgain(self.bounded(followed).await??))
    }

    async fn wait_before_retry(&mut self) -> Result<(), ProxyError> {
        let runtime = &self.proxy.runtime;
        let wait = self.backoff.next_wait(&*runtime.entropy);
        if self.deadline.remaining(&*runtime.clock) <= wait {
            return Err(ProxyError::OutcomeUnknown { cause: None });
        }
        runtime.clock.sleep(wait).await;
        Ok(())
    }

    /// An error that says "not done" is only as certain as the tries before it.
    fn certain(&self, error: ProxyError) -> ProxyError {
        if self.in_doubt { ProxyError::OutcomeUnknown { cause: Some(error.into()) } } else { error }
    }

    /// Runs a step until the deadline; what passes it leaves the append not done, or in doubt.
    async fn bounded<F: Future>(&self, step: F) -> Result<F::Output, ProxyError> {
        let passed = self.deadline.bound(&*self.proxy.runtime.clock, step).await;
        passed.map_err(|passed| {
            let retry_after = RETRY_AFTER;
            self.certain(ProxyError::DeadlinePassed { retry_after, passed })
        })
    }
}

/// What no store is asked to judge: an empty batch, and one id twice in it.
fn check_batch(events: &[Event]) -> Result<(), InvalidValue> {
    if events.is_empty() {
        return Err(InvalidValue::new("events", "must hold at least one event"));
    }
    let mut seen = std::collections::HashSet::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        if !seen.insert(event.event_id) {
            let field = format!("events[{index}].event_id");
            return Err(InvalidValue::new(field, "stands twice in this batch"));
        }
    }
    Ok(())
}
