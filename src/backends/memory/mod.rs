//! The reference store: the contracts of both ports at their plainest, behind one mutex.
//!
//! Nothing survives the process. Tests and other backends are judged by what it does.

mod documents;
mod events;
mod options;

use std::sync::{Arc, Mutex, MutexGuard};

pub use options::MemoryOptions;

/// Streams and documents in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    options: MemoryOptions,
}

#[derive(Default)]
struct State {
    streams: events::Streams,
    documents: documents::Documents,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_options(options: MemoryOptions) -> Self {
        Self { state: Arc::default(), options }
    }

    /// Every call is one critical section: that alone makes it atomic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
