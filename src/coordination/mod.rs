//! Implementations of the ports Lock and Pauses: who moves an object, and whose appends wait.

pub mod in_process;

pub use in_process::{HoldOptions, InProcessLock, InProcessPauses};
