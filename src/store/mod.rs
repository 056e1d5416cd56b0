//! The port EventStore: streams that grow at their head, and end for good.
//!
//! Reading order: [`contract`] (the trait and its promises), [`request`] (what is asked and
//! answered), [`judge`] (what that means for a stream, for every backend), [`error`],
//! [`capabilities`], [`registry`] (the named stores of a deployment), then the wrappers
//! [`timeout`], [`retry`], [`limit`], [`observe`], [`announce`], put together by [`stack()`] as
//! [`options`] say, and [`wakeups`] (who waits for a stream to change).

pub mod announce;
pub mod capabilities;
pub mod contract;
pub mod error;
pub mod judge;
pub mod limit;
pub mod observe;
pub mod options;
pub mod registry;
pub mod request;
pub mod retry;
pub mod stack;
pub mod timeout;
pub mod wakeups;

pub use capabilities::Capabilities;
pub use contract::EventStore;
pub use error::StoreError;
pub use options::StoreOptions;
pub use registry::{Placement, PlacementRule, Stores, UnknownStore};
pub use request::{Append, Appended, Close, Found, Page, ReadRange, Removed, Tail};
pub use stack::stack;
pub use wakeups::{StoreWakeups, Wakeups, Watch};
