//! `MigrationService`: messages in, the migrations, messages out.

use futures::StreamExt;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::convert::migration as convert;
use super::metrics::Outcome;
use super::scope::Scope;
use super::status::{InvalidRequest, refuse, stopping};
use super::v1;
use super::v1::migration_service_server::MigrationService;
use crate::domain::MigrationId;
use crate::migration::{MigrationError, MigrationOptions, MigrationView, Migrations, Watch};
use crate::runtime::Shutdown;

/// The service over the migrations of one process.
pub(crate) struct MigrationApi {
    pub(crate) migrations: Migrations,
    pub(crate) defaults: MigrationOptions,
    pub(crate) shutdown: Shutdown,
}

type Answer<T> = Result<Response<T>, Status>;

/// What the verbs on one migration share: its id in, the migration out.
fn one(scope: &Scope, id: &str) -> Result<MigrationId, Status> {
    convert::migration_id(id).map_err(|invalid| refuse(scope, &invalid))
}

fn shown(
    scope: &Scope,
    view: Result<MigrationView, MigrationError>,
) -> Result<Option<v1::Migration>, Status> {
    let view = view.map_err(|error| refuse(scope, &error))?;
    Ok(Some(convert::to_migration(view)))
}

#[tonic::async_trait]
impl MigrationService for MigrationApi {
    async fn migrate(&self, request: Request<v1::MigrateRequest>) -> Answer<v1::MigrateResponse> {
        let scope = Scope::of(request.extensions());
        let request = convert::migrate(request.into_inner(), &self.defaults)
            .map_err(|invalid: InvalidRequest| refuse(&scope, &invalid))?;
        let migration = shown(&scope, self.migrations.start(request).await)?;
        Ok(Response::new(v1::MigrateResponse { migration }))
    }

    async fn get_migration(
        &self,
        request: Request<v1::GetMigrationRequest>,
    ) -> Answer<v1::GetMigrationResponse> {
        let scope = Scope::of(request.extensions());
        let id = one(&scope, &request.get_ref().migration_id)?;
        let migration = shown(&scope, self.migrations.get(id).await)?;
        Ok(Response::new(v1::GetMigrationResponse { migration }))
    }

    async fn list_migrations(
        &self,
        request: Request<v1::ListMigrationsRequest>,
    ) -> Answer<v1::ListMigrationsResponse> {
        let scope = Scope::of(request.extensions());
        let list =
            convert::list(request.into_inner()).map_err(|invalid| refuse(&scope, &invalid))?;
        let page = self.migrations.list(list).await.map_err(|error| refuse(&scope, &error))?;
        Ok(Response::new(convert::to_list_response(page)))
    }

    type WatchMigrationStream = BoxStream<v1::WatchMigrationResponse>;

    async fn watch_migration(
        &self,
        request: Request<v1::WatchMigrationRequest>,
    ) -> Answer<Self::WatchMigrationStream> {
        let scope = Scope::of(request.extensions());
        let id = one(&scope, &request.get_ref().migration_id)?;
        let watch = self.migrations.watch(id).await.map_err(|error| refuse(&scope, &error))?;
        let watching = Watching { watch, scope, shutdown: self.shutdown.clone() };
        Ok(Response::new(watching.into_stream()))
    }

    async fn pause_migration(
        &self,
        request: Request<v1::PauseMigrationRequest>,
    ) -> Answer<v1::PauseMigrationResponse> {
        let scope = Scope::of(request.extensions());
        let id = one(&scope, &request.get_ref().migration_id)?;
        let migration = shown(&scope, self.migrations.pause(id).await)?;
        Ok(Response::new(v1::PauseMigrationResponse { migration }))
    }

    async fn resume_migration(
        &self,
        request: Request<v1::ResumeMigrationRequest>,
    ) -> Answer<v1::ResumeMigrationResponse> {
        let scope = Scope::of(request.extensions());
        let id = one(&scope, &request.get_ref().migration_id)?;
        let migration = shown(&scope, self.migrations.resume(id).await)?;
        Ok(Response::new(v1::ResumeMigrationResponse { migration }))
    }

    async fn cancel_migration(
        &self,
        request: Request<v1::CancelMigrationRequest>,
    ) -> Answer<v1::CancelMigrationResponse> {
        let scope = Scope::of(request.extensions());
        let v1::CancelMigrationRequest { migration_id, remove_target } = request.get_ref();
        let id = one(&scope, migration_id)?;
        let migration = shown(&scope, self.migrations.cancel(id, *remove_target).await)?;
        Ok(Response::new(v1::CancelMigrationResponse { migration }))
    }
}

/// One watcher. It ends with the migration, or with the server: a watch would otherwise keep a
/// stopping server from its end.
struct Watching {
    watch: Watch,
    scope: Scope,
    shutdown: Shutdown,
}

impl Watching {
    fn into_stream(self) -> BoxStream<v1::WatchMigrationResponse> {
        futures::stream::try_unfold(self, |mut watching| async {
            let span = watching.scope.span().clone();
            let next = tokio::select! {
                biased;
                () = watching.shutdown.begun() => return Err(stopping(&watching.scope)),
                next = watching.watch.next().instrument(span) => next,
            };
            let Some(view) = next else {
                watching.scope.settle(Outcome::Ok);
                return Ok(None);
            };
            let migration = shown(&watching.scope, view)?;
            Ok(Some((v1::WatchMigrationResponse { migration }, watching)))
        })
        .boxed()
    }
}
