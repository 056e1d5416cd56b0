//! `[[stores]]`: the named backends. `name` and `kind` come first; the rest belongs to the kind.

use std::path::Path;

use serde::Serialize;
#[cfg(any(feature = "azure_blob", feature = "cosmos", feature = "s3"))]
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::sections::Parser;
#[cfg(feature = "azure_blob")]
use crate::backends::azure_blob::AzureBlobOptions;
#[cfg(feature = "cosmos")]
use crate::backends::cosmos::CosmosOptions;
#[cfg(feature = "embedded")]
use crate::backends::embedded::EmbeddedOptions;
use crate::backends::memory::MemoryOptions;
#[cfg(feature = "postgres")]
use crate::backends::postgres::PostgresOptions;
#[cfg(feature = "s3")]
use crate::backends::s3::S3Options;
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
    /// A container of an Azure storage account.
    #[cfg(feature = "azure_blob")]
    AzureBlob(Box<AzureBlobOptions>),
    /// A container at Azure Cosmos DB.
    #[cfg(feature = "cosmos")]
    Cosmos(CosmosOptions),
    /// Nothing survives the process.
    Memory(MemoryOptions),
    /// Durable, in a folder of this machine.
    #[cfg(feature = "embedded")]
    Embedded(EmbeddedOptions),
    /// A schema of a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresOptions>),
    /// A bucket of S3, or of what speaks it.
    #[cfg(feature = "s3")]
    S3(Box<S3Options>),
}

/// The kinds that there are, each with whether this build has it.
const KINDS: &[(&str, bool)] = &[
    ("azure_blob", cfg!(feature = "azure_blob")),
    ("cosmos", cfg!(feature = "cosmos")),
    ("embedded", cfg!(feature = "embedded")),
    ("memory", true),
    ("postgres", cfg!(feature = "postgres")),
    ("s3", cfg!(feature = "s3")),
];

fn unknown_kind() -> String {
    let those =
        |built| KINDS.iter().filter(move |kind| kind.1 == built).map(|kind| kind.0).collect();
    let (known, left_out): (Vec<&str>, Vec<&str>) = (those(true), those(false));
    let known = known.join(", ");
    if left_out.is_empty() {
        return format!("must be one of {known}");
    }
    format!("must be one of {known} (this build was made without {})", left_out.join(", "))
}

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
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(options) => Some(&options.path),
            _ => None,
        }
    }

    /// Whether other proxies can open it beside this one.
    pub fn is_shared(&self) -> bool {
        match &self.kind {
            StoreKind::Memory(_) => false,
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(_) => false,
            #[cfg(feature = "azure_blob")]
            StoreKind::AzureBlob(_) => true,
            #[cfg(feature = "cosmos")]
            StoreKind::Cosmos(_) => true,
            #[cfg(feature = "postgres")]
            StoreKind::Postgres(_) => true,
            #[cfg(feature = "s3")]
            StoreKind::S3(_) => true,
        }
    }

    /// Where its data lies, if it outlives the process.
    pub fn place(&self) -> Option<String> {
        match &self.kind {
            StoreKind::Memory(_) => None,
            #[cfg(feature = "azure_blob")]
            StoreKind::AzureBlob(options) => Some(options.place()),
            #[cfg(feature = "cosmos")]
            StoreKind::Cosmos(options) => Some(options.place()),
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(options) => Some(options.path.display().to_string()),
            #[cfg(feature = "postgres")]
            StoreKind::Postgres(options) => Some(options.place()),
            #[cfg(feature = "s3")]
            StoreKind::S3(options) => Some(options.place()),
        }
    }

    fn lies_where(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            // Its place is shown without the URL, which may hold a password.
            #[cfg(feature = "postgres")]
            (StoreKind::Postgres(one), StoreKind::Postgres(other)) => {
                one.url == other.url && one.schema == other.schema
            }
            _ => self.place().is_some() && self.place() == other.place(),
        }
    }

    /// The setting that a place is named by last.
    const fn place_field(&self) -> &'static str {
        match &self.kind {
            #[cfg(feature = "azure_blob")]
            StoreKind::AzureBlob(_) => "prefix",
            #[cfg(feature = "cosmos")]
            StoreKind::Cosmos(_) => "container",
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(_) => "path",
            #[cfg(feature = "postgres")]
            StoreKind::Postgres(_) => "schema",
            #[cfg(feature = "s3")]
            StoreKind::S3(_) => "prefix",
            StoreKind::Memory(_) => "kind",
        }
    }

    /// What is wrong with the settings of its kind.
    pub(super) fn faults(&self) -> Vec<InvalidValue> {
        match &self.kind {
            StoreKind::Memory(_) => Vec::new(),
            #[cfg(feature = "azure_blob")]
            StoreKind::AzureBlob(options) => options.check(),
            #[cfg(feature = "cosmos")]
            StoreKind::Cosmos(options) => options.check(),
            #[cfg(feature = "embedded")]
            StoreKind::Embedded(options) => options.check(),
            #[cfg(feature = "postgres")]
            StoreKind::Postgres(options) => options.check(),
            #[cfg(feature = "s3")]
            StoreKind::S3(options) => options.check(),
        }
    }

    /// What no two stores may share.
    pub(super) fn shared_with(&self, others: &[Self]) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        if others.iter().any(|other| other.name == self.name) {
            let problem = format!("another store is named {} already", self.name);
            faults.push(InvalidValue::new("name", problem));
        }
        if let Some(place) = self.place()
            && others.iter().any(|other| self.lies_where(other))
        {
            let problem = format!("another store lies in {place} already");
            faults.push(InvalidValue::new(self.place_field(), problem));
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
            #[cfg(feature = "azure_blob")]
            Some(Value::String(kind)) if kind == "azure_blob" => {
                let names = ["endpoint", "container"];
                let options = named::<AzureBlobOptions>(parser, path, table, &names);
                options.map(Box::new).map(StoreKind::AzureBlob)
            }
            #[cfg(feature = "postgres")]
            Some(Value::String(kind)) if kind == "postgres" => postgres(parser, path, table),
            #[cfg(feature = "s3")]
            Some(Value::String(kind)) if kind == "s3" => {
                let options = named::<S3Options>(parser, path, table, &["bucket"]);
                options.map(Box::new).map(StoreKind::S3)
            }
            #[cfg(feature = "cosmos")]
            Some(Value::String(kind)) if kind == "cosmos" => {
                let names = ["endpoint", "database", "container", "region"];
                named::<CosmosOptions>(parser, path, table, &names).map(StoreKind::Cosmos)
            }
            #[cfg(feature = "embedded")]
            Some(Value::String(kind)) if kind == "embedded" => {
                embedded(parser, path, table, name.as_ref(), data_dir)
            }
            Some(_) | None => {
                parser.fault(&format!("{path}.kind"), &unknown_kind());
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

/// The options of a kind whose place has no default: these names must be told.
#[cfg(any(feature = "azure_blob", feature = "cosmos", feature = "s3"))]
fn named<T: DeserializeOwned>(
    parser: &mut Parser<'_>,
    path: &str,
    mut table: Table,
    names: &[&str],
) -> Option<T> {
    let mut base = Table::new();
    let mut complete = true;
    for name in names {
        let told = table.remove(*name);
        let problem = match &told {
            Some(Value::String(_)) => None,
            Some(_) => Some("must be text"),
            None => Some("must be given"),
        };
        if let Some(problem) = problem {
            parser.fault(&format!("{path}.{name}"), problem);
            complete = false;
        }
        // A name that is not known yet must not hide the faults of the rest.
        let told = told.filter(Value::is_str).unwrap_or_else(|| Value::String("?".into()));
        base.insert((*name).to_owned(), told);
    }
    let options = parser.options_over(path, base, table);
    options.filter(|_| complete)
}

/// A URL that is not known must not hide the faults of the rest.
#[cfg(feature = "postgres")]
fn postgres(parser: &mut Parser<'_>, path: &str, table: Table) -> Option<StoreKind> {
    let is_known = table.contains_key("url");
    if !is_known {
        parser.fault(&format!("{path}.url"), "must be given: postgres://user@host/database");
    }
    let base = Table::from_iter([("url".to_owned(), Value::String("unknown".into()))]);
    let options = parser.options_over(path, base, table);
    options.filter(|_| is_known).map(Box::new).map(StoreKind::Postgres)
}
