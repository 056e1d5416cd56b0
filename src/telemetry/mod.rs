//! Names of fields, spans and metrics, and the watch over appends to objects that move.

pub mod calls;
pub mod fields;
pub mod hints;
pub mod holds;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod moves;
pub mod request_units;
