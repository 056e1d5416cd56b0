//! Whole servers through real clients: real input that moves while it is written, processes that
//! are killed, syncs that are counted, clients in other languages, fleets over one Redis and one
//! PostgreSQL.
//!
//! Reading order: `client` (what a client says), `ledger` (what clients were told), `moving` (an
//! object that moves under its writer), `permits` (real input), `in_process` and `process` (two
//! ways to have a server), `relay` (a wire that can be cut), `metrics`; then the tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod client;
mod in_process;
mod ledger;
mod metrics;
mod moving;
mod permits;
mod process;
#[cfg(feature = "servers")]
mod relay;

#[cfg(feature = "servers")]
mod any_language;
#[cfg(feature = "servers")]
mod browser;
#[cfg(all(feature = "servers", feature = "postgres"))]
mod fleet;
mod graceful_stop;
mod permit_log;
mod slow_peers;
mod syncs;
mod synthetic;
mod torture;
