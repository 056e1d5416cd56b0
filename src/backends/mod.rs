//! The places that keep events and documents: one folder each, the same files in each.

pub mod memory;
