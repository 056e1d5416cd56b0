//! Coordination within one process: several proxies in it may share one.
//!
//! Reading order: [`lock`], [`pauses`] (who waits), `in_flight` (who is on the way).

mod in_flight;
pub mod lock;
pub mod pauses;

pub use lock::InProcessLock;
pub use pauses::{HoldOptions, InProcessPauses};
