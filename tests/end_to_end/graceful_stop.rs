//! SIGTERM while clients append and an object moves slowly: the server ends in time and by itself,
//! nothing is lost, and the migration goes on where it was.

use std::time::{Duration, Instant};

use streamgate::grpc::v1;
use streamgate::runtime::Entropy;
use streamgate::runtime::entropy::SeededEntropy;
use tokio::task::JoinSet;

use crate::client::{Client, assert_same, has_ended, reason, soon};
use crate::process::{Folder, Tracing};

const GRACE_PERIOD: Duration = Duration::from_secs(10);
const EVENTS: u64 = 4_000;
/// The whole copy takes some seconds, so that the stop comes in the middle of it.
const EVENTS_PER_SECOND_MAX: u64 = 1_000;
const WRITERS: u64 = 8;

fn object(id: &str) -> v1::ObjectRef {
    v1::ObjectRef { object_name: "order".into(), object_id: id.to_owned() }
}

fn event(entropy: &dyn Entropy) -> v1::NewEvent {
    v1::NewEvent {
        event_id: entropy.uuid().to_string(),
        event_type: "Written".into(),
        payload: entropy.next_u64().to_be_bytes().to_vec().into(),
        ..Default::default()
    }
}

/// Appends until the server is gone; gives what was acknowledged, and the one event that was not.
async fn write(client: Client, object: v1::ObjectRef, seed: u64) -> Vec<v1::NewEvent> {
    let entropy = SeededEntropy::new(seed);
    let mut sent = Vec::new();
    loop {
        let event = event(&entropy);
        sent.push(event.clone());
        if let Err(status) = client.append(&object, None, vec![event]).await {
            assert_eq!(reason(&status), None, "a refusal for a reason: {status:?}");
            return sent;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "an operator measures by a clock on the wall")]
async fn a_stop_is_in_time_loses_nothing_and_leaves_migrations_to_go_on() {
    let folder = Folder::new(GRACE_PERIOD);
    let mut server = folder.start(&Tracing::Off);
    let client = server.client().await;
    let long = object("long");
    let entropy = SeededEntropy::new(99);
    let mut history: Vec<v1::NewEvent> = (0..EVENTS).map(|_| event(&entropy)).collect();
    for batch in history.chunks(1_000) {
        client.append(&long, None, batch.to_vec()).await.unwrap();
    }
    let migration = client.migrate(v1::MigrateRequest {
        request_id: "slow".into(),
        object: Some(long.clone()),
        target_store: "cold".into(),
        options: Some(v1::MigrationOptions {
            events_per_second_max: Some(EVENTS_PER_SECOND_MAX),
            ..Default::default()
        }),
        ..Default::default()
    });
    let id = migration.await.unwrap().migration_id;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let object = if writer == 0 { long.clone() } else { object(&writer.to_string()) };
        let client = client.clone();
        writers.spawn(async move { (object.clone(), write(client, object, writer).await) });
    }
    let mut watch = client.watch(&id).await.unwrap();
    let copied = |state: &v1::Migration| {
        state.progress.as_ref().map_or(0, |progress| progress.events_copied)
    };
    let under_way = watch.until(|state| copied(state) >= EVENTS / 8 || has_ended(state));
    let under_way = soon("the migration is under way", under_way).await.unwrap();
    assert_eq!(under_way.phase(), v1::MigrationPhase::CatchingUp);

    server.terminate();
    let told = Instant::now();
    let status = server.exit_status().await;
    let took = told.elapsed();
    assert!(status.success(), "{status}\n{}", folder.log());
    assert!(took < GRACE_PERIOD, "the stop took {took:?}");
    let mut objects = Vec::new();
    while let Some(written) = writers.join_next().await {
        let (object, sent) = written.unwrap();
        let before = if object == long { std::mem::take(&mut history) } else { Vec::new() };
        objects.push((object, [before, sent].concat()));
    }

    let mut server = folder.start(&Tracing::Off);
    let client = server.client().await;
    let resumed = client.migration(&id).await.unwrap();
    assert!(!has_ended(&resumed), "it was stopped in the middle: {resumed:#?}");
    assert!(copied(&resumed) >= copied(&under_way), "it began anew: {resumed:#?}");
    let mut watch = client.watch(&id).await.unwrap();
    let ended = soon("the end of the migration", watch.until(has_ended)).await.unwrap();
    assert_eq!(ended.phase(), v1::MigrationPhase::Succeeded, "{ended:#?}");
    for (object, sent) in objects {
        assert!(sent.len() > 1, "nothing was acknowledged for {object:?}");
        let last = sent.last().unwrap().clone();
        // The one that was not answered may be there or not; repeated, it is.
        client.append(&object, None, vec![last]).await.unwrap();
        let history = client.read(&object).await.unwrap();
        assert_same(&object, &history, &sent);
    }
    println!("stopped within {took:?}, at {} of {EVENTS} events", copied(&under_way));
    server.terminate();
    let status = server.exit_status().await;
    assert!(status.success(), "{status}\n{}", folder.log());
}
