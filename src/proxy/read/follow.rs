//! A history that goes on: what is there, then what comes, without gap and without repeat across
//! any number of migrations.
//!
//! A follower sleeps on the object's newest stream. It watches first, looks then, and sleeps last,
//! so that nothing between is missed; whoever does not wake it only costs it the time until it
//! looks by itself (I7).

use std::sync::Arc;
use std::time::Duration;

use super::{Batch, HistoryReader};
use crate::domain::{Head, StreamAddress, Timestamp};
use crate::proxy::ProxyError;
use crate::runtime::{Clock, Runtime};
use crate::store::Watch;

/// What a follower hears.
#[derive(Clone, Debug)]
pub enum Followed {
    Batch(Batch),
    /// Everything that there was has been delivered.
    CaughtUp(Moment),
    /// More than one batch is there again.
    FellBehind(Moment),
    /// Nothing came for as long as it wanted to be silent.
    Heartbeat(Moment),
}

/// What was seen of the object, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub head: Head,
    pub at: Timestamp,
}

/// A read that stays.
pub struct Follower {
    reader: HistoryReader,
    runtime: Runtime,
    heartbeat_interval: Duration,
    /// On the newest stream, once everything before was delivered.
    watch: Option<(StreamAddress, Watch)>,
    is_caught_up: bool,
    /// The batch behind a mark that had to be told first.
    held: Option<Batch>,
    /// On the monotonic clock.
    last_told: Duration,
    next_look: Duration,
}

/// The part of the poll interval by which followers that began together spread out.
const POLL_SPREAD: u32 = 5;

impl HistoryReader {
    /// Stays after the end. `heartbeat_interval` none means as configured.
    pub fn follow(self, heartbeat_interval: Option<Duration>) -> Follower {
        let proxy = &self.pages.proxy;
        let runtime = proxy.runtime.clone();
        let now = runtime.clock.monotonic();
        Follower {
            heartbeat_interval: heartbeat_interval
                .unwrap_or(proxy.options.follow_heartbeat_interval),
            runtime,
            reader: self,
            watch: None,
            is_caught_up: false,
            held: None,
            last_told: now,
            next_look: now,
        }
    }
}

impl Follower {
    pub fn reader(&self) -> &HistoryReader {
        &self.reader
    }

    /// The next thing to tell; none once a limit of the read is reached.
    ///
    /// Cancellation: a dropped call has told nothing and lost nothing.
    pub async fn next(&mut self) -> Result<Option<Followed>, ProxyError> {
        let told = self.look_or_wait().await?;
        self.last_told = self.runtime.clock.monotonic();
        Ok(told)
    }

    async fn look_or_wait(&mut self) -> Result<Option<Followed>, ProxyError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(Followed::Batch(held)));
        }
        loop {
            if let Some(batch) = self.reader.next_batch().await? {
                return Ok(Some(self.told_of(batch)));
            }
            if self.reader.is_at_limit() {
                return Ok(None);
            }
            // Order: watch, then look once more, and only then sleep.
            if self.watch_newest() {
                self.reader.look_again();
                continue;
            }
            if !self.is_caught_up {
                self.is_caught_up = true;
                return Ok(Some(Followed::CaughtUp(self.moment())));
            }
            if self.sleep().await == Woken::ToSpeak {
                return Ok(Some(Followed::Heartbeat(self.moment())));
            }
            self.reader.look_again();
        }
    }

    fn told_of(&mut self, batch: Batch) -> Followed {
        if self.is_caught_up && self.reader.is_behind() {
            self.is_caught_up = false;
            self.held = Some(batch);
            return Followed::FellBehind(self.moment());
        }
        Followed::Batch(batch)
    }

    /// Watches the stream in which new events land. True if that is another one than before.
    fn watch_newest(&mut self) -> bool {
        let newest = self.reader.pages.newest();
        if self.watch.as_ref().is_some_and(|(watched, _)| watched == newest) {
            return false;
        }
        let watch = self.reader.pages.proxy.stores.watch(newest);
        self.watch = Some((newest.clone(), watch));
        true
    }

    /// Sleeps until something may have come, or until it is time to say that nothing has.
    async fn sleep(&mut self) -> Woken {
        let now = self.runtime.clock.monotonic();
        if self.next_look <= now {
            self.next_look = now + self.poll_interval();
        }
        let until_look = self.next_look - now;
        let until_word = (self.last_told + self.heartbeat_interval).saturating_sub(now);
        let clock: Arc<dyn Clock> = Arc::clone(&self.runtime.clock);
        let Some((_, watch)) = &mut self.watch else { return Woken::ToLook };
        let wait = until_look.min(until_word);
        tokio::select! {
            biased;
            () = watch.changed() => Woken::ToLook,
            () = clock.sleep(wait), if until_word <= until_look => Woken::ToSpeak,
            () = clock.sleep(wait) => Woken::ToLook,
        }
    }

    /// How long the store may leave it to the follower to look.
    fn poll_interval(&self) -> Duration {
        let proxy = &self.reader.pages.proxy;
        let store = proxy.store_of(self.reader.pages.newest());
        let interval = store.ok().and_then(|store| store.capabilities().poll_interval);
        let longest = proxy.options.follow_poll_max;
        let interval = interval.map_or(longest, |interval| interval.min(longest));
        let spread = u64::try_from((interval / POLL_SPREAD).as_nanos()).unwrap_or(u64::MAX);
        interval - Duration::from_nanos(self.runtime.entropy.below(spread))
    }

    fn moment(&self) -> Moment {
        Moment { head: self.reader.head(), at: self.runtime.clock.now() }
    }
}

/// Why a follower woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ToLook,
    ToSpeak,
}
