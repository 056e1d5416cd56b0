//! An object that moves while its writer goes on, with the last appends held back until the
//! migration has begun.

use sha2::{Digest as _, Sha256};
use streamgate::grpc::v1;
use tokio::time::timeout;
use tonic::Status;

use super::client::{Client, WITHIN, Watch, has_ended, reason, soon};

/// One move of one object.
pub(crate) struct Move<'a> {
    pub(crate) object: &'a v1::ObjectRef,
    pub(crate) target: &'a str,
    /// Slows the copy of a small object, so that there is a while to write in.
    pub(crate) events_per_second_max: Option<u64>,
    /// The batches that are appended, in order, while it moves.
    pub(crate) held: &'a [Vec<v1::NewEvent>],
}

/// What the writer saw.
pub(crate) struct Moved {
    pub(crate) migration: v1::Migration,
    /// The last versions of the batches that were sent after catch-up had been seen to begin and
    /// were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
}

impl Move<'_> {
    /// Moves and writes; any error that a client sees ends the test.
    ///
    /// The first half of what is held back goes out while the migration rests in catch-up, so that
    /// it lands in the source however slow the machine is; the rest after the close, over a route
    /// that still names the source.
    pub(crate) async fn run(
        &self,
        client: &Client,
        append: impl AsyncFn(Vec<v1::NewEvent>) -> v1::AppendResponse,
    ) -> Moved {
        let started = client.migrate(self.request()).await.expect("the migration starts");
        let id = &started.migration_id;
        let mut acknowledged = Vec::new();
        if !self.held.is_empty() {
            unless_too_late(client.pause(id).await);
        }
        let mut watch = client.watch(id).await.expect("a migration can be watched");
        if !self.held.is_empty() {
            let (first, rest) = self.held.split_at(self.held.len().div_ceil(2));
            wait_for(&mut watch, v1::MigrationPhase::CatchingUp).await;
            for batch in first {
                acknowledged.push(append(batch.clone()).await.last_version);
            }
            unless_too_late(client.resume(id).await);
            if !rest.is_empty() {
                wait_for(&mut watch, v1::MigrationPhase::Rerouting).await;
            }
            for batch in rest {
                acknowledged.push(append(batch.clone()).await.last_version);
            }
        }
        let migration = match timeout(WITHIN, watch.until(has_ended)).await {
            Ok(ended) => ended.expect("a watch goes on to the end"),
            Err(_) => panic!("the migration did not end: {:#?}", client.migration(id).await),
        };
        assert_eq!(migration.phase(), v1::MigrationPhase::Succeeded, "{migration:#?}");
        Moved { migration, acknowledged }
    }

    fn request(&self) -> v1::MigrateRequest {
        let object = self.object;
        v1::MigrateRequest {
            request_id: format!("{}-{}", self.target, uuid::Uuid::new_v8(digest_of(object))),
            object: Some(object.clone()),
            target_store: self.target.to_owned(),
            options: Some(v1::MigrationOptions {
                events_per_second_max: self.events_per_second_max,
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// Request ids have a bound that object ids may pass.
fn digest_of(object: &v1::ObjectRef) -> [u8; 16] {
    let digest = Sha256::digest(prost::Message::encode_to_vec(object));
    digest[..16].try_into().expect("a digest is longer")
}

/// A migration whose source is closed takes no orders any more.
#[track_caller]
fn unless_too_late(answer: Result<(), Status>) {
    if let Err(status) = answer
        && reason(&status).as_deref() != Some("INVALID_TRANSITION")
    {
        panic!("an order was answered {status:?}");
    }
}

/// Waits for a phase or a later one.
async fn wait_for(watch: &mut Watch, phase: v1::MigrationPhase) {
    let reached = watch.until(|state| state.phase >= phase as i32);
    soon("a phase of a migration", reached).await.expect("a watch goes on to the end");
}
