//! What is true of servers that somebody else runs: PostgreSQL, Azure Blob, Cosmos DB, S3, Redis.
//!
//! The servers are started by `scripts/services`, which says where they listen in variables of
//! the environment. Without them these tests fail: a server that is missing is no success.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]
#![allow(clippy::disallowed_methods, reason = "real servers run in real time beside real tasks")]

#[cfg(feature = "azure_blob")]
mod azure_blob;
mod certificates;
#[cfg(feature = "cosmos")]
mod cosmos;
#[cfg(all(feature = "azure_blob", feature = "cosmos", feature = "postgres", feature = "s3"))]
mod interface;
#[cfg(feature = "postgres")]
mod load_balancer;
#[cfg(all(feature = "azure_blob", feature = "cosmos", feature = "postgres", feature = "s3"))]
mod moves;
#[cfg(any(feature = "azure_blob", feature = "postgres"))]
mod own_server;
#[cfg(feature = "postgres")]
mod postgres;
mod redis;
#[cfg(feature = "postgres")]
mod relay;
#[cfg(feature = "s3")]
mod s3;
mod service;
#[cfg(all(feature = "azure_blob", feature = "cosmos", feature = "postgres", feature = "s3"))]
mod sleepers;
