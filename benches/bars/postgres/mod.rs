//! PostgreSQL behind the proxy beside applications that talk to it themselves.
//!
//! Needs a server, in `STREAMGATE_TEST_POSTGRES_URL`. Both sides use one database of it, made for
//! the run and dropped after it. `STREAMGATE_BARS_POSTGRES` may hold further settings of the two
//! stores there, as they stand in a file: `append_connections = 4`.
//!
//! Reading order: [`plain`] (what others do), [`appends`], [`copies`].

mod appends;
mod copies;
mod plain;

use std::sync::Arc;

use crate::report::{Report, Verdict};
use crate::served::{self, FIRST, SECOND, Served};
use crate::{Bench, Failure};
pub(crate) use plain::Database;

/// The store of the same proxy that is not at the server.
const ON_DISK: &str = "disk";

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let database = Arc::new(bench.clients.block_on(Database::make())?);
    report.row(
        "PostgreSQL of both sides",
        bench.clients.block_on(database.settings())?,
        "",
        "",
        "",
        Verdict::Shown,
    );
    let folder = served::folder()?;
    let settings = settings(&database, folder.path());
    let served = Served::start_with(folder, settings)?;
    let done = bench.clients.block_on(async {
        appends::run(bench, &database, &served, report).await?;
        copies::run(bench, &database, &served, report).await
    });
    drop(served);
    // What failed first is what matters.
    done.and(bench.clients.block_on(database.remove()))
}

fn settings(database: &Database, folder: &std::path::Path) -> String {
    let (server, url) = (served::server_settings(folder), database.url());
    let more = std::env::var("STREAMGATE_BARS_POSTGRES").unwrap_or_default();
    let at_server = |name| {
        format!(
            "[[stores]]\nname = '{name}'\nkind = 'postgres'\nurl = '{url}'\nschema = '{name}'\n\
             {more}\n"
        )
    };
    let (first, second) = (at_server(FIRST), at_server(SECOND));
    format!(
        "{server}{first}{second}\
         [[stores]]\nname = '{ON_DISK}'\nkind = 'embedded'\n"
    )
}
