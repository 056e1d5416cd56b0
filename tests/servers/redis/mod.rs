//! Redis: every promise of the lock, and what only a server of its own can show.
//!
//! Every test is a deployment of its own in the one server, so that tests run beside each other.

mod access;
mod faults;
mod kit;
mod own_server;

use streamgate::lock_conformance;

lock_conformance! {
    redis => super::kit::lock_of_three(super::kit::shared()),
}
