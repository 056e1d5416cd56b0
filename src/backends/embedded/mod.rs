//! The durable store that needs nothing installed: fjall, one folder per store, both ports.
//!
//! Reading order: [`options`], [`events`] and [`documents`] (the ports), [`error`]; then the
//! engine room: `request` and `committer` (one thread, one sync for all that waits), `batch` (one
//! commit), `heads` (ends of streams in memory), `purge` (deleting removed streams), `engine`;
//! then what is on disk: `layout` (keys and records), `folder`, `mark` and `integrity` (what the
//! engine would pass over without a word). Decision 0003 has the reasons.
//!
//! An append is at exactly head + 1 (I1) and closed is closed (I2) because one thread decides
//! everything, one process holds the folder, and the record that ends a stream is never removed.

mod batch;
mod committer;
mod documents;
mod engine;
mod error;
mod events;
mod folder;
mod heads;
mod integrity;
mod layout;
mod mark;
mod options;
mod purge;
mod request;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::store::StoreError;
use committer::Committer;
use engine::Engine;
use error::{CommitFailure, Stopped};
use folder::Folder;
use purge::Purges;
use request::{Answer, Queued, Request};

pub use error::{Damage, OpenError};
pub use options::EmbeddedOptions;

/// Streams and documents in one folder, which no other process has open.
///
/// Dropping it ends the committer after what waits is answered, and frees the folder.
pub struct EmbeddedStore {
    options: EmbeddedOptions,
    engine: Arc<Engine>,
    /// None only while the store is dropped.
    queue: Option<mpsc::Sender<Queued>>,
    /// Bytes that may still wait.
    room: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
}

/// What a store did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Each is one sync.
    pub commits: u64,
    /// Events made durable by them.
    pub events: u64,
    /// Writes that were answered with them.
    pub writes: u64,
    /// Writes that wait for the committer now.
    pub queue_depth: usize,
}

impl EmbeddedStore {
    /// Opens the store, or makes one in a folder that is empty or not there. Reads the engine's
    /// journal, so it takes time after much was written.
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let faults = options.check();
        if !faults.is_empty() {
            return Err(OpenError::Invalid(faults));
        }
        let (folder, mut mark) = Folder::take(&options.path)?;
        let opened = integrity::open(&folder, &mut mark, &options)?;
        let unusable = |cause: std::io::Error| OpenError::Unusable {
            path: options.path.clone(),
            cause: cause.into(),
        };
        let (path, commit) = (options.path.display(), opened.last.sequence);
        tracing::info!(%path, commit, "store opened");
        let engine = Engine::new(opened.database, opened.records, options.heads_max, folder);
        let engine = Arc::new(engine);
        let (sender, queue) = mpsc::channel(options.queue_requests_max);
        let committer = Committer {
            engine: Arc::clone(&engine),
            queue,
            mark,
            last: opened.last,
            purges: Purges::of_numbers(opened.purges),
            options: options.clone(),
        };
        let committer = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || run(committer))
            .map_err(unusable)?;
        let room = Arc::new(Semaphore::new(options.queue_bytes_max));
        Ok(Self { options, engine, queue: Some(sender), room, committer: Some(committer) })
    }

    pub fn stats(&self) -> EngineStats {
        let counts = &self.engine.counts;
        let waiting = |queue: &mpsc::Sender<Queued>| queue.max_capacity() - queue.capacity();
        EngineStats {
            commits: counts.commits.load(Ordering::Relaxed),
            events: counts.events.load(Ordering::Relaxed),
            writes: counts.writes.load(Ordering::Relaxed),
            queue_depth: self.queue.as_ref().map_or(0, waiting),
        }
    }

    /// Hands a write to the committer; waits while too much waits already.
    async fn queue(&self, bytes: usize, request: Request) -> Result<(), Stopped> {
        self.engine.check()?;
        let bytes = bytes.min(self.options.queue_bytes_max);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let room = room.map_err(|_| self.ended())?;
        let queue = self.queue.as_ref().ok_or_else(|| self.ended())?;
        let queued = queue.send(Queued { request, bytes, room }).await;
        queued.map_err(|_| self.ended())
    }

    async fn ask<T>(
        &self,
        bytes: usize,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        if let Err(stopped) = self.queue(bytes, request(answer)).await {
            return Err(StoreError::not_done(&stopped));
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::unknown(self.ended())))
    }

    /// The committer is gone, which only a panic in it can bring about.
    fn ended(&self) -> Stopped {
        self.engine.check().err().unwrap_or_else(|| Stopped("its committer ended".into()))
    }
}

fn run(committer: Committer) {
    let engine = Arc::clone(&committer.engine);
    if std::panic::catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
        engine.stop("its committer met a bug".into());
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // Order: the queue ends, the committer answers what waits and lets go of the engine.
        drop(self.queue.take());
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the committer met a bug");
        }
    }
}
