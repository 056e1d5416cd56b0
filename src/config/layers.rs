//! Where settings come from: a file, the environment over it, flags over that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::domain::InvalidValue;
use crate::telemetry::logs::LogFormat;

/// `STREAMGATE_PROXY__APPEND_TIMEOUT=5s` sets `proxy.append_timeout`. Without the two underscores
/// a variable is none of these.
const PREFIX: &str = "STREAMGATE_";
const SEPARATOR: &str = "__";

/// The text of the sources. Reading them is the binary's.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The name of the file, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    pub environment: Vec<(String, String)>,
    pub flags: Overrides,
}

/// What flags can set.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub listen: Option<SocketAddr>,
    pub http_listen: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
    pub insecure: bool,
    pub log_format: Option<LogFormat>,
    pub log_filter: Option<String>,
}

/// All layers as one tree, and which settings did not come from the file.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) table: Table,
    origins: BTreeMap<String, String>,
}

impl Merged {
    pub(super) fn of(layers: Layers, faults: &mut Vec<InvalidValue>) -> Self {
        let mut merged = Self::default();
        if let Some((path, text)) = layers.file {
            match text.parse() {
                Ok(table) => merged.table = table,
                Err(error) => {
                    let error: toml::de::Error = error;
                    let path = path.display().to_string();
                    faults.push(InvalidValue::new(path, error.to_string().trim_end()));
                }
            }
        }
        for (name, text) in layers.environment {
            let Some(path) = setting_of(&name) else { continue };
            if path[0] == "stores" || path[0] == "placement" {
                faults.push(InvalidValue::new(name, "lists are set in the file alone"));
                continue;
            }
            let value = value_of(&text);
            merged.set(&path, value, &name, faults);
        }
        for (path, value, flag) in flags(layers.flags) {
            merged.set(&path.map(str::to_owned), value, flag, faults);
        }
        merged
    }

    /// The origin of a setting that the file did not set.
    pub(super) fn origin(&self, path: &str) -> Option<&str> {
        self.origins.get(path).map(String::as_str)
    }

    fn set(&mut self, path: &[String], value: Value, origin: &str, faults: &mut Vec<InvalidValue>) {
        let (last, parents) = path.split_last().expect("a path has a name");
        let mut table = &mut self.table;
        for parent in parents {
            let entry = table.entry(parent.clone()).or_insert_with(|| Table::new().into());
            match entry {
                Value::Table(inner) => table = inner,
                _ => {
                    let problem = format!("{parent} holds no settings of its own");
                    faults.push(InvalidValue::new(origin, problem));
                    return;
                }
            }
        }
        table.insert(last.clone(), value);
        self.origins.insert(path.join("."), origin.to_owned());
    }
}

fn setting_of(variable: &str) -> Option<Vec<String>> {
    let path = variable.strip_prefix(PREFIX)?;
    if !path.contains(SEPARATOR) {
        return None;
    }
    Some(path.split(SEPARATOR).map(str::to_lowercase).collect())
}

/// As TOML reads it, else as plain text: `true` and `20` need no quotes, and `5s` none either.
fn value_of(text: &str) -> Value {
    let parsed: Option<Table> = format!("value = {text}").parse().ok();
    let value = parsed.and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn flags(flags: Overrides) -> impl Iterator<Item = ([&'static str; 2], Value, &'static str)> {
    let Overrides { listen, http_listen, data_dir, insecure, log_format, log_filter } = flags;
    let text = |value: Option<String>| value.map(Value::String);
    let data_dir = data_dir.map(|path| path.to_string_lossy().into_owned());
    [
        (["server", "listen"], text(listen.map(|it| it.to_string())), "--listen"),
        (["server", "http_listen"], text(http_listen.map(|it| it.to_string())), "--http-listen"),
        (["server", "data_dir"], text(data_dir), "--data-dir"),
        (["server", "insecure"], insecure.then_some(Value::Boolean(true)), "--insecure"),
        (["log", "format"], text(log_format.map(|it| it.to_string())), "--log-format"),
        (["log", "filter"], text(log_filter), "--log-filter"),
    ]
    .into_iter()
    .filter_map(|(path, value, flag)| value.map(|value| (path, value, flag)))
}
