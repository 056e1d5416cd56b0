//! The ids of a stream's newest events: what an append is compared with before all else (I8).

use std::collections::{HashMap, VecDeque};

use crate::domain::{EventId, Version};

/// How many of a stream's newest events are recognised by id.
pub(super) const WINDOW_EVENTS: usize = 10_000;

/// Ids of neighbouring versions up to the head.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    first: Version,
    ids: VecDeque<EventId>,
    places: HashMap<EventId, Version>,
}

impl Window {
    /// Before the first event, which will have this version.
    pub(super) fn from(first: Version) -> Self {
        Self { first, ..Self::default() }
    }

    /// Version of the oldest id that is known.
    pub(super) fn first(&self) -> Version {
        self.first
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &EventId> {
        self.ids.iter()
    }

    /// The version behind the newest id.
    pub(super) fn next(&self) -> Version {
        self.first.plus(self.ids.len() as u64)
    }

    /// The id of the event behind the newest one; the oldest one may be forgotten for it.
    pub(super) fn push(&mut self, id: EventId) {
        self.places.insert(id, self.next());
        self.ids.push_back(id);
        if self.ids.len() > WINDOW_EVENTS
            && let Some(oldest) = self.ids.pop_front()
        {
            if self.places.get(&oldest) == Some(&self.first) {
                self.places.remove(&oldest);
            }
            self.first = self.first.next();
        }
    }

    /// Where an event with this id stands.
    pub(super) fn find(&self, id: EventId) -> Option<Version> {
        self.places.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ids_are_known_and_older_ones_forgotten() {
        let id = |number: u128| EventId::from_bytes(number.to_be_bytes());
        let mut window = Window::from(Version(5));
        for number in 0..WINDOW_EVENTS as u128 + 3 {
            window.push(id(number));
        }
        assert_eq!(window.len(), WINDOW_EVENTS);
        assert_eq!(window.find(id(2)), None);
        assert_eq!(window.find(id(3)), Some(Version(8)));
        assert_eq!(window.next(), Version(5 + WINDOW_EVENTS as u64 + 3));
    }
}
