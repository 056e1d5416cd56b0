//! Implementations of the ports Lock and Pauses: who moves an object, and whose appends wait.
//!
//! Reading order: [`options`], [`in_process`], [`in_documents`], [`in_redis`].

pub mod in_documents;
pub mod in_process;
pub mod in_redis;
pub mod options;

pub use in_documents::DocumentLock;
pub use in_process::{HoldOptions, InProcessLock, InProcessPauses};
pub use in_redis::{RedisConnection, RedisLock, RedisOptions};
pub use options::CoordinationOptions;
