//! Objects that move between stores of every kind while they are written and followed.
//!
//! Reading order: [`kinds`] (a new store of each); [`import`] and [`permit_log`] (from each kind to
//! each other), [`walk`] (one object through all of them and back). Clients and proxies are those
//! of `tests/end_to_end`.

mod import;
mod kinds;
mod permit_log;
mod walk;

#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../end_to_end/client.rs"]
mod client;
#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../end_to_end/in_process.rs"]
mod in_process;
#[path = "../../end_to_end/metrics.rs"]
mod metrics;
#[path = "../../end_to_end/moving.rs"]
mod moving;
#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../end_to_end/permits.rs"]
mod permits;

pub(crate) use kinds::{Kind, open};
