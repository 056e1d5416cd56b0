//! What a store promises beyond the contract.

use std::time::Duration;

use crate::domain::limits::Limits;

/// Declared, not probed: a plan is checked against it before anything starts, and the
/// conformance suite holds the store to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// As the settings name it: `embedded`, `postgres`.
    pub kind: &'static str,
    pub limits: Limits,
    /// How an append is made conditional, in one phrase for people.
    pub condition: &'static str,
    /// How many of an object's newest events are recognised by id; none means all of them.
    pub event_id_window: Option<u64>,
    /// Whether what was acknowledged survives the process.
    pub durable: bool,
    /// How soon a follower hears of an append: at once (none) or within a poll.
    pub poll_interval: Option<Duration>,
}
