//! Appends of this process that wait for one stream go out together: one of them takes the turn,
//! judges all that wait, one after the other, and replaces the tail once for all of them.
//!
//! Every verdict, also a refusal, is about the state that the replacement was conditional on, so
//! its success proves them all. Without anything to write a fresh look at the tail proves them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::S3Store;
use super::bucket::Put;
use super::error::Failure;
use super::stream::{Cut, Next, Place, Stream};
use super::window::WINDOW;
use crate::domain::EventId;
use crate::runtime::Backoff;
use crate::store::judge::{self, AppendVerdict};
use crate::store::{Append, Appended, Found, StoreError};

/// Waits between rounds that were lost against other processes.
const WAIT_FIRST: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(250);
/// Writes without an answer that one call makes good for by writing again.
const UNSETTLED_MAX: u32 = 1;

type Answer = Result<Appended, StoreError>;

/// The streams that somebody appends to or closes right now.
#[derive(Default)]
pub(super) struct Lanes(Mutex<HashMap<String, Weak<Lane>>>);

/// Those who wait for one stream.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) turn: tokio::sync::Mutex<()>,
    waiting: Mutex<VecDeque<Waiting>>,
}

impl Lanes {
    pub(super) fn of(&self, key: &str) -> Arc<Lane> {
        let mut lanes = self.0.lock().expect("no holder panics");
        if let Some(lane) = lanes.get(key).and_then(Weak::upgrade) {
            return lane;
        }
        // Dead entries go when the table would grow.
        if lanes.len() == lanes.capacity() {
            lanes.retain(|_, lane| lane.strong_count() > 0);
        }
        let lane = Arc::<Lane>::default();
        lanes.insert(key.to_owned(), Arc::downgrade(&lane));
        lane
    }
}

impl Lane {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().expect("no holder panics")
    }

    /// Takes those who wait longest, as many as one write may hold. Who gave up is passed over.
    fn take(&self, bytes_max: usize) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut waiting = self.waiting();
        while let Some(next) = waiting.front() {
            bytes += next.append.events.iter().map(crate::domain::Event::size).sum::<usize>();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.extend(waiting.pop_front().filter(|next| !next.answer.is_closed()));
        }
        taken
    }
}

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Answer>,
    /// An earlier write of it had no answer.
    in_doubt: bool,
}

impl Waiting {
    /// In doubt, only a success is an answer: what is refused now may have been done before.
    fn tell(self, answer: Answer) {
        let answer = match answer {
            Err(error) if self.in_doubt => Err(StoreError::unknown(error)),
            answer => answer,
        };
        // Nobody waits any more: the caller gave up, and knows that this leaves it open.
        drop(self.answer.send(answer));
    }
}

/// What is told to each who waits, if the write is done.
struct Verdicts {
    answers: Vec<Answer>,
    /// Which of them are to be written.
    accepted: Vec<bool>,
    next: Next,
}

impl S3Store {
    pub(super) async fn append_in_turn(&self, place: &Place, append: Append) -> Answer {
        let lane = self.lanes.of(&place.tail_key);
        let (answer, mut answered) = oneshot::channel();
        lane.waiting().push_back(Waiting { append, answer, in_doubt: false });
        loop {
            let turn = tokio::select! {
                biased;
                told = &mut answered => return told.unwrap_or_else(|_| Err(dropped())),
                turn = lane.turn.lock() => turn,
            };
            match answered.try_recv() {
                Ok(told) => return told,
                Err(oneshot::error::TryRecvError::Closed) => return Err(dropped()),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let batch = lane.take(self.options.limits.batch_bytes_max);
            self.write_together(place, batch).await;
            drop(turn);
        }
    }

    async fn write_together(&self, place: &Place, mut batch: Vec<Waiting>) {
        let mut kept = self.cache.stream(place);
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        let mut unsettled = 0;
        let mut attempts = 0;
        while attempts < self.options.append_attempts_max {
            let fresh = kept.is_none();
            let stream = match kept.take() {
                Some(stream) => stream,
                None => match self.load(place).await {
                    Ok(Some(stream)) => stream,
                    Ok(None) => return tell_all(batch, || StoreError::NotFound),
                    Err(failure) => return tell_all(batch, || failure.clone().of_read()),
                },
            };
            let verdicts = match self.judge(place, &stream, &batch).await {
                Ok(verdicts) => verdicts,
                // A state that is old may name what was removed since.
                Err(Failure::Damaged(_)) if !fresh => continue,
                Err(failure @ Failure::Damaged(_)) => match self.load(place).await {
                    Ok(Some(now)) if now.etag != stream.etag => {
                        kept = Some(now);
                        attempts += 1;
                        continue;
                    }
                    Ok(_) | Err(_) => return tell_all(batch, || failure.clone().of_read()),
                },
                Err(failure) => return tell_all(batch, || failure.clone().of_read()),
            };
            if !verdicts.accepted.contains(&true) {
                if fresh {
                    return tell_each(batch, verdicts.answers);
                }
                continue;
            }
            attempts += 1;
            let nonce = verdicts.next.standing.nonce;
            let failure = match self.replace(place, &stream, verdicts.next).await {
                Ok(true) => return tell_each(batch, verdicts.answers),
                Ok(false) => {
                    self.wait(&mut backoff).await;
                    continue;
                }
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Unsettled { .. }) {
                return tell_all(batch, || failure.clone().of_write());
            }
            for (waiting, accepted) in batch.iter_mut().zip(&verdicts.accepted) {
                waiting.in_doubt |= accepted;
            }
            match self.load(place).await {
                Ok(Some(now)) if now.standing.nonce == nonce => {
                    return tell_each(batch, verdicts.answers);
                }
                // Whatever the first write did or will do, another on this very state lands once:
                // either finds the other's etag, or, within the window, its ids.
                Ok(Some(now)) if unsettled < UNSETTLED_MAX && within_window(&stream, &now) => {
                    unsettled += 1;
                    kept = Some(now);
                }
                Ok(_) | Err(_) => return tell_all(batch, || failure.clone().of_write()),
            }
        }
        tell_all(batch, || StoreError::Contended { attempts });
    }

    async fn judge(
        &self,
        place: &Place,
        stream: &Stream,
        batch: &[Waiting],
    ) -> Result<Verdicts, Failure> {
        let ids: HashSet<EventId> = batch
            .iter()
            .flat_map(|waiting| waiting.append.events.iter().map(|event| event.event_id))
            .collect();
        let known: HashMap<EventId, Found> = match stream.tail().removed {
            true => HashMap::new(),
            false => self.known(place, stream, ids.into_iter()).await?,
        };
        let mut next = stream.next(self.nonce());
        let (mut answers, mut accepted) = (Vec::new(), Vec::new());
        for Waiting { append, .. } in batch {
            let find = |id| Ok(next.find(id).or_else(|| known.get(&id).copied()));
            let verdict = judge::append(&next.standing.tail, append, find);
            accepted.push(matches!(verdict, Ok(AppendVerdict::Accept { .. })));
            answers.push(match verdict {
                Ok(AppendVerdict::Replay(appended)) => Ok(appended),
                Ok(AppendVerdict::Accept { appended, base }) => {
                    next.append(base, appended, append.events.clone());
                    Ok(appended)
                }
                Err(error) => Err(error),
            });
        }
        Ok(Verdicts { answers, accepted, next })
    }

    /// Replaces a state by the next. False: somebody else did, and this never will.
    pub(super) async fn replace(
        &self,
        place: &Place,
        stream: &Stream,
        mut next: Next,
    ) -> Result<bool, Failure> {
        // Only what is durable in the tail goes into a chunk, so that a chunk is always history.
        next.make_room(&place.id, self.cut(), stream.tail().head.next());
        // Order: the chunk and the index are there before the tail names them.
        if let Some(chunk) = &next.chunk {
            let key = place.keys.chunk(chunk.named.first, chunk.named.last);
            let put = self.bucket.put(&key, chunk.object.clone().into()).await;
            put.map_err(of_preparation)?;
            self.cache.keep_events(key, Arc::new(chunk.events.clone()));
        }
        if let Some(index) = &next.index {
            let (first, last) = index.versions;
            let key = place.keys.index(first, last);
            let put = self.bucket.put(&key, index.object.clone().into()).await;
            put.map_err(of_preparation)?;
        }
        let object = next.object(&place.id);
        match self.bucket.replace(&place.tail_key, &stream.etag, object.into()).await? {
            Put::Done(etag) => {
                self.cache.keep_stream(place, &Arc::new(next.written(etag)));
                Ok(true)
            }
            Put::Lost => {
                // The condition also fails if somebody on the way repeated our own request.
                let now = self.load(place).await.ok().flatten();
                Ok(now.is_some_and(|now| now.standing.nonce == next.standing.nonce))
            }
        }
    }

    pub(super) async fn wait(&self, backoff: &mut Backoff) {
        let wait = backoff.next_wait(&*self.runtime.entropy);
        self.runtime.clock.sleep(wait).await;
    }

    pub(super) fn nonce(&self) -> Uuid {
        self.runtime.entropy.uuid()
    }

    fn cut(&self) -> Cut {
        Cut {
            tail_bytes_max: self.options.tail_bytes_max,
            chunks_in_tail_max: self.options.chunks_in_tail_max,
        }
    }
}

/// A chunk that may have been written changes nothing that anybody sees.
fn of_preparation(failure: Failure) -> Failure {
    match failure {
        Failure::Unsettled { detail, .. } => Failure::NotSent(detail),
        other => other,
    }
}

/// Whether ids that landed on top of `then` are still known to `now`.
fn within_window(then: &Stream, now: &Stream) -> bool {
    let (then, now) = (then.tail().head.next().0, now.tail().head.next().0);
    now.saturating_sub(then) <= WINDOW / 2
}

/// Whoever wrote for us gave up in the middle.
fn dropped() -> StoreError {
    StoreError::OutcomeUnknown { cause: None }
}

fn tell_each(batch: Vec<Waiting>, answers: Vec<Answer>) {
    for (waiting, answer) in batch.into_iter().zip(answers) {
        waiting.tell(answer);
    }
}

fn tell_all(batch: Vec<Waiting>, error: impl Fn() -> StoreError) {
    for waiting in batch {
        waiting.tell(Err(error()));
    }
}
