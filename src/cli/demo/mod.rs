//! `demo`: a real server, real clients that never pause, every object moved meanwhile, and a proof
//! from the outside.

mod display;
mod ledger;
mod movers;
mod next_steps;
mod proof;
mod redirects;
mod report;
mod server;
mod writers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use self::ledger::Ledger;
use self::report::Report;
use self::server::{Folder, Server};
use super::failure::Failure;
use super::output::{answer, note};
use super::session::Session;

const SOURCE: &str = "hot";
const TARGET: &str = "cold";

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many objects are written and moved.
    #[arg(long, value_name = "N", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    objects: u32,
    /// How many clients write, each on a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=512))]
    writers: u16,
    /// How long they write, at least; longer if the moves take longer.
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// The folder to work in, empty or new; it is kept [default: a fresh temporary one].
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
    /// Keep the temporary folder, to look at it afterwards.
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let folder = Folder::open(arguments.data_dir.as_deref(), arguments.keep)?;
    tokio::select! {
        biased;
        // Dropping the rest stops the server and removes the folder.
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        ended = play(session, &arguments, &folder) => ended,
    }
}

async fn play(session: &Session, arguments: &Arguments, folder: &Folder) -> Result<(), Failure> {
    let server = Server::start(session, folder).await?;
    note(&format!(
        "A server on {} keeps the stores {SOURCE} and {TARGET} in {}.\n\
         {} clients append to {} objects without pause while all of them move from {SOURCE} to \
         {TARGET}.",
        server.url(),
        folder.path().display(),
        arguments.writers,
        arguments.objects,
    ));
    let clock = &session.runtime.clock;
    let began = clock.monotonic();
    let ledger = Arc::new(Ledger::new(arguments.objects as usize));
    let writers = writers::start(session, server.url(), arguments.writers, &ledger)?;
    let mut display = display::Display::new(session, &ledger);
    let seconds = Duration::from_secs(arguments.seconds.into());

    let moves = movers::move_all(session, server.url(), &ledger, seconds);
    let enough = async {
        let moved = moves.await;
        let spent = clock.monotonic().saturating_sub(began);
        clock.sleep(seconds.saturating_sub(spent)).await;
        moved
    };
    let moved = tokio::select! {
        biased;
        moved = display.during(enough) => moved?,
        failure = redirects::watch(server.http(), &ledger, &**clock) => return Err(failure),
    };
    ledger.tell_writers_to_stop();
    let written = writers.ended().await?;
    redirects::look(server.http(), &ledger).await?;
    let wrote_for = clock.monotonic().saturating_sub(began);

    note("Reading everything back and comparing it with what was acknowledged.");
    let proof = proof::prove(session, server.url(), &ledger).await?;
    server.stop(session).await?;

    let report = Report::of(&ledger, moved, written, proof, wrote_for);
    answer(session.format(), &report, || report.text(arguments.writers))?;
    note(&next_steps::text(folder));
    report.verdict()
}
