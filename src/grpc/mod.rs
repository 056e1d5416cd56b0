//! The only place that knows protobuf and `tonic::Status`.
//!
//! Reading order: [`server`] (services, bounds, start and stop), `envelope` (what every request
//! is wrapped in), `scope` (one request), `convert` (messages into values and back), [`status`]
//! (errors), `event_store` with `session` and `reading`, `migration`, `deadline`, [`health`],
//! [`metrics`], `method`.

mod convert;
mod deadline;
mod envelope;
mod event_store;
pub mod health;
mod method;
pub mod metrics;
mod migration;
mod reading;
mod scope;
pub mod server;
mod session;
pub mod status;

pub use health::Health;
pub use metrics::RpcMetrics;
pub use server::{GrpcOptions, ServerEnded, ServerParts, serve};

/// The messages and services of `streamgate.v1`, made from `proto/`.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the generator's style is its own"
)]
pub mod v1 {
    tonic::include_proto!("streamgate.v1");
}

/// The descriptors of the interface, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
