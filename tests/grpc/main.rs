//! The interface over a real socket: what is served, what is refused, and in which words.
#![expect(clippy::disallowed_methods, reason = "tests own their tasks")]
#![expect(clippy::unwrap_used, reason = "the kit is part of the tests")]

mod bad_input;
#[path = "../certificates/mod.rs"]
mod certificates;
mod connections;
mod envelope;
mod errors;
mod events;
mod failing;
mod kit;
mod leaving;
mod load;
mod migrations;
mod stopping;
mod tls;
mod web;
