//! Objects that move between stores of every kind while they are written and followed.
//!
//! Reading order: [`kinds`] (a new store of each); [`import`] and [`permit_log`] (from each kind to
//! each other), [`walk`] (one object through all of them and back), [`crash_matrix`] (processes
//! that die at any call), [`endurance`] and [`troubles`] (stores that fail meanwhile). Clients and
//! proxies are those of `tests/end_to_end`, what a crash must leave is that of `tests/migration`.

mod crash_matrix;
mod endurance;
mod import;
mod kinds;
mod permit_log;
mod troubles;
mod walk;

#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../end_to_end/client.rs"]
mod client;
#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../end_to_end/in_process.rs"]
pub(crate) mod in_process;
#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../migration/kit.rs"]
mod kit;
#[path = "../../end_to_end/metrics.rs"]
mod metrics;
#[path = "../../end_to_end/moving.rs"]
mod moving;
#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../end_to_end/permits.rs"]
mod permits;
#[allow(dead_code, reason = "what only the other tests ask for")]
#[path = "../../migration/survival.rs"]
mod survival;

pub(crate) use kinds::{Kind, open};
