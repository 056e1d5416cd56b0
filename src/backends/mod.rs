//! The places that keep events and documents: one folder each, the same files in each.

#[cfg(feature = "azure_blob")]
pub mod azure_blob;
#[cfg(feature = "cosmos")]
pub mod cosmos;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "s3")]
pub mod s3;
