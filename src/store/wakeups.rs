//! Who waits for a stream to change, and who tells them. Followers sleep here.
//!
//! A wake-up is a hint: it may come for nothing, and one that was missed only costs the time
//! until the next poll (I7). Watch first, look then, sleep last, and none between is missed.
//!
//! What this process did is also told [`Elsewhere`], if the store leaves that to its callers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::domain::{StoreName, StreamAddress, StreamId};

/// The watched streams of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Wakeups(Arc<Inner>);

#[derive(Default)]
struct Inner {
    watched: Mutex<HashMap<StreamAddress, watch::Sender<()>>>,
    /// The number of entries, so that an append that nobody waits for takes no lock.
    count: AtomicUsize,
}

/// A look at one stream. What changes from its making on wakes its sleep.
pub struct Watch {
    wakeups: Wakeups,
    stream: StreamAddress,
    changes: watch::Receiver<()>,
}

/// Tells other processes that a stream changed, or may have. Never waits.
pub trait Elsewhere: Send + Sync + 'static {
    fn changed(&self, stream: StreamAddress);
}

/// Tells of the streams of one store: what a backend is given that hears of appends by others.
#[derive(Clone)]
pub struct StoreWakeups {
    wakeups: Wakeups,
    store: StoreName,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl Wakeups {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn of(&self, store: &StoreName) -> StoreWakeups {
        StoreWakeups { wakeups: self.clone(), store: store.clone(), elsewhere: None }
    }

    /// Wakes whoever watches the stream, now and for what it does before it sleeps again.
    pub fn changed(&self, stream: &StreamAddress) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(changes) = self.watched().get(stream) {
            changes.send_replace(());
        }
    }

    /// Wakes whoever watches any stream: something may have been missed.
    pub fn all_changed(&self) {
        for changes in self.watched().values() {
            changes.send_replace(());
        }
    }

    pub fn watch(&self, stream: &StreamAddress) -> Watch {
        let mut watched = self.watched();
        let changes = match watched.entry(stream.clone()) {
            Entry::Occupied(entry) => entry.get().subscribe(),
            Entry::Vacant(entry) => entry.insert(watch::Sender::new(())).subscribe(),
        };
        self.0.count.store(watched.len(), Ordering::Release);
        Watch { wakeups: self.clone(), stream: stream.clone(), changes }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<StreamAddress, watch::Sender<()>>> {
        self.0.watched.lock().expect("no holder panics")
    }
}

impl StoreWakeups {
    /// Has what is done here told elsewhere too.
    pub fn told_elsewhere(mut self, elsewhere: Arc<dyn Elsewhere>) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }

    /// This process changed the stream, or may have.
    pub fn changed_here(&self, stream: &StreamId) {
        self.changed(stream);
        if let Some(elsewhere) = &self.elsewhere {
            let (store, stream_id) = (self.store.clone(), stream.clone());
            elsewhere.changed(StreamAddress { store, stream_id });
        }
    }

    /// Wakes whoever watches this stream of the store.
    pub fn changed(&self, stream: &StreamId) {
        if self.wakeups.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let (store, stream_id) = (self.store.clone(), stream.clone());
        self.wakeups.changed(&StreamAddress { store, stream_id });
    }

    /// Wakes whoever watches any stream of the store: something may have been missed.
    pub fn all_changed(&self) {
        for (stream, changes) in &*self.wakeups.watched() {
            if stream.store == self.store {
                changes.send_replace(());
            }
        }
    }
}

impl Watch {
    /// Resolves at the first change since the last sleep, or since the watch began.
    pub async fn changed(&mut self) {
        let told = self.changes.changed().await;
        told.expect("the sender lives as long as anybody watches");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.wakeups.watched();
        // This one still counts itself.
        if watched.get(&self.stream).is_some_and(|changes| changes.receiver_count() <= 1) {
            watched.remove(&self.stream);
        }
        self.wakeups.0.count.store(watched.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn address(store: &str, stream: &str) -> StreamAddress {
        StreamAddress {
            store: StoreName::new(store).unwrap(),
            stream_id: StreamId::new(stream).unwrap(),
        }
    }

    #[test]
    fn a_change_between_watching_and_sleeping_is_not_missed() {
        let wakeups = Wakeups::new();
        let mut watch = wakeups.watch(&address("hot", "a"));
        wakeups.changed(&address("hot", "b"));
        wakeups.changed(&address("cold", "a"));
        assert!(watch.changed().now_or_never().is_none());
        wakeups.changed(&address("hot", "a"));
        wakeups.changed(&address("hot", "a"));
        assert!(watch.changed().now_or_never().is_some());
        assert!(watch.changed().now_or_never().is_none());
        wakeups.of(&StoreName::new("hot").unwrap()).all_changed();
        assert!(watch.changed().now_or_never().is_some());
    }

    #[test]
    fn what_nobody_watches_is_forgotten() {
        let wakeups = Wakeups::new();
        let first = wakeups.watch(&address("hot", "a"));
        let mut second = wakeups.watch(&address("hot", "a"));
        drop(first);
        wakeups.of(&StoreName::new("hot").unwrap()).changed(&StreamId::new("a").unwrap());
        assert!(second.changed().now_or_never().is_some());
        drop(second);
        assert!(wakeups.watched().is_empty());
        assert_eq!(wakeups.0.count.load(Ordering::Relaxed), 0);
    }
}
