//! Redis: every promise of the lock and of hints, and what only a server of its own can show.
//!
//! Every test is a deployment of its own in the one server, so that tests run beside each other.

mod access;
mod capabilities;
mod certificates;
#[cfg(feature = "postgres")]
mod convergence;
mod encrypted;
mod faults;
mod hints;
mod kit;
mod missing;
mod own_server;

use streamgate::lock_conformance;

lock_conformance! {
    redis => super::kit::lock_of_three(&super::kit::shared()),
}
