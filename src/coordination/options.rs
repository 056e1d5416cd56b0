//! What can be set of coordination.

use serde::{Deserialize, Serialize};

use super::in_process::HoldOptions;
use super::in_redis::RedisOptions;
use crate::domain::InvalidValue;

/// How the proxies of a deployment agree on who moves an object, and how appends wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinationOptions {
    /// Appends that may wait for a pause of one object; one more is answered
    /// `CUTOVER_IN_PROGRESS`.
    pub held_per_object_max: usize,
    /// Of all objects together.
    pub held_max: usize,
    /// Left out: the lock lies in the document store if other proxies can share it, else in this
    /// process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisOptions>,
}

impl Default for CoordinationOptions {
    fn default() -> Self {
        let HoldOptions { held_per_object_max, held_max } = HoldOptions::default();
        Self { held_per_object_max, held_max, redis: None }
    }
}

impl CoordinationOptions {
    pub fn hold(&self) -> HoldOptions {
        let Self { held_per_object_max, held_max, .. } = *self;
        HoldOptions { held_per_object_max, held_max }
    }

    /// The faults of these settings, all at once.
    pub fn check(&self) -> Vec<InvalidValue> {
        let redis = self.redis.iter().flat_map(RedisOptions::check);
        redis.map(|fault| fault.within("redis")).collect()
    }
}
