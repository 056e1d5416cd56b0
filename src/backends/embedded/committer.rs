//! The one thread that writes. It takes whatever waits, judges it in order, makes it durable with
//! one sync, shows it to readers, and only then answers.
//!
//! One thread is the fastest here and the simplest: the engine holds its journal's lock across
//! the sync, so several committers would stand in line, and one needs no locks to judge. The
//! longer a sync takes, the more waits for the next one.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::batch::{Batch, Outcome};
use super::engine::Engine;
use super::error::Stopped;
use super::layout::Commit;
use super::mark::Mark;
use super::options::EmbeddedOptions;
use super::purge::Purges;
use super::request::{Queued, Settled};

pub(super) struct Committer {
    pub(super) engine: Arc<Engine>,
    pub(super) queue: mpsc::Receiver<Queued>,
    pub(super) mark: Mark,
    pub(super) last: Commit,
    pub(super) purges: Purges,
    pub(super) options: EmbeddedOptions,
}

impl Committer {
    /// Works until every handle of the queue is gone and what waited is answered.
    pub(super) fn run(mut self) {
        let mut waiting = Vec::with_capacity(self.options.commit_requests_max);
        while self.take(&mut waiting) {
            let mut taken = waiting.drain(..).peekable();
            while taken.peek().is_some() {
                let mut bytes = 0;
                let next = std::iter::from_fn(|| {
                    let room = bytes < self.options.commit_bytes_max;
                    let queued = taken.next_if(|_| room)?;
                    bytes += queued.bytes;
                    Some(queued)
                });
                // Collected, so that the commit borrows nothing from the queue.
                let together: Vec<Queued> = next.collect();
                self.commit(together);
            }
            drop(taken);
            if !self.purges.is_empty() {
                self.commit(Vec::new());
            }
        }
        if let Err(error) = self.mark.sync() {
            tracing::warn!(%error, "the mark was not synced at the end");
        }
    }

    /// Waits for work; none when there will be no more.
    fn take(&mut self, waiting: &mut Vec<Queued>) -> bool {
        let limit = self.options.commit_requests_max;
        if self.purges.is_empty() {
            return self.queue.blocking_recv_many(waiting, limit) > 0;
        }
        while waiting.len() < limit {
            match self.queue.try_recv() {
                Ok(queued) => waiting.push(queued),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                // What is left of the purges is done after the next opening.
                Err(mpsc::error::TryRecvError::Disconnected) => return !waiting.is_empty(),
            }
        }
        true
    }

    /// Makes requests durable together. Without requests, goes on with a purge.
    fn commit(&mut self, together: Vec<Queued>) {
        if let Err(stopped) = self.engine.check() {
            together.into_iter().for_each(|queued| queued.request.refuse(&stopped));
            self.abandon_purges(&stopped);
            return;
        }
        let engine = Arc::clone(&self.engine);
        let mut batch = Batch::after(self.last, &engine, together.len());
        let writes = together.len() as u64;
        let purges_only = together.is_empty();
        let mut rooms = Vec::with_capacity(together.len());
        for queued in together {
            batch.judge(queued.request, &mut self.purges);
            rooms.push(queued.room);
        }
        if purges_only {
            batch.purge(&mut self.purges);
        }
        #[cfg(feature = "testing")]
        if self.options.answer_before_sync {
            batch.tell_too_early();
        }
        let (committed, outcome) = batch.commit();
        match committed {
            Ok(commit) => self.succeed(commit, outcome, writes),
            Err(error) => self.fail(&error, outcome.settled),
        }
    }

    fn succeed(&mut self, commit: Commit, outcome: Outcome, writes: u64) {
        // Order: readers see it before anyone is told (guarantee 6).
        for (stream, head) in outcome.heads {
            self.engine.heads.put(stream, head);
        }
        let durable = commit.sequence > self.last.sequence;
        self.last = commit;
        if durable {
            self.engine.count(outcome.events, writes);
        }
        outcome.settled.into_iter().for_each(Settled::tell);
        if durable && let Err(error) = self.mark.write(&commit) {
            // Nothing is lost, but a lost end would not be noticed any more.
            self.engine.stop(format!("the mark cannot be written: {error}"));
        }
    }

    fn fail(&mut self, error: &fjall::Error, settled: Vec<Settled>) {
        let stopped = self.engine.stop(format!("a commit failed: {error}"));
        // The engine found itself broken before it wrote anything of this commit.
        let not_begun = matches!(error, fjall::Error::Poisoned);
        for settled in settled {
            match not_begun {
                true => settled.tell_not_done(&stopped),
                false => settled.tell_unknown(&stopped),
            }
        }
        self.abandon_purges(&stopped);
    }

    /// The removals are marked, or may be; their events are deleted after the next opening.
    fn abandon_purges(&mut self, stopped: &Stopped) {
        for settled in self.purges.abandon() {
            settled.tell_unknown(stopped);
        }
    }
}
