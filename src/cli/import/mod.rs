//! `import`: JSON lines into objects, many in flight, the order of each object kept.
//!
//! Running it again is safe and is how it is resumed: every line carries its event id, so what is
//! there already is recognised (I8) and counted as replayed.

mod display;
mod lines;
mod queue;
mod sender;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::failure::Failure;
use super::session::Session;
use super::values::parse_duration;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The file, gzip or not; '-' is stdin.
    #[arg(default_value = "-")]
    path: PathBuf,
    /// How many appends are on their way at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Over how many connections.
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// Start at this line, counted from 1; those before it were imported by an earlier run.
    #[arg(long, value_name = "LINE", default_value_t = 1)]
    from_line: u64,
    /// How long to repeat a line that the server cannot take now.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    retry_for: Duration,
}

pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let source = lines::Source::open(&arguments.path)?;
    sender::send(session, &arguments, source).await
}
