//! One signal that everything watches, and one list of tasks to wait for.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Two halves: tell everyone, then wait until the last one let go.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    told: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everyone to stop.
    pub fn begin(&self) {
        self.told.cancel();
        self.tasks.close();
    }

    pub fn has_begun(&self) -> bool {
        self.told.is_cancelled()
    }

    /// Resolves once everyone was told to stop.
    pub async fn begun(&self) {
        self.told.cancelled().await;
    }

    /// Runs a task that shutdown waits for.
    #[expect(clippy::disallowed_methods, reason = "this is the owner of spawned tasks")]
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tasks.track_future(task))
    }

    /// Resolves once all tasks ended after [`Self::begin`].
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}
