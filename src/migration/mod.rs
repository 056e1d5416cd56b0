//! Moving an object's events to another stream or store while it is written.
//!
//! Reading order: [`steps`] and [`machine`] (pure: what happens next), [`invariants`], [`record`]
//! and [`journal`] (what is remembered), [`request`] (what is asked), [`effects`] (what is done to
//! the world), [`runner`] (the only loop), [`throttle`], [`progress`], [`service`] (start, look,
//! pause, cancel), [`supervisor`] (nothing is left behind).

#![warn(clippy::wildcard_enum_match_arm)]

pub mod error;
pub mod machine;
pub mod options;
pub mod record;
pub mod request;
pub mod steps;

pub use error::MigrationError;
pub use options::{MigrationOptions, MigrationSettings, OnConvergenceFailure};
pub use record::{Certificate, MigrationRecord, Phase};
pub use request::{ExpectedSource, MigrationRequest};
