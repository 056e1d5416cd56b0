//! Fleets: several proxies, each a process, over one PostgreSQL and one Redis.
//!
//! Reading order: `relay` (a link that can be cut), `redis` and `database` (what a fleet shares),
//! `proxies` (the fleet), `caller` (a client that knows all of it); then the tests.

mod caller;
mod database;
mod proxies;
mod redis;
mod relay;

mod permit_log;
mod rolling_restart;
mod takeover;
mod torture;
mod troubles;
