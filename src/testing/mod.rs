//! The test kit: what a store, a proxy and a migration are put through.

pub mod deployment;
pub mod faulty;
pub mod history;
pub mod virtual_clock;
