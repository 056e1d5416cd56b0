//! The test kit: what a store, a proxy and a migration are put through.

pub mod builders;
pub mod clock;
pub mod conformance;
pub mod deployment;
pub mod faulty;
pub mod history;
pub mod lying;
pub mod parallel;
pub mod planted;
pub mod troubled;
pub mod unruly;
pub mod virtual_clock;
