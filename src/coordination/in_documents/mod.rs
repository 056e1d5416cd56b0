//! Coordination by the document store, for proxies that share one and have no Redis: slower to
//! change hands, equally safe (I9).

pub mod lock;

pub use lock::DocumentLock;
