//! Moving an object's events to another stream or store while it is written.
//!
//! Reading order: [`steps`] and [`machine`] (pure: what happens next), [`invariants`], [`record`]
//! and [`journal`] (what is remembered), [`request`] and [`options`] (what is asked), [`effects`]
//! (what is done to the world), [`throttle`], [`pace`] (what a pause would take), [`lease`],
//! [`reach`] (cut off, or only slow) and [`runner`] (the only loop), [`progress`] and [`live`]
//! (what is shown), [`service`] (start, look, pause, cancel), [`left`] and [`supervisor`] (nothing
//! is left behind).

#![warn(clippy::wildcard_enum_match_arm)]

pub mod effects;
pub mod error;
pub mod invariants;
pub mod journal;
pub mod lease;
pub mod left;
pub mod live;
pub mod machine;
pub mod options;
pub mod pace;
pub mod progress;
pub mod reach;
pub mod record;
pub mod request;
pub mod runner;
pub mod service;
pub mod steps;
pub mod supervisor;
pub mod throttle;

pub use error::MigrationError;
pub use journal::Journal;
pub use options::{MigrationOptions, MigrationSettings, OnConvergenceFailure, WithoutLock};
pub use progress::{MigrationView, Progress};
pub use record::{Certificate, MigrationRecord, Phase};
pub use request::{ExpectedSource, ListMigrations, MigrationRequest, TargetBase};
pub use service::{ListedMigrations, MigrationParts, Migrations, Watch};
