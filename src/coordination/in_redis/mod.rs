//! Coordination by Redis: one server, the one that sentinels name, or a cluster. Nothing durable
//! lies there, and losing it costs duplicate work or a delay (I9).
//!
//! Reading order: [`options`], [`keys`], [`dial`] (how it is reached), [`connection`] (what all
//! share), [`script`], [`lock`], [`hints`] and `message`, [`pauses`]; [`check`] (what is missing,
//! for people who set it up).

pub mod check;
pub mod connection;
pub mod dial;
pub mod hints;
pub mod keys;
pub mod lock;
mod message;
pub mod options;
pub mod pauses;
pub mod script;

pub use check::RedisProblem;
pub use connection::RedisConnection;
pub use dial::RedisSettingsError;
pub use hints::RedisHints;
pub use lock::RedisLock;
pub use options::RedisOptions;
pub use pauses::RedisPauseLeases;
