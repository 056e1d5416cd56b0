//! `config check` and `config show`: settings without starting anything.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::failure::Failure;
use super::output::{Format, Output, answer};
use super::session::Session;
use super::settings::SettingsArguments;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Name every fault of the settings; exit code 64 when there is one.
    Check(Arguments),
    /// Print the settings that are in force, as a file would hold them.
    Show(Arguments),
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Serialize)]
struct Checked {
    stores: Vec<String>,
}

pub(crate) fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(arguments) => {
            let config = arguments.settings.load()?;
            let stores = config.stores.iter().map(|store| store.name.to_string()).collect();
            let checked = Checked { stores };
            answer(session.format(), &checked, || {
                format!("The configuration is sound. Stores: {}.", checked.stores.join(", "))
            })
        }
        Command::Show(arguments) => {
            let config = arguments.settings.load()?;
            let mut output = Output::stdout();
            match session.format() {
                Format::Text => output.bytes(config.to_toml().as_bytes())?,
                Format::Json => output.json(&config)?,
            }
            output.flush()
        }
    }
}
