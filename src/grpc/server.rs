//! The gRPC server: its services, and what lies between them and a connection.

use std::sync::Arc;

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;
use uuid::Uuid;

use super::connections::Connections;
use super::envelope::EnvelopeLayer;
use super::event_store::EventStoreApi;
use super::health::Health;
use super::load::Load;
use super::metrics::RpcMetrics;
use super::migration::MigrationApi;
use super::options::GrpcOptions;
use super::scope::Shared;
use super::tls::Tls;
use super::v1::event_store_service_server::EventStoreServiceServer;
use super::v1::migration_service_server::MigrationServiceServer;
use super::web::cors;
use crate::domain::limits::Limits;
use crate::migration::{MigrationOptions, Migrations};
use crate::proxy::Proxy;
use crate::runtime::Runtime;

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
    /// None: connections are not encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// Bytes of a message beside what counts against the limits of a batch: ids, times, and the
/// tags and lengths of up to 64 metadata entries an event.
const OVERHEAD_PER_EVENT: usize = 640;
const OVERHEAD: usize = 64 * 1024;

/// Bytes of a request that carries no events.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// The largest message that is taken: everything that the limits allow, so that what is a little
/// beyond them is refused by name, and what is far beyond is not even read.
fn message_bytes_max(limits: Limits) -> usize {
    limits.batch_bytes_max + limits.batch_events_max * OVERHEAD_PER_EVENT + OVERHEAD
}

/// Serves on `listener` until `stop` resolves; then lets what is in flight end.
///
/// From the outside to the inside: the headers that browsers ask for, gRPC-web into gRPC, the
/// envelope, the services.
pub async fn serve(parts: ServerParts, listener: TcpListener, stop: impl Future<Output = ()>) {
    let ServerParts { options, runtime, proxy, migrations, metrics, health, tls, .. } = parts;
    let bytes_max = message_bytes_max(proxy.limits());
    let entropy = Arc::clone(&runtime.entropy);
    let migrations = MigrationServiceServer::new(MigrationApi {
        migrations,
        defaults: parts.migration_defaults,
        shutdown: runtime.shutdown.clone(),
    })
    .max_decoding_message_size(bytes_max.min(REQUEST_BYTES_MAX));
    let events = EventStoreApi {
        proxy,
        entropy,
        shutdown: runtime.shutdown.clone(),
        health: health.clone(),
        deployment: parts.deployment,
    };
    let events = EventStoreServiceServer::new(events).max_decoding_message_size(bytes_max);
    let routes = Routes::new(events)
        .add_service(migrations)
        .add_service(HealthServer::new(health.service()))
        .add_service(reflection().build_v1().expect("our own descriptors are whole"))
        .add_service(reflection().build_v1alpha().expect("our own descriptors are whole"))
        .prepare();
    let connection_metrics = metrics.connections().clone();
    let service = ServiceBuilder::new()
        .option_layer(cors(&options.cors_allowed_origins))
        .layer(GrpcWebLayer::new())
        .layer(EnvelopeLayer(Shared::new(runtime.clone(), metrics, bytes_max)))
        .service(routes);
    let load = Load::new(&options);
    if let Some(tls) = &tls {
        runtime.shutdown.spawn(Arc::clone(tls).watch());
    }
    let connections = Connections { options, runtime, load, metrics: connection_metrics, tls };
    connections.serve(listener, service, stop).await;
}

/// In both versions: older tools ask for the alpha.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(super::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
