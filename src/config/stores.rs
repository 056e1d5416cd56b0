//! `[[stores]]`: the named backends. `name` and `kind` come first; the rest belongs to the kind.

use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::sections::Parser;
#[cfg(feature = "embedded")]
use crate::backends::embedded::EmbeddedOptions;
use crate::backends::memory::MemoryOptions;
use crate::domain::{InvalidValue, StoreName};

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
    #[cfg(feature = "embedded")]
    Embedded(EmbeddedOptions),
}

/// The kinds that this build has.
#[cfg(feature = "embedded")]
const KINDS: &str = "embedded, memory";
#[cfg(not(feature = "embedded"))]
const KINDS: &str = "memory (this build was made without the feature embedded)";

impl StoreSettings {
    /// The store of a deployment that configures none.
    pub(super) fn only_one(data_dir: &Path) -> Self {
        let name = Self::usual_name();
        #[cfg(feature = "embedded")]
        let kind = StoreKind::Embedded(EmbeddedOptions::at(data_dir.join(name.as_str())));
        #[cfg(not(feature = "embedded"))]
        let (kind, _) = (StoreKind::Memory(MemoryOptions::default()), data_dir);
        Self { name, kind }
    }

    /// The folder that holds the store, if one does.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            StoreKind::Memory(_) => None,
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(options) => Some(&options.path),
        }
    }

    /// What is wrong with the settings of its kind.
    pub(super) fn faults(&self) -> Vec<InvalidValue> {
        match &self.kind {
            StoreKind::Memory(_) => Vec::new(),
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(options) => options.check(),
        }
    }

    /// What no two stores may share.
    pub(super) fn shared_with(&self, others: &[Self]) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        if others.iter().any(|other| other.name == self.name) {
            let problem = format!("another store is named {} already", self.name);
            faults.push(InvalidValue::new("name", problem));
        }
        let folder = self.folder();
        if let Some(folder) = folder
            && others.iter().any(|other| other.folder() == Some(folder))
        {
            let problem = format!("another store lies in {} already", folder.display());
            faults.push(InvalidValue::new("path", problem));
        }
        faults
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
            #[cfg(feature = "embedded")]
            Some(Value::String(kind)) if kind == "embedded" => {
                embedded(parser, path, table, name.as_ref(), data_dir)
            }
            Some(_) | None => {
                parser.fault(&format!("{path}.kind"), &format!("must be one of {KINDS}"));
                None
            }
        };
        Some(Self { name: name?, kind: kind? })
    }
}

/// Without a path the store lies in a folder of its own name.
#[cfg(feature = "embedded")]
fn embedded(
    parser: &mut Parser<'_>,
    path: &str,
    mut table: Table,
    name: Option<&StoreName>,
    data_dir: &Path,
) -> Option<StoreKind> {
    let folder = match table.remove("path") {
        Some(Value::String(folder)) => Some(folder),
        Some(_) => {
            parser.fault(&format!("{path}.path"), "must be the path of a folder");
            None
        }
        None => name.map(|name| data_dir.join(name.as_str()).to_string_lossy().into_owned()),
    };
    // A folder that is not known yet must not hide the faults of the rest.
    let known = folder.clone().unwrap_or_else(|| ".".into());
    let base = Table::from_iter([("path".to_owned(), Value::String(known))]);
    let options = parser.options_over(path, base, table);
    folder.and(options).map(StoreKind::Embedded)
}
