//! Deleting the events of removed streams, a bounded bit with each commit, so that the removal of
//! a long stream holds nobody up. A record names each unfinished purge; opening goes on with it.

use std::collections::VecDeque;

use fjall::{Keyspace, UserKey};

use super::error::ReadError;
use super::layout;
use super::request::{Answer, Reply, Settled};
use crate::store::{Removed, StoreError};

/// Records deleted with one commit.
const STEP_RECORDS: usize = 1_024;

/// The purges that are unfinished, oldest first.
#[derive(Default)]
pub(super) struct Purges {
    waiting: VecDeque<Purge>,
}

pub(super) struct Purge {
    number: u64,
    /// The keys that may be left, in order.
    ranges: VecDeque<Left>,
    answers: Vec<(Answer<Removed>, Removed)>,
}

/// What is left of the keys that start with a prefix: those after a key.
struct Left {
    prefix: [u8; 9],
    after: Option<UserKey>,
}

impl Purges {
    pub(super) fn of_numbers(numbers: Vec<u64>) -> Self {
        Self { waiting: numbers.into_iter().map(Purge::of).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn begin(&mut self, number: u64) -> &mut Purge {
        self.waiting.push_back(Purge::of(number));
        self.waiting.back_mut().expect("one was just put there")
    }

    pub(super) fn of(&mut self, number: u64) -> Option<&mut Purge> {
        self.waiting.iter_mut().find(|purge| purge.number == number)
    }

    pub(super) fn next(&mut self) -> Option<&mut Purge> {
        self.waiting.front_mut()
    }

    /// The first one has nothing left.
    pub(super) fn end(&mut self) -> Vec<Settled> {
        let answers = self.waiting.pop_front().map(|purge| purge.answers).unwrap_or_default();
        let settle = |(answer, removed)| Settled::Removed(Reply { answer, result: Ok(removed) });
        answers.into_iter().map(settle).collect()
    }

    /// The first one met damage.
    pub(super) fn fail(&mut self, error: &ReadError) -> Vec<Settled> {
        tracing::error!(%error, "the events of a removed stream were not deleted");
        let answers = self.waiting.pop_front().map(|purge| purge.answers).unwrap_or_default();
        let settle = |(answer, _)| {
            let result = Err(StoreError::Corrupt { detail: error.to_string() });
            Settled::Removed(Reply { answer, result })
        };
        answers.into_iter().map(settle).collect()
    }

    /// All who wait for a purge, when the store stops.
    pub(super) fn abandon(&mut self) -> Vec<Settled> {
        let mut settled = Vec::new();
        while !self.waiting.is_empty() {
            settled.extend(self.end());
        }
        settled
    }
}

impl Purge {
    pub(super) fn of(number: u64) -> Self {
        let prefixes = [layout::events_of(number), layout::event_ids_of(number)];
        let ranges = prefixes.map(|prefix| Left { prefix, after: None });
        Self { number, ranges: ranges.into(), answers: Vec::new() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn answer_to(&mut self, answer: Answer<Removed>, removed: Removed) {
        self.answers.push((answer, removed));
    }

    /// The next keys to delete; none when all are gone.
    pub(super) fn step(&mut self, records: &Keyspace) -> Result<Vec<UserKey>, ReadError> {
        while let Some(left) = self.ranges.front_mut() {
            let keys = left.take(records)?;
            if let Some(last) = keys.last() {
                left.after = Some(last.clone());
                return Ok(keys);
            }
            self.ranges.pop_front();
        }
        Ok(Vec::new())
    }
}

impl Left {
    fn take(&self, records: &Keyspace) -> Result<Vec<UserKey>, ReadError> {
        let start = self.after.as_deref().unwrap_or(&self.prefix);
        let mut keys = Vec::with_capacity(STEP_RECORDS);
        for entry in records.range(start..) {
            let key = entry.key()?;
            if !key.starts_with(&self.prefix) || keys.len() == STEP_RECORDS {
                break;
            }
            if self.after.as_ref() != Some(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}
