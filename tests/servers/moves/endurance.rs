//! Writers and migrations that go on while something befalls a store, and what must be true when
//! it is over: nothing lost, doubled or reordered, and nobody had to help.

use std::time::Duration;

use futures::future::join_all;
use streamgate::grpc::v1;
use streamgate::runtime::{Entropy, SystemEntropy};
use tokio::sync::watch;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::client::{Client, assert_same, has_ended, reason, soon};

const OBJECTS: u64 = 8;
/// What each writer still appends when the trouble is over.
const EVENTS_AFTER: u64 = 10;
/// How long anybody waits before asking again, whatever delay was told.
const WAIT_MIN: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(100);

/// How a run goes: what was acknowledged, and what clients were told while they had trouble.
#[derive(Default)]
pub(super) struct Course {
    acknowledged: watch::Sender<u64>,
    refusals: watch::Sender<u64>,
    unknown: watch::Sender<u64>,
}

async fn more(of: &watch::Sender<u64>, count: u64, what: &str) {
    let mut counted = of.subscribe();
    let wanted = *counted.borrow() + count;
    let waited = soon(what, counted.wait_for(|counted| *counted >= wanted)).await;
    waited.expect("the run is not over");
}

impl Course {
    /// Waits until so many more events were acknowledged.
    pub(super) async fn events(&self, count: u64) {
        more(&self.acknowledged, count, "events").await;
    }

    /// Waits until so many more calls were refused.
    pub(super) async fn refused(&self, count: u64) {
        more(&self.refusals, count, "refusals").await;
    }

    /// Waits until so many more calls were refused or in doubt.
    pub(super) async fn troubles(&self, count: u64) {
        tokio::select! {
            () = self.refused(count) => {}
            () = more(&self.unknown, count, "calls in doubt") => {}
        }
    }

    /// Asserts that an error is one of those that a store in trouble may cause, and that it says
    /// when to ask again where the caller is to do so; then waits.
    async fn bear(&self, status: &Status) {
        let told = status.get_error_details();
        let delay = told.retry_info().and_then(|info| info.retry_delay);
        match reason(status).as_deref() {
            // Where documents are away, so is the lock that lies beside them.
            Some(
                "STORE_UNAVAILABLE"
                | "LOCK_UNAVAILABLE"
                | "RATE_LIMITED"
                | "CUTOVER_IN_PROGRESS"
                | "CONTENDED",
            ) => {
                assert!(delay.is_some(), "no delay was told: {status:?}");
                self.refusals.send_modify(|count| *count += 1);
            }
            Some("OUTCOME_UNKNOWN") => self.unknown.send_modify(|count| *count += 1),
            _ => panic!("trouble with a store was told as {status:?}"),
        }
        let wait = delay.unwrap_or_default().clamp(WAIT_MIN, WAIT_MAX);
        tokio::time::sleep(wait).await;
    }
}

fn object(number: u64) -> v1::ObjectRef {
    v1::ObjectRef { object_name: "course".into(), object_id: number.to_string() }
}

fn event(object: u64, number: u64) -> v1::NewEvent {
    v1::NewEvent {
        event_id: Uuid::from_u128(0xD << 120 | u128::from(object) << 64 | u128::from(number))
            .to_string(),
        event_type: "Endured".into(),
        content_type: "text/plain".into(),
        payload: format!("{number} of {object}").into(),
        ..v1::NewEvent::default()
    }
}

/// Goes on behind the first event until the trouble is over, and then a little.
async fn write(
    client: &Client,
    number: u64,
    (over, course): (watch::Receiver<bool>, &Course),
) -> Vec<v1::NewEvent> {
    let mut sent = vec![event(number, 0)];
    let mut end = None;
    loop {
        if end.is_none() && *over.borrow() {
            end = Some(sent.len() as u64 + EVENTS_AFTER);
        }
        let version = sent.len() as u64;
        if end == Some(version) {
            return sent;
        }
        let next = event(number, version);
        loop {
            match client.append(&object(number), None, vec![next.clone()]).await {
                Ok(answer) => {
                    assert_eq!(answer.first_version, version, "of object {number}");
                    break;
                }
                Err(status) => course.bear(&status).await,
            }
        }
        sent.push(next);
        course.acknowledged.send_modify(|count| *count += 1);
    }
}

/// One migration to its end, asked about as often as need be.
async fn move_to(client: &Client, number: u64, target: &str, course: &Course) -> v1::Migration {
    let request = v1::MigrateRequest {
        request_id: SystemEntropy.uuid().to_string(),
        object: Some(object(number)),
        target_store: target.to_owned(),
        ..v1::MigrateRequest::default()
    };
    loop {
        let watched = async {
            let started = client.migrate(request.clone()).await?;
            let mut watch = client.watch(&started.migration_id).await?;
            watch.until(has_ended).await
        };
        match soon("the end of a migration", watched).await {
            Ok(migration) if has_ended(&migration) => return migration,
            Ok(_) => {}
            Err(status) => course.bear(&status).await,
        }
    }
}

/// Back and forth until the trouble is over, and once after it. Answers how often.
async fn keep_moving(
    client: &Client,
    number: u64,
    (over, course): (watch::Receiver<bool>, &Course),
) -> usize {
    for (moves, target) in (1..).zip(["cold", "hot"].into_iter().cycle()) {
        let was_over = *over.borrow();
        let moved = move_to(client, number, target, course).await;
        assert_eq!(moved.phase(), v1::MigrationPhase::Succeeded, "{moved:#?}");
        let certificate = moved.certificate.expect("a copy is certified");
        assert_eq!(certificate.source_checksum, certificate.target_checksum);
        if was_over {
            return moves;
        }
    }
    unreachable!("the trouble ends")
}

/// Writes through one proxy and moves through another while the trouble lasts, and checks what is
/// there in the end.
pub(super) async fn endure((front, mover): (&Client, &Client), trouble: impl AsyncFnOnce(&Course)) {
    for number in 0..OBJECTS {
        front.append(&object(number), None, vec![event(number, 0)]).await.unwrap();
    }
    let (course, over) = (Course::default(), watch::Sender::new(false));
    let writers = (0..OBJECTS).map(|number| write(front, number, (over.subscribe(), &course)));
    let movers = (0..OBJECTS).map(|number| keep_moving(mover, number, (over.subscribe(), &course)));
    let trouble = async {
        trouble(&course).await;
        over.send_replace(true);
    };
    let (sent, moves, ()) = tokio::join!(join_all(writers), join_all(movers), trouble);
    for (number, (sent, moves)) in (0..).zip(sent.iter().zip(&moves)) {
        let history = front.read(&object(number)).await.expect("all is well again");
        assert_same(&object(number), &history, sent);
        assert_eq!(history.header.chain.len(), moves + 1, "of object {number}");
    }
    println!(
        "{} events, {} moves; {} refusals and {} unknown outcomes were told",
        sent.iter().map(Vec::len).sum::<usize>(),
        moves.iter().sum::<usize>(),
        *course.refusals.borrow(),
        *course.unknown.borrow(),
    );
}
