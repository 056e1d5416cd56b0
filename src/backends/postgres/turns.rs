//! Streams that several processes write at once, which they do by turns. Pure.
//!
//! A transaction that passes over a stream which another process holds is quick, but gets its turn
//! only by luck: under a steady load the others are there again first. So whoever was passed over
//! waits at the server, where waiting is in order, and takes along what comes for the stream
//! meanwhile: one transaction a stream waits, not one an append. For a while after that, appends
//! to the stream go there without trying.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::batch::{Batch, BatchBounds, Queued};
use crate::domain::StreamId;

/// How long a stream counts as shared after it was passed over.
const SHARED_FOR: Duration = Duration::from_millis(200);

/// The streams that are shared now, and what waits for them.
pub(super) struct Turns {
    bounds: BatchBounds,
    streams: HashMap<StreamId, Shared>,
}

struct Shared {
    /// On the clock that never goes back.
    until: Duration,
    waiting: VecDeque<Queued>,
    /// A task takes from what waits until nothing is left.
    is_served: bool,
}

/// What becomes of an append.
pub(super) enum Joined {
    /// Its stream is not shared.
    NotShared(Queued),
    /// It waits, and is taken along.
    Waits,
    /// It waits, and its stream wants a task that serves it.
    First(StreamId),
}

impl Turns {
    pub(super) fn new(bounds: BatchBounds) -> Self {
        Self { bounds, streams: HashMap::new() }
    }

    /// Takes an append that has not been tried.
    pub(super) fn join(&mut self, queued: Queued, now: Duration) -> Joined {
        match self.streams.get_mut(&queued.stream) {
            Some(shared) if shared.is_served || shared.until > now => shared.take(queued),
            Some(_) | None => Joined::NotShared(queued),
        }
    }

    /// Takes an append that was passed over.
    pub(super) fn passed_over(&mut self, queued: Queued, now: Duration) -> Joined {
        if !self.streams.contains_key(&queued.stream) {
            self.streams.retain(|_, shared| shared.is_served || shared.until > now);
        }
        let shared = self.streams.entry(queued.stream.clone()).or_insert_with(|| Shared {
            until: now,
            waiting: VecDeque::new(),
            is_served: false,
        });
        shared.until = now + SHARED_FOR;
        shared.take(queued)
    }

    /// What goes together to this stream. None when nothing waits: then it is served no longer.
    pub(super) fn next_batch(&mut self, stream: &StreamId) -> Option<Vec<Queued>> {
        let shared = self.streams.get_mut(stream)?;
        let mut batch = Batch::new(self.bounds);
        while let Some(next) = shared.waiting.pop_front() {
            if let Err(next) = batch.push(next) {
                shared.waiting.push_front(next);
                break;
            }
        }
        shared.is_served = !batch.appends.is_empty();
        shared.is_served.then_some(batch.appends)
    }

    /// The task that served the stream is gone: what waits is told that nobody knows.
    pub(super) fn forget(&mut self, stream: &StreamId) {
        self.streams.remove(stream);
    }
}

impl Shared {
    fn take(&mut self, queued: Queued) -> Joined {
        let stream = queued.stream.clone();
        self.waiting.push_back(queued);
        match std::mem::replace(&mut self.is_served, true) {
            true => Joined::Waits,
            false => Joined::First(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::batch::unheard;
    use super::*;
    use crate::domain::ExpectedVersion;
    use crate::testing::builders;

    const NOW: Duration = Duration::from_secs(1);

    fn turns_of(requests: usize, bytes: usize) -> Turns {
        Turns::new(BatchBounds { requests, bytes })
    }

    fn queued(stream: &str, events: Range<u64>) -> Queued {
        let append = builders::append(ExpectedVersion::Any, builders::events(events));
        unheard(stream, append, 1)
    }

    fn lengths(turns: &mut Turns, stream: &str) -> Vec<usize> {
        let stream = StreamId::new(stream).unwrap();
        std::iter::from_fn(|| turns.next_batch(&stream).map(|batch| batch.len())).collect()
    }

    #[test]
    fn what_comes_while_one_waits_is_taken_along() {
        let mut turns = turns_of(100, 100);
        assert!(matches!(turns.join(queued("a", 0..1), NOW), Joined::NotShared(_)));
        assert!(matches!(turns.passed_over(queued("a", 0..1), NOW), Joined::First(_)));
        assert!(matches!(turns.join(queued("a", 1..2), NOW + SHARED_FOR * 2), Joined::Waits));
        assert!(matches!(turns.passed_over(queued("a", 2..3), NOW), Joined::Waits));
        assert!(matches!(turns.join(queued("b", 3..4), NOW), Joined::NotShared(_)));
        assert_eq!(lengths(&mut turns, "a"), [3]);
    }

    #[test]
    fn a_stream_stays_shared_for_a_while() {
        let mut turns = turns_of(100, 100);
        turns.passed_over(queued("a", 0..1), NOW);
        assert_eq!(lengths(&mut turns, "a"), [1]);
        let just_before = NOW + SHARED_FOR - Duration::from_nanos(1);
        assert!(matches!(turns.join(queued("a", 1..2), just_before), Joined::First(_)));
        assert_eq!(lengths(&mut turns, "a"), [1]);
        assert!(matches!(turns.join(queued("a", 2..3), NOW + SHARED_FOR), Joined::NotShared(_)));
        turns.passed_over(queued("b", 0..1), NOW + SHARED_FOR);
        assert_eq!(turns.streams.len(), 1, "what is shared no longer takes no room");
    }

    #[test]
    fn bounds_hold_and_a_repetition_goes_behind_what_it_repeats() {
        let mut turns = turns_of(2, 100);
        for number in 0..3 {
            turns.passed_over(queued("a", number..number + 1), NOW);
        }
        assert_eq!(lengths(&mut turns, "a"), [2, 1]);
        let mut turns = turns_of(100, 0);
        for number in [0, 0] {
            turns.passed_over(queued("a", number..number + 1), NOW);
        }
        assert_eq!(lengths(&mut turns, "a"), [1, 1], "one alone is let through");
        let mut turns = turns_of(100, 100);
        for number in [0, 1, 0] {
            turns.passed_over(queued("a", number..number + 1), NOW);
        }
        assert_eq!(lengths(&mut turns, "a"), [2, 1]);
    }
}
