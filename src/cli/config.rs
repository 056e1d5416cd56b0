//! `config check` and `config show`: settings without serving anything.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::failure::{Failure, with_causes};
use super::output::{Format, Output, answer};
use super::serve::check_files;
use super::session::Session;
use super::settings::SettingsArguments;
use crate::app::{Findings, OpenError, Resources};
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
    /// Read the files of certificates, open every store as `serve` would, and try Redis if it is
    /// named; say of each what is missing.
    #[arg(long)]
    connect: bool,
}

#[derive(Serialize)]
struct Checked {
    stores: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    opened: Vec<Opened>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<Tried>,
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

/// Whether Redis can be used as the settings say.
#[derive(Serialize)]
struct Tried {
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Tried {
    fn of(outcome: &Result<(), OpenError>) -> Self {
        let problem = outcome.as_ref().err();
        Self {
            usable: problem.is_none(),
            class: problem.map(|problem| problem.class().label()),
            problem: problem.map(|problem| with_causes(problem)),
        }
    }

    fn text(&self) -> String {
        format!("{:<10} {}", "redis", self.problem.as_deref().unwrap_or("can be used"))
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
                false => Findings { stores: Vec::new(), redis: None },
            };
            let opened = found.stores.iter();
            let opened = opened.map(|(store, outcome)| Opened::of(store, outcome)).collect();
            let redis = found.redis.as_ref().map(Tried::of);
            let checked = Checked { stores, opened, redis };
            answer(session.format(), &checked, || {
                let stores = checked.stores.join(", ");
                let mut lines = vec![format!("The configuration is sound. Stores: {stores}.")];
                lines.extend(checked.opened.iter().map(Opened::text));
                lines.extend(checked.redis.iter().map(Tried::text));
                lines.join("\n")
            })?;
            check_found(&found)
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

/// Ends as `serve` would: by what keeps the first store from opening; else by what is missing of
/// Redis, without which `serve` starts and nothing moves.
fn check_found(found: &Findings) -> Result<(), Failure> {
    let errors = found.stores.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
    let errors: Vec<&OpenError> = errors.collect();
    if let Some(first) = errors.first() {
        let text = format!("{} of {} stores cannot be used", errors.len(), found.stores.len());
        return Err(Failure::Start { text, class: first.class() });
    }
    match &found.redis {
        Some(Err(problem)) => {
            let text = "redis cannot be used".to_owned();
            Err(Failure::Start { text, class: problem.class() })
        }
        Some(Ok(())) | None => Ok(()),
    }
}
