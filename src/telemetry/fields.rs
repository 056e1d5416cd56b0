//! The names of log fields. Used as constants, so that the compiler holds the spelling.

pub const OBJECT_NAME: &str = "object.name";
pub const OBJECT_ID: &str = "object.id";
pub const STREAM_ID: &str = "stream.id";
pub const STORE_NAME: &str = "store.name";
pub const DOCUMENT_KEY: &str = "document.key";
pub const VERSION: &str = "version";
pub const EVENT_COUNT: &str = "event.count";
pub const MIGRATION_ID: &str = "migration.id";
pub const MIGRATION_PHASE: &str = "migration.phase";
pub const LOCK_KEY: &str = "lock.key";
pub const LOCK_TOKEN: &str = "lock.token";
pub const ATTEMPT: &str = "attempt";
pub const ERROR_CLASS: &str = "error.class";
pub const ERROR_REASON: &str = "error.reason";
pub const ERROR: &str = "error";
pub const REQUEST_ID: &str = "request.id";
pub const RPC_METHOD: &str = "rpc.method";
pub const DURATION_US: &str = "duration_us";
