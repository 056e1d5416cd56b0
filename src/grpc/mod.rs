//! The only place that knows protobuf and `tonic::Status`.
//!
//! Reading order: [`server`] (services and layers), [`options`], `connections` (their start, age
//! and end), `gather` (what leaves them together), `load` (what is in flight and how much may be),
//! `web` (browsers), `envelope` (what every request is wrapped in), `scope` (one request), `intake`
//! and `outlet` (bytes in and out), [`tls`],
//! `convert` (messages into values and back), [`status`] (errors), `event_store` with `session` and
//! `reading`, `migration`, `deadline`, [`health`], [`metrics`], `method`.

mod connections;
mod convert;
mod deadline;
mod envelope;
mod event_store;
mod gather;
pub mod health;
mod intake;
mod load;
mod method;
pub mod metrics;
mod migration;
pub mod options;
mod outlet;
mod reading;
mod scope;
pub mod server;
mod session;
pub mod status;
pub mod tls;
mod web;

pub use health::Health;
pub use metrics::RpcMetrics;
pub use options::GrpcOptions;
pub use server::{ServerParts, serve};
pub use tls::{Tls, TlsOptions};

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
