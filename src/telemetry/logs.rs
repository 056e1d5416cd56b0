//! Where log lines go and what they look like. Always stderr: stdout is for data.

use std::fmt;
use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::domain::InvalidValue;

/// For whom lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line of text an entry.
    #[default]
    Human,
    /// One JSON object an entry, with its fields and those of its spans.
    Json,
}

/// What is written, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogOptions {
    pub format: LogFormat,
    /// As `info` or `warn,streamgate::migration=debug`.
    pub filter: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info,fjall=warn,lsm_tree=warn".into() }
    }
}

/// Somebody else set the process's log up before.
#[derive(Debug, thiserror::Error)]
#[error("the log of this process is set up already")]
pub struct AlreadySetUp;

impl LogOptions {
    pub fn check(&self) -> Result<(), InvalidValue> {
        let parsed = EnvFilter::try_new(&self.filter).map(drop);
        parsed.map_err(|error| InvalidValue::new("filter", error.to_string()))
    }

    /// Sets the log of the whole process up. Called once, by the binary.
    pub fn set_up(&self) -> Result<(), AlreadySetUp> {
        let filter = EnvFilter::new(&self.filter);
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let done = match self.format {
            LogFormat::Human => {
                let to_person = std::io::stderr().is_terminal();
                lines.with_ansi(to_person).with_target(false).try_init()
            }
            LogFormat::Json => lines.json().flatten_event(true).try_init(),
        };
        done.map_err(|_| AlreadySetUp)
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl std::str::FromStr for LogFormat {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(InvalidValue::new("format", "must be human or json")),
        }
    }
}
