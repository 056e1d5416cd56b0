//! Names of fields, spans and metrics, and the watch over appends to objects that move.

pub mod fields;
pub mod metrics;
pub mod moves;
