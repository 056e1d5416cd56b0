//! Lines that wait, so that each object has at most one on its way and its lines keep their order.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::lines::Line;

type Object = (String, String);

/// The waiting lines of all objects, and what became of the others.
#[derive(Default)]
pub(super) struct Queue {
    /// Lines behind the one of their object that is on its way or ready.
    behind: HashMap<Object, VecDeque<Line>>,
    ready: VecDeque<Line>,
    /// Objects that lost a line: what follows would stand in its place.
    blocked: HashSet<Object>,
    /// Lines that are not there yet, refused and held back ones too.
    missing: BTreeSet<u64>,
    waiting_lines: usize,
    waiting_bytes: usize,
    held_back: u64,
}

impl Queue {
    pub(super) fn push(&mut self, line: Line) {
        let object = object_of(&line);
        self.missing.insert(line.number);
        if self.blocked.contains(&object) {
            self.held_back += 1;
            return;
        }
        self.waiting_lines += 1;
        self.waiting_bytes += line.size();
        match self.behind.get_mut(&object) {
            Some(behind) => behind.push_back(line),
            None => {
                self.behind.insert(object, VecDeque::new());
                self.ready.push_back(line);
            }
        }
    }

    /// A line to send now; [`Self::done`] or [`Self::lost`] must follow for it.
    pub(super) fn pop(&mut self) -> Option<Line> {
        let line = self.ready.pop_front()?;
        self.waiting_lines -= 1;
        self.waiting_bytes -= line.size();
        Some(line)
    }

    /// The line is there: the next one of its object may go.
    pub(super) fn done(&mut self, number: u64, object: Object) {
        self.missing.remove(&number);
        let Some(behind) = self.behind.get_mut(&object) else { return };
        match behind.pop_front() {
            Some(next) => self.ready.push_back(next),
            None => _ = self.behind.remove(&object),
        }
    }

    /// The line is not there: nothing of its object may follow.
    pub(super) fn lost(&mut self, object: Object) {
        for line in self.behind.remove(&object).unwrap_or_default() {
            self.waiting_lines -= 1;
            self.waiting_bytes -= line.size();
            self.held_back += 1;
        }
        self.blocked.insert(object);
    }

    /// Lets go of everything that was not sent.
    pub(super) fn abandon(&mut self) {
        self.ready.clear();
        self.behind.clear();
        (self.waiting_lines, self.waiting_bytes) = (0, 0);
    }

    pub(super) fn has_room(&self, lines_max: usize, bytes_max: usize) -> bool {
        self.waiting_lines < lines_max && self.waiting_bytes < bytes_max
    }

    pub(super) const fn held_back(&self) -> u64 {
        self.held_back
    }

    /// The first line that is known not to be there.
    pub(super) fn first_missing(&self) -> Option<u64> {
        self.missing.first().copied()
    }
}

pub(super) fn object_of(line: &Line) -> Object {
    (line.object.object_name.clone(), line.object.object_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::v1;

    fn line(number: u64, id: &str) -> Line {
        let object = v1::ObjectRef { object_name: "o".into(), object_id: id.into() };
        Line { number, object, event: v1::NewEvent::default() }
    }

    fn object(id: &str) -> Object {
        ("o".into(), id.into())
    }

    fn popped(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).map(|line| line.number).collect()
    }

    #[test]
    fn an_object_has_one_line_on_its_way_and_others_pass_it() {
        let mut queue = Queue::default();
        for (number, id) in [(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "b")] {
            queue.push(line(number, id));
        }
        assert_eq!(popped(&mut queue), [1, 3]);
        queue.done(3, object("b"));
        assert_eq!(popped(&mut queue), [5]);
        queue.done(1, object("a"));
        assert_eq!(popped(&mut queue), [2]);
        queue.push(line(6, "a"));
        queue.done(2, object("a"));
        assert_eq!(popped(&mut queue), [4]);
        queue.done(4, object("a"));
        assert_eq!(popped(&mut queue), [6]);
        assert_eq!(queue.first_missing(), Some(5));
    }

    #[test]
    fn nothing_of_an_object_follows_a_lost_line() {
        let mut queue = Queue::default();
        for (number, id) in [(1, "a"), (2, "a"), (3, "b")] {
            queue.push(line(number, id));
        }
        assert_eq!(popped(&mut queue), [1, 3]);
        queue.lost(object("a"));
        queue.push(line(4, "a"));
        queue.done(3, object("b"));
        assert!(popped(&mut queue).is_empty());
        assert_eq!(queue.held_back(), 2);
        assert_eq!(queue.first_missing(), Some(1));
        assert!(queue.has_room(1, 1), "held back lines take no room");
    }

    #[test]
    fn room_ends_by_lines_and_by_bytes() {
        let mut queue = Queue::default();
        queue.push(line(1, "a"));
        queue.push(line(2, "a"));
        assert!(!queue.has_room(2, usize::MAX));
        assert!(!queue.has_room(usize::MAX, 512));
        assert!(queue.has_room(3, 513));
        queue.abandon();
        assert!(queue.has_room(1, 1) && queue.pop().is_none());
    }
}
