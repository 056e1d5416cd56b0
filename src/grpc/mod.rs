//! The only place that knows protobuf and `tonic::Status`.

/// The messages and services of `streamgate.v1`, made from `proto/`.
#[allow(clippy::all, clippy::pedantic, unreachable_pub, missing_docs)]
pub mod v1 {
    tonic::include_proto!("streamgate.v1");
}

/// The descriptors of the interface, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
