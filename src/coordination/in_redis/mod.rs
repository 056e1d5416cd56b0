//! Coordination by Redis: one server, the one that sentinels name, or a cluster. Nothing durable
//! lies there, and losing it costs duplicate work or a delay (I9).
//!
//! Reading order: [`options`], [`keys`], [`dial`] (how it is reached), [`connection`] (what all
//! share), [`script`], [`lock`].

pub mod connection;
pub mod dial;
pub mod keys;
pub mod lock;
pub mod options;
pub mod script;

pub use connection::RedisConnection;
pub use dial::RedisSettingsError;
pub use lock::RedisLock;
pub use options::RedisOptions;
