//! The only place that knows protobuf and `tonic::Status`.

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
