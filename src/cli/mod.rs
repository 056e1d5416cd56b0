//! The command line: a gRPC client like any other, one file a command.
//!
//! Data goes to stdout, everything else to stderr. Reading order: [`exit`], [`failure`],
//! [`session`], [`trust`], [`line`], [`connection`], then the commands.

mod append;
mod completions;
mod config;
mod connection;
mod demo;
mod event_line;
mod exit;
mod failure;
mod health;
mod import;
mod line;
mod migrate;
mod migrations;
mod object_path;
mod objects;
mod output;
mod present;
mod read;
mod serve;
mod session;
mod settings;
mod trust;
mod values;
mod verdict;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;
use self::session::{Globals, Session};

/// A gRPC proxy in front of event stores that moves streams while they are written.
#[derive(Parser)]
#[command(name = "streamgate", version, after_help = exit::HELP, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a proxy until it is told to stop.
    Serve(serve::Arguments),
    /// Append one event to an object.
    Append(append::Arguments),
    /// Read the history of an object as JSON lines.
    Read(read::Arguments),
    /// Append the events of a file of JSON lines.
    Import(import::Arguments),
    /// List objects, or show where one lives.
    #[command(subcommand)]
    Objects(objects::Command),
    /// Move objects to another store while applications write.
    Migrate(migrate::Arguments),
    /// List, show and steer migrations.
    #[command(subcommand)]
    Migrations(migrations::Command),
    /// Ask a server whether it serves: exit code 0 when it does.
    Health(health::Arguments),
    /// Look at the settings of a server without starting it.
    #[command(subcommand)]
    Config(config::Command),
    /// Move live objects under load on a real server and prove that nothing was lost.
    Demo(demo::Arguments),
    /// Print the completions of a shell.
    Completions(completions::Arguments),
}

impl Command {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Serve(arguments) => serve::run(session, arguments).await,
            Self::Append(arguments) => append::run(session, arguments).await,
            Self::Read(arguments) => read::run(session, arguments).await,
            Self::Import(arguments) => import::run(session, arguments).await,
            Self::Objects(command) => objects::run(session, command).await,
            Self::Migrate(arguments) => migrate::run(session, arguments).await,
            Self::Migrations(command) => migrations::run(session, command).await,
            Self::Health(arguments) => health::run(session, arguments).await,
            Self::Config(command) => config::run(session, command).await,
            Self::Demo(arguments) => demo::run(session, arguments).await,
            Self::Completions(arguments) => completions::run(&arguments),
        }
    }
}

/// Runs one command line, from its arguments to its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help asked for is data and ends well; clap knows which stream it belongs to.
            _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let session = Session::new(arguments.globals);
    let threads = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(threads) => threads,
        Err(error) => return Failure::local("start threads", error).report(&session),
    };
    let ended = threads.block_on(arguments.command.run(&session));
    // A thread may still wait for a line on stdin, and nobody waits for that thread.
    threads.shutdown_background();
    match ended {
        Ok(()) => exit::Exit::Done.into(),
        Err(failure) => failure.report(&session),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = Arguments::command().render_help().to_string();
        for exit in exit::Exit::ALL {
            assert!(help.contains(&format!("  {:<3} ", exit.code())), "{exit:?} in {help}");
        }
    }
}
