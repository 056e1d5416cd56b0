//! Streamgate: a gRPC proxy in front of event stores that moves streams while they are written.

pub mod app;
pub mod backends;
pub mod cli;
pub mod config;
pub mod coordination;
pub mod documents;
pub mod domain;
pub mod grpc;
pub mod lock;
pub mod migration;
pub mod proxy;
pub mod runtime;
pub mod store;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
