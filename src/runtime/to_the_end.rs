//! Work that nobody may break off halfway: it goes on in a task of its own when its caller leaves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Caller, Shutdown};

/// Work that was begun ends, whoever still waits for it. Dropping it before it was polled leaves
/// it undone; dropping it after that moves it, as far as it has come, into a task that a graceful
/// stop waits for. So the common case costs no task.
///
/// What is dropped outside of a runtime ends there, as with everything else in the process.
pub struct ToTheEnd<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    begun: bool,
    shutdown: Shutdown,
}

impl<T: Send + 'static> ToTheEnd<T> {
    pub fn new(shutdown: &Shutdown, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), begun: false, shutdown: shutdown.clone() }
    }
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.begun = true;
        let work = self.work.as_mut().expect("nothing is polled after its end");
        let output = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take().filter(|_| self.begun) else { return };
        // A panic inside the work is no reason to go on with it.
        if std::thread::panicking() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let work = async move { drop(work.await) };
        match Caller::current() {
            Some(caller) => {
                caller.leave();
                self.shutdown.spawn(caller.serve(work));
            }
            None => {
                self.shutdown.spawn(work);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    /// Work that says when it was begun, waits for a word, and says that it ended.
    struct Work {
        begun: oneshot::Receiver<()>,
        go_on: oneshot::Sender<()>,
        ended: oneshot::Receiver<()>,
        work: ToTheEnd<()>,
    }

    fn work(shutdown: &Shutdown) -> Work {
        let (say_begun, begun) = oneshot::channel();
        let (go_on, word) = oneshot::channel();
        let (say_ended, ended) = oneshot::channel();
        let work = ToTheEnd::new(shutdown, async move {
            say_begun.send(()).unwrap();
            word.await.unwrap();
            say_ended.send(()).unwrap();
        });
        Work { begun, go_on, ended, work }
    }

    #[tokio::test]
    async fn what_was_begun_ends_although_its_caller_left_and_a_stop_waits_for_it() {
        let shutdown = Shutdown::new();
        let Work { begun, go_on, ended, work } = work(&shutdown);
        let keeps = Arc::new(());
        let caller = Caller::new(None, Some(Box::new(Arc::clone(&keeps))));
        let serve = async {
            tokio::select! {
                biased;
                () = work => panic!("it waits for a word"),
                begun = begun => begun.unwrap(),
            }
        };
        caller.serve(serve).await;
        shutdown.begin();
        let stopped = tokio::time::timeout(std::time::Duration::ZERO, shutdown.ended()).await;
        assert!(stopped.is_err(), "the work goes on");
        assert_eq!(Arc::strong_count(&keeps), 2, "and counts as in flight");
        go_on.send(()).unwrap();
        ended.await.unwrap();
        shutdown.ended().await;
        assert_eq!(Arc::strong_count(&keeps), 1);
    }

    #[tokio::test]
    async fn what_was_not_begun_is_never_done() {
        let shutdown = Shutdown::new();
        let Work { begun, work, .. } = work(&shutdown);
        drop(work);
        assert!(begun.await.is_err());
        shutdown.begin();
        shutdown.ended().await;
    }
}
