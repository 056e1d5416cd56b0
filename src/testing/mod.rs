//! The test kit: what a store, a proxy and a migration are put through.

pub mod faulty;
pub mod virtual_clock;
