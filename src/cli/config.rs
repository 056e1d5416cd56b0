//! `config check` and `config show`: settings without serving anything.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::failure::{Failure, with_causes};
use super::output::{Format, Output, answer};
use super::serve::check_files;
use super::session::Session;
use super::settings::SettingsArguments;
use crate::app::{OpenError, Resources};
use crate::domain::StoreName;
use crate::runtime::Runtime;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Name every fault of the settings; exit code 64 when there is one.
    Check(CheckArguments),
    /// Print the settings that are in force, as a file would hold them.
    Show(Arguments),
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Read the files of certificates and open every store as `serve` would, and say of each
    /// store what is missing.
    #[arg(long)]
    connect: bool,
}

#[derive(Serialize)]
struct Checked {
    stores: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    opened: Vec<Opened>,
}

/// Whether one store opens.
#[derive(Serialize)]
struct Opened {
    store: String,
    opens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Opened {
    fn of(store: &StoreName, outcome: &Result<(), OpenError>) -> Self {
        let error = outcome.as_ref().err();
        Self {
            store: store.to_string(),
            opens: error.is_none(),
            class: error.map(|error| error.class().label()),
            problem: error.map(|error| with_causes(error)),
        }
    }

    fn text(&self) -> String {
        let problem = self.problem.as_deref().unwrap_or("opens");
        format!("{:<10} {problem}", self.store)
    }
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(arguments) => {
            let config = arguments.settings.load()?;
            let stores = config.stores.iter().map(|store| store.name.to_string()).collect();
            if arguments.connect {
                check_files(&config)?;
            }
            let found = match arguments.connect {
                true => Resources::look(&config, &Runtime::system()).await,
                false => Vec::new(),
            };
            let opened = found.iter().map(|(store, outcome)| Opened::of(store, outcome)).collect();
            let checked = Checked { stores, opened };
            answer(session.format(), &checked, || {
                let stores = checked.stores.join(", ");
                let mut lines = vec![format!("The configuration is sound. Stores: {stores}.")];
                lines.extend(checked.opened.iter().map(Opened::text));
                lines.join("\n")
            })?;
            check_opened(&found)
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

/// Ends as `serve` would: by what keeps the first store from opening.
fn check_opened(found: &[(StoreName, Result<(), OpenError>)]) -> Result<(), Failure> {
    let errors: Vec<&OpenError> =
        found.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let text = format!("{} of {} stores cannot be used", errors.len(), found.len());
    Err(Failure::Start { text, class: first.class() })
}
