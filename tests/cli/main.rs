//! The command line as its users meet it: the real binary against a real server process.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests wait for other processes, which no clock of ours moves"
)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod bad_input;
#[path = "../certificates/mod.rs"]
mod certificates;
mod cut;
mod demo;
mod everyday;
mod import;
mod moving;
mod process;
mod serving;
mod streams;
mod tls;
