//! The gRPC server: its services, its bounds, its start and its stop.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;
use uuid::Uuid;

use super::envelope::EnvelopeLayer;
use super::event_store::EventStoreApi;
use super::health::Health;
use super::metrics::RpcMetrics;
use super::migration::MigrationApi;
use super::scope::Shared;
use super::v1::event_store_service_server::EventStoreServiceServer;
use super::v1::migration_service_server::MigrationServiceServer;
use crate::domain::InvalidValue;
use crate::domain::limits::Limits;
use crate::migration::{MigrationOptions, Migrations};
use crate::proxy::Proxy;
use crate::runtime::{Runtime, duration_text};

/// The bounds of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcOptions {
    /// Requests and open streams at once; more are answered `TOO_MANY_IN_FLIGHT`.
    pub in_flight_max: usize,
    /// Requests and open streams at once on one connection; more wait at the client.
    pub streams_per_connection_max: u32,
    /// How often a silent connection is asked whether it is still there.
    #[serde(with = "duration_text")]
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    #[serde(with = "duration_text")]
    pub keepalive_timeout: Duration,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            in_flight_max: 4_096,
            streams_per_connection_max: 2_048,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

impl GrpcOptions {
    /// Refuses what could never work.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        if self.in_flight_max == 0 {
            faults.push(InvalidValue::new("in_flight_max", "must be at least 1"));
        }
        if self.streams_per_connection_max == 0 {
            faults.push(InvalidValue::new("streams_per_connection_max", "must be at least 1"));
        }
        for (field, value) in [
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ] {
            if value < Duration::from_secs(1) {
                faults.push(InvalidValue::new(field, "must be at least 1s"));
            }
        }
        faults
    }
}

/// What a server is built of.
pub struct ServerParts {
    pub options: GrpcOptions,
    pub runtime: Runtime,
    pub proxy: Arc<Proxy>,
    pub migrations: Migrations,
    /// What a migration's request leaves out.
    pub migration_defaults: MigrationOptions,
    pub metrics: RpcMetrics,
    pub health: Health,
    /// The mark of this deployment's stores.
    pub deployment: Uuid,
}

/// A server that ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
#[error("the gRPC server ended")]
pub struct ServerEnded(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Bytes of a message beside what counts against the limits of a batch: ids, times, and the
/// tags and lengths of up to 64 metadata entries an event.
const OVERHEAD_PER_EVENT: usize = 640;
const OVERHEAD: usize = 64 * 1024;

/// The largest message that is taken: everything that the limits allow, so that what is a little
/// beyond them is refused by name, and what is far beyond is not even read.
fn message_bytes_max(limits: Limits) -> usize {
    limits.batch_bytes_max + limits.batch_events_max * OVERHEAD_PER_EVENT + OVERHEAD
}

/// Serves on `listener` until `stop` resolves; then lets what is in flight end.
pub async fn serve(
    parts: ServerParts,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerEnded> {
    let ServerParts { options, runtime, proxy, migrations, metrics, health, .. } = parts;
    let bytes_max = message_bytes_max(proxy.limits());
    let entropy = Arc::clone(&runtime.entropy);
    let migrations = MigrationServiceServer::new(MigrationApi {
        migrations,
        defaults: parts.migration_defaults,
        shutdown: runtime.shutdown.clone(),
    });
    let events = EventStoreApi {
        proxy,
        entropy,
        shutdown: runtime.shutdown.clone(),
        health: health.clone(),
        deployment: parts.deployment,
    };
    let shared = Shared::new(runtime, metrics, options.in_flight_max);
    let events = EventStoreServiceServer::new(events).max_decoding_message_size(bytes_max);
    let served = Server::builder()
        .max_concurrent_streams(options.streams_per_connection_max)
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_timeout))
        .layer(EnvelopeLayer(shared))
        .add_service(events)
        .add_service(migrations)
        .add_service(HealthServer::new(health.service()))
        .add_service(reflection().build_v1().expect("our own descriptors are whole"))
        .add_service(reflection().build_v1alpha().expect("our own descriptors are whole"))
        // Small answers must not wait for more to come.
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await;
    served.map_err(|error| ServerEnded(error.into()))
}

/// In both versions: older tools ask for the alpha.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(super::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
