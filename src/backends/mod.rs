//! The places that keep events and documents: one folder each, the same files in each.

#[cfg(feature = "embedded")]
pub mod embedded;
pub mod memory;
