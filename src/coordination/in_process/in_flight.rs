//! How many appends are on their way, counted so that a pause can wait for those before it
//! without anybody keeping a list.
//!
//! Objects share stripes of counters. Each stripe has two counters, and new appends enter the one
//! that its epoch names; a pause turns the epoch and waits for the other counter to drain, so
//! that appends that keep coming to neighbours do not keep it waiting. It turns twice: an append
//! may have read the epoch just before a turn and enter the counter just after it, and the second
//! turn waits for that counter as well. (Sleepable RCU counts its readers the same way.)

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::{Mutex, Notify};

use crate::domain::ObjectKey;

const STRIPES: usize = 512;

/// The counters of one process.
pub(super) struct InFlight {
    stripes: Box<[Stripe]>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

#[derive(Default)]
struct Stripe {
    /// Its lowest bit names the counter that new appends enter.
    epoch: AtomicU32,
    counts: [AtomicU32; 2],
    /// Whether anybody waits for a counter, so that leaving need not look further.
    is_awaited: AtomicBool,
    drained: Notify,
    /// Two pauses that turn one epoch at once would each wait for the wrong counter.
    turning: Mutex<()>,
}

/// An append that is on its way.
pub(super) struct Entered {
    in_flight: Arc<InFlight>,
    stripe: u16,
    epoch: u8,
}

impl InFlight {
    pub(super) fn new() -> Arc<Self> {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        Arc::new(Self { stripes, hasher: BuildHasherDefault::default() })
    }

    fn stripe_of(&self, object: &ObjectKey) -> usize {
        (self.hasher.hash_one(object) % STRIPES as u64) as usize
    }

    /// Counts an append in.
    ///
    /// Order: whoever enters looks for a pause afterwards, and whoever pauses says so before it
    /// looks at the counters. Both are sequentially consistent, so one of them sees the other.
    pub(super) fn enter(self: &Arc<Self>, object: &ObjectKey) -> Entered {
        let index = self.stripe_of(object);
        let stripe = &self.stripes[index];
        let epoch = stripe.epoch.load(Ordering::SeqCst) & 1;
        stripe.counts[epoch as usize].fetch_add(1, Ordering::SeqCst);
        Entered { in_flight: Arc::clone(self), stripe: index as u16, epoch: epoch as u8 }
    }

    /// Resolves once every append that had entered before is out again. Those to other objects of
    /// the stripe are waited for as well: a little longer, never for what comes later.
    pub(super) async fn drained(&self, object: &ObjectKey) {
        let stripe = &self.stripes[self.stripe_of(object)];
        let _turn = stripe.turning.lock().await;
        for _ in 0..2 {
            let left = stripe.epoch.fetch_add(1, Ordering::SeqCst) & 1;
            stripe.wait_for(left as usize).await;
        }
    }
}

impl Stripe {
    async fn wait_for(&self, counter: usize) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Order: listen, say so, look. Whoever leaves counts down first and then asks whether
            // anybody listens.
            drained.as_mut().enable();
            self.is_awaited.store(true, Ordering::SeqCst);
            if self.counts[counter].load(Ordering::SeqCst) == 0 {
                self.is_awaited.store(false, Ordering::SeqCst);
                return;
            }
            drained.await;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let stripe = &self.in_flight.stripes[usize::from(self.stripe)];
        let before = stripe.counts[usize::from(self.epoch)].fetch_sub(1, Ordering::SeqCst);
        if before == 1 && stripe.is_awaited.load(Ordering::SeqCst) {
            stripe.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn object(id: u32) -> ObjectKey {
        ObjectKey::new("order", id.to_string()).unwrap()
    }

    #[tokio::test]
    async fn waits_for_those_before_and_not_for_those_after() {
        let in_flight = InFlight::new();
        let before = in_flight.enter(&object(1));
        let key = object(1);
        let mut drained = Box::pin(in_flight.drained(&key));
        assert!(drained.as_mut().now_or_never().is_none());
        let _after = in_flight.enter(&object(1));
        drop(before);
        // The second turn waits for the counter that was entered between both.
        assert!(drained.as_mut().now_or_never().is_none());
        drop(_after);
        let _later = in_flight.enter(&object(1));
        drained.await;
    }

    #[tokio::test]
    async fn a_given_up_wait_leaves_the_counters_right() {
        let in_flight = InFlight::new();
        let key = object(1);
        for _ in 0..5 {
            let before = in_flight.enter(&key);
            assert!(in_flight.drained(&key).now_or_never().is_none());
            drop(before);
            assert!(in_flight.drained(&key).now_or_never().is_some());
        }
    }
}
