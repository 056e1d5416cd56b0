//! Clients in other languages, generated from the interface: the examples as their READMEs run
//! them, sessions and followers that outlive connections and servers, and the log of real events.
//!
//! `scripts/clients` generates them and says where they are; without it these tests fail.
//!
//! Reading order: `language` (how a client is run), `worker` (one that is told what to do); then
//! the tests.

mod language;
mod worker;

mod examples;
mod permit_log;
mod service_config;
mod sessions;

/// Long enough for what these tests have in flight.
const GRACE_PERIOD: std::time::Duration = std::time::Duration::from_secs(10);
