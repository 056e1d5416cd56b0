//! One object: start, show how it goes, print how it went.

use super::Arguments;
use crate::cli::connection::{Connection, Patience};
use crate::cli::failure::Failure;
use crate::cli::migrations::text_of;
use crate::cli::output::{answer, note};
use crate::cli::present::Migration;
use crate::cli::session::Session;
use crate::cli::verdict::{Effect, Verdict};
use crate::cli::watch::{Display, follow, has_ended, outcome};
use crate::grpc::v1;

pub(super) async fn run(session: &Session, mut arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(session)?;
    let object = arguments.objects.remove(0);
    let mut request = arguments.request(object);
    request.request_id = match arguments.request_id.take() {
        Some(id) => id,
        None => {
            let id = session.runtime.entropy.uuid().to_string();
            note(&format!("request id {id}"));
            id
        }
    };
    let started = start(&connection, Patience::brief(session.timeout), request).await?;
    if arguments.validate_only {
        note("checked; nothing was started");
        return answer(session.format(), &Migration::from(&started), || text_of(&started));
    }
    let is_over = arguments.detach || has_ended(started.phase());
    let migration = if is_over {
        started
    } else {
        note(&format!("migration {}", started.migration_id));
        let mut display = Display::new(session);
        let id = &started.migration_id;
        follow(session, &connection, id, arguments.retry_for, &mut display).await?
    };
    answer(session.format(), &Migration::from(&migration), || text_of(&migration))?;
    if arguments.detach { Ok(()) } else { outcome(&migration) }
}

/// Starts a migration, or finds the one that this request id started before.
pub(super) async fn start(
    connection: &Connection,
    patience: Patience,
    request: v1::MigrateRequest,
) -> Result<v1::Migration, Box<Verdict>> {
    let effect = if request.validate_only { Effect::Reads } else { Effect::Writes };
    let response = connection
        .call_patiently(patience, effect, request, |request| {
            let mut client = connection.migrations();
            async move { client.migrate(request).await }
        })
        .await?;
    Ok(response.migration.unwrap_or_default())
}
