//! Coordination within one process: several proxies in it may share one.
//!
//! Reading order: [`lock`], [`pauses`] (who waits), `in_flight` (who is on the way), [`hints`].

pub mod hints;
mod in_flight;
pub mod lock;
pub mod pauses;

pub use hints::{InProcessHints, InProcessPauseLeases};
pub use lock::InProcessLock;
pub use pauses::{HoldOptions, InProcessPauses};
