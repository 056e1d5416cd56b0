//! Which appends go to the server next, and together. Pure.
//!
//! A transaction costs the server several times what one more append in it costs, so what waits is
//! not spread over many: while one is on its way the next one gathers. Another one starts beside
//! it only when a crowd waits, or when the first is late, because the server's disk or the way to
//! it is slow. Long appends, pages of a migration for example, keep a server busy for much longer;
//! they go alone, and short ones neither wait for them nor make them wait.
//!
//! A stream is in one transaction at a time. What comes for it meanwhile waits behind it, so the
//! appends of one process never meet each other's locks.

use std::collections::{HashMap, VecDeque};

use super::batch::{Batch, BatchBounds, Queued};
use crate::domain::StreamId;

/// Short appends that are worth a second transaction beside one that is on its way; each further
/// one wants four times as many. While the server works on one, whoever asks works on the next.
const CROWD: usize = 8;
/// From so many events or bytes on, an append is long.
const LONG_EVENTS: usize = 64;
const LONG_BYTES: usize = 256 * 1024;

/// What all transactions together and each of them may hold.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) transactions: usize,
    pub(super) each: BatchBounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Short,
    Long,
}

fn kind(queued: &Queued) -> Kind {
    let is_long = queued.append.events.len() >= LONG_EVENTS || queued.bytes >= LONG_BYTES;
    if is_long { Kind::Long } else { Kind::Short }
}

/// A transaction that was begun; whoever makes it says when it ended.
#[derive(Debug)]
pub(super) struct Begun {
    kind: Kind,
    is_awaited: bool,
    streams: Vec<StreamId>,
}

pub(super) struct Line {
    bounds: Bounds,
    short: VecDeque<Queued>,
    long: VecDeque<Queued>,
    /// The streams of all that is on its way, each with what waits behind it.
    busy: HashMap<StreamId, Vec<Queued>>,
    running: usize,
    /// Of those, the ones that new short appends wait for.
    awaited: usize,
    long_running: usize,
    /// The kind that began last: the other one is looked at first.
    last: Kind,
}

impl Line {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            short: VecDeque::new(),
            long: VecDeque::new(),
            busy: HashMap::new(),
            running: 0,
            awaited: 0,
            long_running: 0,
            last: Kind::Long,
        }
    }

    pub(super) fn push(&mut self, queued: Queued) {
        if let Some(behind) = self.busy.get_mut(&queued.stream) {
            behind.push(queued);
            return;
        }
        match kind(&queued) {
            Kind::Short => self.short.push_back(queued),
            Kind::Long => self.long.push_back(queued),
        }
    }

    /// The next transaction, if one is worth beginning now. Ask again until there is none.
    pub(super) fn begin(&mut self) -> Option<(Begun, Vec<Queued>)> {
        if self.running >= self.bounds.transactions {
            return None;
        }
        let kinds = match self.last {
            Kind::Short => [Kind::Long, Kind::Short],
            Kind::Long => [Kind::Short, Kind::Long],
        };
        kinds.into_iter().find_map(|kind| self.begin_one_of(kind))
    }

    fn begin_one_of(&mut self, kind: Kind) -> Option<(Begun, Vec<Queued>)> {
        let batch = match kind {
            Kind::Short if self.short.len() >= self.crowd() => self.take_short(),
            // The other half is for short ones.
            Kind::Long if self.long_running < self.bounds.transactions.div_ceil(2) => {
                self.take_long()
            }
            Kind::Short | Kind::Long => return None,
        };
        if batch.is_empty() {
            return None;
        }
        self.running += 1;
        match kind {
            Kind::Short => self.awaited += 1,
            Kind::Long => self.long_running += 1,
        }
        self.last = kind;
        let mut streams = Vec::with_capacity(batch.len());
        for queued in &batch {
            if !self.busy.contains_key(&queued.stream) {
                self.busy.insert(queued.stream.clone(), Vec::new());
                streams.push(queued.stream.clone());
            }
        }
        Some((Begun { kind, is_awaited: kind == Kind::Short, streams }, batch))
    }

    /// How many short appends have to wait for one more transaction.
    fn crowd(&self) -> usize {
        match u32::try_from(self.awaited) {
            Ok(0) => 1,
            Ok(awaited) => CROWD.saturating_mul(4_usize.saturating_pow(awaited - 1)),
            Err(_) => usize::MAX,
        }
    }

    fn take_short(&mut self) -> Vec<Queued> {
        let mut batch = Batch::new(self.bounds.each);
        while let Some(next) = self.short.pop_front() {
            if let Some(behind) = self.busy.get_mut(&next.stream) {
                behind.push(next);
            } else if let Err(next) = batch.push(next) {
                self.short.push_front(next);
                break;
            }
        }
        batch.appends
    }

    fn take_long(&mut self) -> Vec<Queued> {
        while let Some(next) = self.long.pop_front() {
            match self.busy.get_mut(&next.stream) {
                Some(behind) => behind.push(next),
                None => return vec![next],
            }
        }
        Vec::new()
    }

    /// What was begun takes long; nobody waits for it any more but for its streams and its place.
    pub(super) fn is_late(&mut self, begun: &mut Begun) {
        self.awaited -= usize::from(std::mem::take(&mut begun.is_awaited));
    }

    /// What was begun is over; what waited behind its streams may go.
    pub(super) fn end(&mut self, mut begun: Begun) {
        self.is_late(&mut begun);
        self.running -= 1;
        self.long_running -= usize::from(begun.kind == Kind::Long);
        for stream in begun.streams {
            for queued in self.busy.remove(&stream).unwrap_or_default() {
                self.push(queued);
            }
        }
    }

    /// Gives up all that waits.
    pub(super) fn clear(&mut self) {
        self.short.clear();
        self.long.clear();
        self.busy.values_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::unheard;
    use super::*;
    use crate::domain::ExpectedVersion;
    use crate::testing::builders::{append, events};

    fn line(transactions: usize) -> Line {
        Line::new(Bounds { transactions, each: BatchBounds { requests: 100, bytes: 1_000_000 } })
    }

    /// An append of one event that no other has, unless it is given the same number.
    fn queued(stream: &str, numbers: std::ops::Range<u64>) -> Queued {
        let append = append(ExpectedVersion::Any, events(numbers));
        let bytes = append.events.iter().map(|event| event.size()).sum();
        unheard(stream, append, bytes)
    }

    fn streams(batch: &[Queued]) -> Vec<&str> {
        batch.iter().map(|queued| queued.stream.as_str()).collect()
    }

    #[test]
    fn what_comes_while_a_transaction_is_on_its_way_goes_together() {
        let mut line = line(4);
        line.push(queued("a", 0..1));
        let (first, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["a"]);
        for (number, stream) in (1..).zip(["b", "c", "b"]) {
            line.push(queued(stream, number..number + 1));
            assert!(line.begin().is_none(), "few are no crowd");
        }
        line.end(first);
        let (_, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["b", "c", "b"]);
    }

    #[test]
    fn each_further_transaction_wants_a_larger_crowd_up_to_the_bound() {
        let mut line = line(3);
        let mut numbers = 0..;
        let mut one_more = |line: &mut Line| {
            let number = numbers.next().unwrap();
            line.push(queued(&number.to_string(), number..number + 1));
        };
        for crowd in [1, CROWD, 4 * CROWD] {
            for _ in 1..crowd {
                one_more(&mut line);
                assert!(line.begin().is_none(), "fewer than {crowd} wait");
            }
            one_more(&mut line);
            let (_, batch) = line.begin().unwrap();
            assert_eq!(batch.len(), crowd);
        }
        for _ in 0..100 * CROWD {
            one_more(&mut line);
        }
        assert!(line.begin().is_none(), "there is no place");
    }

    #[test]
    fn nobody_waits_for_a_late_transaction_but_its_own_streams() {
        let mut line = line(2);
        line.push(queued("a", 0..1));
        let (mut first, _) = line.begin().unwrap();
        line.push(queued("a", 1..2));
        line.push(queued("b", 2..3));
        assert!(line.begin().is_none());
        line.is_late(&mut first);
        let (mut second, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["b"]);
        line.is_late(&mut second);
        line.push(queued("c", 3..4));
        assert!(line.begin().is_none(), "there is no place");
        line.end(first);
        let (_, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["c", "a"]);
    }

    #[test]
    fn a_stream_is_in_one_transaction_at_a_time() {
        let mut line = line(4);
        line.push(queued("a", 0..1));
        let (first, _) = line.begin().unwrap();
        line.push(queued("a", 1..2));
        line.push(queued("a", 2..100));
        assert!(line.begin().is_none(), "neither kind goes beside its own stream");
        line.end(first);
        let (second, batch) = line.begin().unwrap();
        assert_eq!(batch[0].append.events.len(), 98);
        line.end(second);
        let (_, batch) = line.begin().unwrap();
        assert_eq!(batch[0].append.events.len(), 1);
    }

    #[test]
    fn a_short_and_a_long_append_to_one_stream_do_not_go_beside_each_other() {
        let mut line = line(4);
        let mut lengths = Vec::new();
        // The kind that is looked at first changes with each transaction.
        for stream in ["a", "b"] {
            line.push(queued(stream, 0..1));
            line.push(queued(stream, 1..100));
            let (first, batch) = line.begin().unwrap();
            assert!(line.begin().is_none(), "the stream is busy");
            line.end(first);
            lengths.push(batch[0].append.events.len());
            let (second, _) = line.begin().unwrap();
            line.end(second);
            line.push(queued("between", 200..201));
            let (between, _) = line.begin().unwrap();
            line.end(between);
        }
        assert_eq!(lengths, [1, 99], "each kind went first once");
    }

    #[test]
    fn what_waits_behind_its_own_stream_is_no_crowd() {
        let mut line = line(4);
        line.push(queued("a", 0..1));
        let (first, _) = line.begin().unwrap();
        for number in 1..CROWD as u64 {
            line.push(queued("a", number..number + 1));
        }
        line.push(queued("b", 1_000..1_001));
        assert!(line.begin().is_none());
        line.end(first);
        assert_eq!(line.begin().unwrap().1.len(), CROWD);
    }

    #[test]
    fn long_appends_go_alone_and_leave_room_for_short_ones() {
        let mut line = line(2);
        for (number, stream) in (0..).map(|n| n * 100).zip(["p", "q"]) {
            line.push(queued(stream, number..number + 100));
        }
        let (first, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["p"]);
        assert!(line.begin().is_none(), "a place is left for short ones");
        line.push(queued("a", 1_000..1_001));
        let (short, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["a"]);
        line.end(first);
        let (_, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["q"]);
        line.end(short);
        assert!(line.begin().is_none());
    }

    #[test]
    fn with_one_connection_both_kinds_get_their_turn() {
        let mut line = line(1);
        for (number, stream) in (0..).map(|n| n * 100).zip(["p", "q"]) {
            line.push(queued(stream, number..number + 100));
        }
        for (number, stream) in (1_000..).zip(["a", "b"]) {
            line.push(queued(stream, number..number + 1));
        }
        let mut order = Vec::new();
        while let Some((begun, batch)) = line.begin() {
            order.push(streams(&batch).join("+"));
            line.end(begun);
        }
        assert_eq!(order, ["a+b", "p", "q"]);
    }

    #[test]
    fn bounds_hold_and_one_alone_is_let_through() {
        let bounds = Bounds { transactions: 1, each: BatchBounds { requests: 2, bytes: 1 } };
        let mut line = Line::new(bounds);
        line.push(queued("a", 0..2));
        line.push(queued("b", 2..3));
        let (first, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["a"]);
        line.end(first);
        line.bounds.each.bytes = 1_000_000;
        for (number, stream) in (3..).zip(["c", "d"]) {
            line.push(queued(stream, number..number + 1));
        }
        let (_, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["b", "c"]);
    }

    #[test]
    fn a_repetition_goes_behind_what_it_repeats() {
        let mut line = line(4);
        line.push(queued("a", 0..1));
        line.push(queued("a", 0..1));
        let (first, batch) = line.begin().unwrap();
        assert_eq!(streams(&batch), ["a"]);
        assert!(line.begin().is_none());
        line.end(first);
        assert_eq!(line.begin().unwrap().1.len(), 1);
    }
}
