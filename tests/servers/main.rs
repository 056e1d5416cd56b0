//! What is true of stores that somebody else runs: PostgreSQL, Azure Blob, Cosmos DB, S3.
//!
//! The servers are started by `scripts/services`, which says where they listen in variables of
//! the environment. Without them these tests fail: a server that is missing is no success.

mod service;
