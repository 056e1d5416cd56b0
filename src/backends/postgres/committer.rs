//! Appends from many callers, in few transactions: while one is on its way, the next one gathers.
//!
//! `line` says what goes together and when. A transaction never waits for a stream that another
//! process holds: such appends go by `turns`.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::alone;
use super::batch::{self, BatchBounds, Patience, Queued, Told};
use super::connections::Connections;
use super::error::Failure;
use super::line::{Begun, Bounds, Line};
use super::options::PostgresOptions;
use super::statements::Statements;
use super::together;
use super::turns::{Joined, Turns};
use crate::domain::StreamId;
use crate::runtime::{Clock, Deadline, Runtime, Shutdown};
use crate::store::{Append, Appended, StoreError, judge};

/// Transactions that may wait for streams that others hold. They have connections of their own
/// kind, so that they keep nobody else waiting, and not all of those.
const PATIENT_MAX: usize = 4;

/// A transaction that takes longer than this keeps others waiting no more.
const LATE_AFTER: Duration = Duration::from_millis(2);

/// A repetition among others costs all of them a second transaction, and is rarely the only one.
/// For so long after it, appends are judged one by one from the start.
const REPEATS_FOR: Duration = Duration::from_secs(1);

pub(super) struct Committer {
    line: Arc<Mutex<Line>>,
    asked: Arc<Asked>,
    /// Bytes that may still wait.
    room: Arc<Semaphore>,
    queue_bytes_max: usize,
}

/// Who is asked, and how.
struct Asked {
    connections: Connections,
    /// For what must wait.
    others: Arc<Connections>,
    patient: Semaphore,
    turns: Mutex<Turns>,
    /// Until then what repeats an append is expected among others.
    repeats_until: Mutex<Duration>,
    statements: Arc<Statements>,
    channel: Option<String>,
    answer_timeout: Duration,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

impl Committer {
    pub(super) fn new(
        connections: Connections,
        others: Arc<Connections>,
        statements: Arc<Statements>,
        options: &PostgresOptions,
        runtime: &Runtime,
    ) -> Self {
        let each =
            BatchBounds { requests: options.batch_requests_max, bytes: options.batch_bytes_max };
        let asked = Arc::new(Asked {
            connections,
            others,
            patient: Semaphore::new(PATIENT_MAX.min(options.connections_max.div_ceil(2))),
            turns: Mutex::new(Turns::new(each)),
            repeats_until: Mutex::default(),
            statements,
            channel: options.listen_url.as_ref().map(|_| options.schema.clone()),
            answer_timeout: options.answer_timeout,
            clock: Arc::clone(&runtime.clock),
            shutdown: runtime.shutdown.clone(),
        });
        // Order: before anybody waits for it. A stream that comes here by a migration is written at
        // once, by all who held their appends for it.
        let connecting = Arc::clone(&asked);
        runtime.shutdown.spawn(async move { connecting.connections.connect().await });
        let bounds = Bounds { transactions: options.append_connections, each };
        Self {
            line: Arc::new(Mutex::new(Line::new(bounds))),
            asked,
            room: Arc::new(Semaphore::new(options.queue_bytes_max)),
            queue_bytes_max: options.queue_bytes_max,
        }
    }

    /// Appends with whatever else waits. Dropped, it may still be done.
    pub(super) async fn append(
        &self,
        stream: &StreamId,
        mut append: Append,
    ) -> Result<Appended, StoreError> {
        // Within an append this is decided by the append alone; the rest is the server's.
        judge::raise_recorded_at(&mut append.events, None);
        let bytes: usize = append.events.iter().map(|event| event.size() + 128).sum();
        let permits = u32::try_from(bytes.min(self.queue_bytes_max)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let room = room.expect("nobody closes it");
        let (answer, answered) = oneshot::channel();
        let queued = Queued { stream: stream.clone(), append, bytes, answer, _room: room };
        if let Some(queued) = self.asked.unless_shared(queued) {
            lock(&self.line).push(queued);
            begin(&self.line, &self.asked);
        }
        let gone = || Err(StoreError::unknown("the transaction was given up"));
        answered.await.unwrap_or_else(|_| gone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

/// Begins every transaction that is worth it now, each in a task.
fn begin(line: &Arc<Mutex<Line>>, asked: &Arc<Asked>) {
    loop {
        let Some((begun, batch)) = lock(line).begin() else { return };
        let running = Running { line: Arc::clone(line), begun: Some(begun) };
        let asked = Arc::clone(asked);
        let shutdown = asked.shutdown.clone();
        shutdown.spawn(asked.see_through(running, batch));
    }
}

/// A transaction on its way. Its task may be ended before it is.
struct Running {
    line: Arc<Mutex<Line>>,
    begun: Option<Begun>,
}

impl Running {
    fn is_late(&mut self) {
        if let Some(begun) = &mut self.begun {
            lock(&self.line).is_late(begun);
        }
    }

    fn end(mut self) -> Arc<Mutex<Line>> {
        if let Some(begun) = self.begun.take() {
            lock(&self.line).end(begun);
        }
        Arc::clone(&self.line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            let mut line = lock(&self.line);
            // Whoever waits is told that nobody knows.
            line.clear();
            line.end(begun);
        }
    }
}

impl Asked {
    async fn see_through(self: Arc<Self>, mut running: Running, batch: Vec<Queued>) {
        let mut settling = pin!(self.settle(batch));
        tokio::select! {
            biased;
            () = &mut settling => {}
            () = self.clock.sleep(LATE_AFTER) => {
                running.is_late();
                begin(&running.line, &self);
                settling.await;
            }
        }
        // Whoever is ready to append comes along: those who were just answered, above all.
        tokio::task::yield_now().await;
        begin(&running.end(), &self);
    }

    /// Answers everybody, now or after another look.
    async fn settle(self: &Arc<Self>, batch: Vec<Queued>) {
        let batch = match self.ask_briefly(&batch).await {
            Ok(taken) => answer_taken(batch, taken),
            Err(failure) => return tell_all(batch, failure),
        };
        if batch.is_empty() {
            return;
        }
        // Nothing was done for these; the whole statement says why, or does it after all.
        match self.ask(&self.connections, Patience::PassOver, &batch).await {
            Ok(told) => {
                for (queued, told) in batch.into_iter().zip(told) {
                    match told {
                        Told::Answer(answer) => queued.answer(answer),
                        Told::Absent => self.ask_patiently(queued),
                    }
                }
            }
            // One of them is what the server cannot take. It must not undo its neighbours.
            Err(Failure::Refused(refusal)) if refusal.is_about_the_request() && batch.len() > 1 => {
                for queued in batch {
                    self.ask_patiently(queued);
                }
            }
            Err(failure) => tell_all(batch, failure),
        }
    }

    /// The append, unless its stream is shared: then it waits for its turn.
    fn unless_shared(self: &Arc<Self>, queued: Queued) -> Option<Queued> {
        let joined = self.turns().join(queued, self.clock.monotonic());
        match joined {
            Joined::NotShared(queued) => return Some(queued),
            Joined::Waits => {}
            Joined::First(stream) => self.serve(stream),
        }
        None
    }

    /// Lets an append that was passed over wait for its turn.
    fn ask_patiently(self: &Arc<Self>, queued: Queued) {
        let joined = self.turns().passed_over(queued, self.clock.monotonic());
        if let Joined::First(stream) = joined {
            self.serve(stream);
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        lock(&self.turns)
    }

    /// Takes turns at a stream until nothing waits for it, on a task of its own.
    fn serve(self: &Arc<Self>, stream: StreamId) {
        let asked = Arc::clone(self);
        self.shutdown.spawn(async move {
            let mut turn = TurnsTaken { asked: &asked, stream, is_done: false };
            loop {
                // Order: a place first, so that as much as possible goes along.
                let _place = asked.patient.acquire().await.expect("nobody closes it");
                let Some(batch) = asked.turns().next_batch(&turn.stream) else { break };
                asked.take_turn(batch).await;
            }
            // Order: from here on another task may serve the stream.
            turn.is_done = true;
        });
    }

    async fn take_turn(&self, batch: Vec<Queued>) {
        let failure = match self.ask(&self.others, Patience::Wait, &batch).await {
            Ok(told) => return answer_all(batch, told),
            Err(failure) => failure,
        };
        match failure {
            Failure::Refused(refusal) if refusal.is_about_the_request() && batch.len() > 1 => {
                for queued in batch {
                    let alone = vec![queued];
                    match self.ask(&self.others, Patience::Wait, &alone).await {
                        Ok(told) => answer_all(alone, told),
                        Err(failure) => tell_all(alone, failure),
                    }
                }
            }
            failure => tell_all(batch, failure),
        }
    }

    async fn ask(
        &self,
        connections: &Connections,
        patience: Patience,
        batch: &[Queued],
    ) -> Result<Vec<Told>, Failure> {
        let channel = self.channel.as_deref();
        self.in_time(batch::ask(connections, &self.statements, channel, patience, batch)).await
    }

    /// Asks for what is most likely: that all is taken. None: nothing was done for this one, and
    /// the reason is not told.
    async fn ask_briefly(&self, batch: &[Queued]) -> Result<Vec<Option<Appended>>, Failure> {
        let (connections, statements) = (&self.connections, &*self.statements);
        let channel = self.channel.as_deref();
        if let [queued] = batch {
            let asking = alone::ask(connections, statements, channel, queued);
            return match self.in_time(asking).await {
                Err(Failure::Refused(refusal)) if refusal.is_duplicate_key() => Ok(vec![None]),
                answer => answer.map(|taken| vec![taken]),
            };
        }
        if *lock(&self.repeats_until) > self.clock.monotonic() {
            return Ok(vec![None; batch.len()]);
        }
        let asking = together::ask(connections, statements, channel, batch);
        match self.in_time(asking).await {
            Err(Failure::Refused(refusal)) if refusal.is_duplicate_key() => {
                *lock(&self.repeats_until) = self.clock.monotonic() + REPEATS_FOR;
                Ok(vec![None; batch.len()])
            }
            // One of them is what the server cannot take.
            Err(Failure::Refused(refusal)) if refusal.is_about_the_request() => {
                Ok(vec![None; batch.len()])
            }
            answer => answer,
        }
    }

    async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let deadline = Deadline::after(&*self.clock, self.answer_timeout);
        let answer = deadline.bound(&*self.clock, asking).await;
        answer.unwrap_or_else(|late| Err(Failure::Lost(late.into())))
    }
}

/// Answers those that were taken, and gives back the others.
fn answer_taken(batch: Vec<Queued>, taken: Vec<Option<Appended>>) -> Vec<Queued> {
    let mut left = Vec::new();
    for (queued, taken) in batch.into_iter().zip(taken) {
        match taken {
            Some(appended) => queued.answer(Ok(appended)),
            None => left.push(queued),
        }
    }
    left
}

/// Answers a batch that passed over nothing.
fn answer_all(batch: Vec<Queued>, told: Vec<Told>) {
    for (queued, told) in batch.into_iter().zip(told) {
        queued.answer(match told {
            Told::Answer(answer) => answer,
            Told::Absent => Err(StoreError::NotFound),
        });
    }
}

/// A task that was ended before it was done leaves the stream to another one.
struct TurnsTaken<'a> {
    asked: &'a Asked,
    stream: StreamId,
    is_done: bool,
}

impl Drop for TurnsTaken<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            // Whoever waits is told that nobody knows.
            self.asked.turns().forget(&self.stream);
        }
    }
}

fn tell_all(batch: Vec<Queued>, failure: Failure) {
    let failure = failure.shared();
    for queued in batch {
        queued.answer(Err(failure.share().of_write()));
    }
}
