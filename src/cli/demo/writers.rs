//! Clients that append without pause, each on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use super::ledger::{Ledger, ObjectLedger};
use crate::cli::connection::Connection;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::verdict::{Effect, Verdict};
use crate::grpc::v1;
use crate::runtime::{Entropy, Runtime};

/// Every error is counted; the append is repeated with the same ids so that it settles.
const REPEATS_MAX: u32 = 50;
const REPEAT_AFTER: Duration = Duration::from_millis(100);
/// An hour; longer appends are counted as one of an hour.
const LONGEST_US: u64 = 3_600_000_000;
const TYPES: [&str; 4] = ["OrderPlaced", "ItemAdded", "PriceAgreed", "OrderShipped"];

/// The clients at work.
pub(super) struct Writers(Vec<JoinHandle<Written>>);

/// How long appends took, as a client saw it, in microseconds.
pub(super) struct Written {
    /// To objects that moved while the append was on its way.
    pub(super) moving: Histogram<u64>,
    pub(super) resting: Histogram<u64>,
}

impl Written {
    fn new() -> Self {
        let empty = || {
            Histogram::new_with_max(LONGEST_US, 3).expect("three digits of an hour are few enough")
        };
        Self { moving: empty(), resting: empty() }
    }
}

pub(super) fn start(
    session: &Session,
    server: &str,
    count: u16,
    ledger: &Arc<Ledger>,
) -> Result<Writers, Failure> {
    let mut tasks = Vec::with_capacity(count.into());
    for number in 0..count {
        let writer = Writer {
            connection: Connection::to(server, session)?,
            runtime: session.runtime.clone(),
            ledger: Arc::clone(ledger),
            timeout: session.timeout,
            number: number.into(),
            writers: count.into(),
        };
        tasks.push(session.runtime.shutdown.spawn(writer.write()));
    }
    Ok(Writers(tasks))
}

impl Writers {
    pub(super) async fn ended(self) -> Result<Written, Failure> {
        let mut all = Written::new();
        for task in self.0 {
            let written = task
                .await
                .map_err(|error| Failure::local("finish a writer", std::io::Error::other(error)))?;
            // Both have the same bounds, so that adding cannot fail.
            _ = all.moving.add(written.moving);
            _ = all.resting.add(written.resting);
        }
        Ok(all)
    }
}

struct Writer {
    connection: Connection,
    runtime: Runtime,
    ledger: Arc<Ledger>,
    timeout: Duration,
    number: usize,
    writers: usize,
}

impl Writer {
    async fn write(self) -> Written {
        let mut written = Written::new();
        let mut sequence = 0;
        // Each object is made by one of the clients, and then written by all.
        let mut own = (self.number..self.ledger.objects.len()).step_by(self.writers);
        while !self.ledger.writers_should_stop() {
            let object = &self.ledger.objects[own.next().unwrap_or_else(|| self.choose())];
            let events = self.events(&mut sequence);
            let was_moving = object.is_moving();
            let began = self.runtime.clock.monotonic();
            self.append(object, events).await;
            let took = self.runtime.clock.monotonic().saturating_sub(began);
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            self.ledger.longest_append_us.fetch_max(micros, Ordering::Relaxed);
            let histogram = match was_moving || object.is_moving() {
                true => &mut written.moving,
                false => &mut written.resting,
            };
            histogram.saturating_record(micros);
        }
        written
    }

    /// Half of the appends go to objects that move right now: that is where it could go wrong.
    fn choose(&self) -> usize {
        let entropy = &*self.runtime.entropy;
        let prefers_moving = entropy.below(2) == 0;
        let moving = prefers_moving.then(|| self.ledger.some_moving(entropy.next_u64())).flatten();
        moving.unwrap_or_else(|| {
            let any = entropy.below(self.ledger.objects.len() as u64);
            usize::try_from(any).expect("below a length")
        })
    }

    /// Mostly one event, at times a batch.
    fn events(&self, sequence: &mut u64) -> Vec<v1::NewEvent> {
        let entropy = &*self.runtime.entropy;
        let count = match entropy.below(8) {
            0 => 2 + entropy.below(4),
            _ => 1,
        };
        let one = |_| {
            *sequence += 1;
            self.event(entropy, *sequence)
        };
        (0..count).map(one).collect()
    }

    fn event(&self, entropy: &dyn Entropy, sequence: u64) -> v1::NewEvent {
        let kind = TYPES[usize::try_from(entropy.below(4)).expect("below four")];
        let note = "x".repeat(usize::try_from(entropy.below(256)).expect("below 256"));
        let number = self.number;
        let payload = format!(
            "{{\"writer\": {number}, \"sequence\": {sequence}, \"total\": {}.50, \"note\": \
             \"{note}\"}}",
            entropy.below(10_000),
        );
        let (seconds, nanos) = self.runtime.clock.now().parts();
        v1::NewEvent {
            event_id: entropy.uuid().to_string(),
            event_type: kind.to_owned(),
            schema_version: 1,
            content_type: "application/json".to_owned(),
            payload: Bytes::from(payload),
            metadata: [("writer".to_owned(), number.to_string())].into_iter().collect(),
            occurred_at: Some(prost_types::Timestamp { seconds, nanos }),
        }
    }

    async fn append(&self, object: &ObjectLedger, events: Vec<v1::NewEvent>) {
        let floor = object.floor();
        let message = v1::AppendRequest {
            object: Some(object.object.clone()),
            events: events.clone(),
            ..Default::default()
        };
        for _ in 0..REPEATS_MAX {
            let mut request = tonic::Request::new(message.clone());
            request.set_timeout(self.timeout);
            match self.connection.events().append(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    if let Err(fault) = object.acknowledge(floor, &events, &answer) {
                        let id = &object.object.object_id;
                        self.ledger.faults.add(format!("order/{id}: {fault}"));
                    }
                    self.ledger.appends.fetch_add(1, Ordering::Relaxed);
                    self.ledger.events.fetch_add(events.len() as u64, Ordering::Relaxed);
                    return;
                }
                Err(status) => {
                    let verdict = Verdict::of(&status, Effect::Writes);
                    let text = format!("append: {}: {}", verdict.reason, verdict.message);
                    self.ledger.client_errors.add(text);
                    if !verdict.may_be_repeated() {
                        break;
                    }
                    let wait = verdict.retry_after.unwrap_or_default().max(REPEAT_AFTER);
                    self.runtime.clock.sleep(wait).await;
                }
            }
        }
        object.leave_unsettled(&events);
    }
}
