//! The port EventStore: streams that grow at their head, and end for good.
//!
//! Reading order: [`contract`] (the trait and its promises), [`request`] (what is asked and
//! answered), [`judge`] (what that means for a stream, for every backend), [`error`],
//! [`capabilities`], [`registry`] (the named stores of a deployment).

pub mod capabilities;
pub mod contract;
pub mod error;
pub mod judge;
pub mod registry;
pub mod request;

pub use capabilities::Capabilities;
pub use contract::EventStore;
pub use error::StoreError;
pub use registry::{Placement, PlacementRule, Stores, UnknownStore};
pub use request::{Append, Appended, Close, Found, Page, ReadRange, Removed, Tail};
