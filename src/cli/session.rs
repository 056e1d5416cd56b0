//! What every command knows: the server, the form of the output, how long to wait, the machine.

use std::time::Duration;

use clap::Args;

use super::output::Format;
use super::trust::Trust;
use super::values::parse_duration;
use crate::runtime::Runtime;

/// The options that every command takes.
#[derive(Args, Clone)]
#[command(next_display_order = 1000)]
pub(crate) struct Globals {
    /// The server to talk to; https:// for one that is encrypted.
    #[arg(long, global = true, value_name = "URL", env = "STREAMGATE_SERVER")]
    #[arg(default_value = "http://127.0.0.1:7400")]
    server: String,
    /// The form of data on stdout and of errors on stderr [default: text; `read`: json].
    #[arg(long, global = true, value_enum)]
    output: Option<Format>,
    /// The longest that one call may take with all its repeats, as 500ms, 30s or 2m.
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "30s")]
    timeout: Duration,
    /// Answer yes to every question.
    #[arg(long, global = true)]
    yes: bool,
    #[command(flatten)]
    trust: Trust,
}

/// One run of the command line.
pub(crate) struct Session {
    pub(crate) server: String,
    output: Option<Format>,
    pub(crate) timeout: Duration,
    pub(crate) yes: bool,
    pub(crate) trust: Trust,
    pub(crate) runtime: Runtime,
}

impl Session {
    pub(crate) fn new(globals: Globals) -> Self {
        let Globals { server, output, timeout, yes, trust } = globals;
        Self { server, output, timeout, yes, trust, runtime: Runtime::system() }
    }

    /// The form that was asked for, else text.
    pub(crate) fn format(&self) -> Format {
        self.format_or(Format::Text)
    }

    pub(crate) fn format_or(&self, usual: Format) -> Format {
        self.output.unwrap_or(usual)
    }
}
