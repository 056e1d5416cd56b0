//! `[[stores]]`: the named backends. `name` and `kind` come first; the rest belongs to the kind.

use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::{Table, Value};

use super::sections::Parser;
use crate::backends::memory::MemoryOptions;
use crate::domain::StoreName;

/// A store as it is configured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoreSettings {
    pub name: StoreName,
    #[serde(flatten)]
    pub kind: StoreKind,
}

/// What kind of store, and what can be set of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StoreKind {
    /// Nothing survives the process.
    Memory(MemoryOptions),
    /// Durable, in a folder of this machine.
    Embedded { path: PathBuf },
}

impl StoreSettings {
    /// The store of a deployment that configures none.
    pub(super) fn only_one(data_dir: &Path) -> Self {
        let name = Self::usual_name();
        let path = data_dir.join(name.as_str());
        Self { name, kind: StoreKind::Embedded { path } }
    }

    pub(super) fn usual_name() -> StoreName {
        StoreName::new("main").expect("the usual name is well formed")
    }

    pub(super) fn parse(
        parser: &mut Parser<'_>,
        path: &str,
        mut table: Table,
        data_dir: &Path,
    ) -> Option<Self> {
        let name = match table.remove("name") {
            Some(name) => parser.store(&format!("{path}.name"), name),
            None => {
                parser.fault(&format!("{path}.name"), "must be given");
                None
            }
        };
        let kind = match table.remove("kind") {
            Some(Value::String(kind)) if kind == "memory" => {
                Some(StoreKind::Memory(parser.options(path, table)))
            }
            Some(Value::String(kind)) if kind == "embedded" => {
                embedded(parser, path, table, name.as_ref(), data_dir)
            }
            Some(_) | None => {
                let problem = "must be one of memory, embedded";
                parser.fault(&format!("{path}.kind"), problem);
                None
            }
        };
        Some(Self { name: name?, kind: kind? })
    }
}

fn embedded(
    parser: &mut Parser<'_>,
    path: &str,
    mut table: Table,
    name: Option<&StoreName>,
    data_dir: &Path,
) -> Option<StoreKind> {
    let folder = match table.remove("path") {
        Some(Value::String(folder)) if !folder.is_empty() => Some(PathBuf::from(folder)),
        Some(_) => {
            parser.fault(&format!("{path}.path"), "must be the path of a folder");
            None
        }
        None => name.map(|name| data_dir.join(name.as_str())),
    };
    for setting in table.keys() {
        parser.fault(&format!("{path}.{setting}"), "an embedded store has no such setting");
    }
    folder.map(|path| StoreKind::Embedded { path })
}
