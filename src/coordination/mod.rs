//! Implementations of the ports Lock, Pauses and Hints: who moves an object, whose appends wait,
//! and what proxies tell each other.
//!
//! Reading order: [`options`], [`in_process`], [`in_documents`], [`in_redis`], [`shared_pauses`]
//! (pauses that all proxies of a deployment keep).

pub mod in_documents;
pub mod in_process;
pub mod in_redis;
pub mod options;
pub mod shared_pauses;

pub use in_documents::DocumentLock;
pub use in_process::{
    HoldOptions, InProcessHints, InProcessLock, InProcessPauseLeases, InProcessPauses,
};
pub use in_redis::{RedisConnection, RedisHints, RedisLock, RedisOptions, RedisPauseLeases};
pub use options::CoordinationOptions;
pub use shared_pauses::SharedPauses;
