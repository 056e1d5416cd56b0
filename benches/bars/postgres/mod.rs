//! PostgreSQL behind the proxy beside applications that talk to it themselves.
//!
//! Needs a server, in `STREAMGATE_TEST_POSTGRES_URL`. Both sides use one database of it, made for
//! the run and dropped after it.
//!
//! Reading order: [`plain`] (what others do), [`appends`], [`copies`].

mod appends;
mod copies;
mod plain;

use std::sync::Arc;

use crate::report::{Report, Verdict};
use crate::served::{self, FIRST, SECOND, Served};
use crate::{Bench, Failure};
use plain::Database;

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
    format!(
        "{server}\
         [[stores]]\nname = '{FIRST}'\nkind = 'postgres'\nurl = '{url}'\nschema = '{FIRST}'\n\
         [[stores]]\nname = '{SECOND}'\nkind = 'postgres'\nurl = '{url}'\nschema = '{SECOND}'\n\
         [[stores]]\nname = '{ON_DISK}'\nkind = 'embedded'\n"
    )
}
