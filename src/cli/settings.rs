//! The settings of a server as the command line names them: a file, and flags over it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::config::{Config, ConfigFaults, Layers, Overrides};
use crate::domain::InvalidValue;
use crate::telemetry::logs::LogFormat;

#[derive(Args)]
pub(crate) struct SettingsArguments {
    /// The TOML file with the settings [default: none; config/default.toml shows them all].
    #[arg(long, value_name = "PATH", env = "STREAMGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Where gRPC is served [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where metrics and health are served over HTTP [default: 127.0.0.1:7401].
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<SocketAddr>,
    /// Where embedded stores lie that name no path [default: streamgate-data].
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
    /// Listen beyond this machine although nothing is encrypted.
    #[arg(long)]
    insecure: bool,
    /// For whom the log is written: human or json.
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    log_format: Option<LogFormat>,
    /// What is logged, as info or warn,streamgate::migration=debug.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

fn parse_format(text: &str) -> Result<LogFormat, String> {
    text.parse().map_err(|fault: InvalidValue| fault.problem)
}

impl SettingsArguments {
    /// Everything put together and checked; all faults at once.
    pub(crate) fn load(self) -> Result<Config, Failure> {
        let file = match self.config {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((path, text)),
                Err(error) => {
                    return Err(Failure::local(format!("read {}", path.display()), error));
                }
            },
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let flags = Overrides {
            listen: self.listen,
            http_listen: self.http_listen,
            data_dir: self.data_dir,
            insecure: self.insecure,
            log_format: self.log_format,
            log_filter: self.log_filter,
        };
        let assembled = Config::assemble(Layers { file, environment, flags });
        assembled.map_err(|ConfigFaults(faults)| Failure::Configuration {
            problems: faults.iter().map(InvalidValue::to_string).collect(),
        })
    }
}
