//! What can be set of a memory store.

use serde::{Deserialize, Serialize};

use crate::domain::limits::Limits;

/// A memory store has nothing to set but what it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryOptions {
    pub limits: Limits,
}
