//! Sections into the options of their parts, with every fault of every setting named.
//!
//! Serde stops at the first fault, so each setting is tried alone first, on top of the defaults;
//! those that pass make the section.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::layers::Merged;
use super::stores::StoreSettings;
use super::{Config, DocumentSettings, Layers};
use crate::domain::{InvalidValue, ObjectName, StoreName};
use crate::store::PlacementRule;

/// A tree of settings on its way into options.
pub(super) struct Parser<'a> {
    merged: Merged,
    faults: &'a mut Vec<InvalidValue>,
}

/// Everything that could be read; what could not is in `faults`, and defaults stand in its place.
pub(super) fn parse(layers: Layers, faults: &mut Vec<InvalidValue>) -> Config {
    let merged = Merged::of(layers, faults);
    let mut parser = Parser { merged, faults };
    let server: super::ServerSettings = parser.section("server");
    let stores = parser.stores(&server.data_dir);
    let config = Config {
        documents: parser.documents(&stores),
        log: parser.section("log"),
        grpc: parser.section("grpc"),
        limits: parser.section("limits"),
        proxy: parser.section("proxy"),
        migration: parser.section("migration"),
        coordination: parser.section("coordination"),
        store_calls: parser.section("store_calls"),
        placement: parser.placement(&stores),
        stores,
        server,
    };
    parser.refuse_the_rest();
    config
}

impl Parser<'_> {
    fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        match self.merged.table.remove(name) {
            None => T::default(),
            Some(Value::Table(table)) => self.options(name, table),
            Some(_) => {
                self.fault(name, "must be a section");
                T::default()
            }
        }
    }

    /// The options that a table sets.
    pub(super) fn options<T: DeserializeOwned + Default>(&mut self, path: &str, table: Table) -> T {
        self.options_over(path, Table::new(), table).unwrap_or_default()
    }

    /// The options that a table sets beside `base`, without which there are none.
    pub(super) fn options_over<T: DeserializeOwned>(
        &mut self,
        path: &str,
        base: Table,
        table: Table,
    ) -> Option<T> {
        let is_sound = |setting: &Table| -> Result<(), toml::de::Error> {
            let mut alone = base.clone();
            merge(&mut alone, setting.clone());
            alone.try_into::<T>().map(drop)
        };
        let mut good = base.clone();
        for (names, value) in settings_of(table) {
            let name = format!("{path}.{}", names.join("."));
            let setting = nested(&names, value.clone());
            match is_sound(&setting) {
                Ok(()) => merge(&mut good, setting),
                Err(error) => {
                    // A number where text belongs may have been meant as text in the environment.
                    let text = text_of(&value).map(|text| nested(&names, text));
                    let is_from_file = self.merged.origin(&name).is_none();
                    match text.filter(|text| !is_from_file && is_sound(text).is_ok()) {
                        Some(text) => merge(&mut good, text),
                        None => self.fault(&name, error.message()),
                    }
                }
            }
        }
        let options = good.try_into::<T>();
        options.map_err(|error| self.fault(path, error.message())).ok()
    }

    fn stores(&mut self, data_dir: &Path) -> Vec<StoreSettings> {
        let Some(stores) = self.merged.table.remove("stores") else {
            return vec![StoreSettings::only_one(data_dir)];
        };
        let tables = self.tables("stores", stores);
        let known = self.faults.len();
        let mut stores: Vec<StoreSettings> = Vec::new();
        for (path, table) in tables {
            let Some(store) = StoreSettings::parse(self, &path, table, data_dir) else { continue };
            for fault in store.faults().into_iter().chain(store.shared_with(&stores)) {
                self.fault(&format!("{path}.{}", fault.field), &fault.problem);
            }
            stores.push(store);
        }
        if stores.is_empty() && self.faults.len() == known {
            self.fault("stores", "must name at least one store");
        }
        stores
    }

    fn documents(&mut self, stores: &[StoreSettings]) -> DocumentSettings {
        let mut table = match self.merged.table.remove("documents") {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                self.fault("documents", "must be a section");
                Table::new()
            }
        };
        let named = table.remove("store").and_then(|value| self.store("documents.store", value));
        if let Some(named) = &named {
            self.must_be_known("documents.store", named, stores);
        }
        for name in table.keys() {
            self.fault(&format!("documents.{name}"), "there is no such setting; there is: store");
        }
        // Without a store the configuration is refused in any case; any name will do until then.
        let first = stores.first().map(|store| store.name.clone());
        let store = named.or(first).unwrap_or_else(StoreSettings::usual_name);
        DocumentSettings { store }
    }

    pub(super) fn store(&mut self, path: &str, value: Value) -> Option<StoreName> {
        let Value::String(text) = value else {
            self.fault(path, "must be the name of a store");
            return None;
        };
        StoreName::new(text).map_err(|fault| self.fault(path, &fault.problem)).ok()
    }

    fn placement(&mut self, stores: &[StoreSettings]) -> Vec<PlacementRule> {
        let Some(rules) = self.merged.table.remove("placement") else { return Vec::new() };
        let mut parsed = Vec::new();
        for (path, table) in self.tables("placement", rules) {
            match table.try_into::<PlacementRule>() {
                Ok(rule) => {
                    self.must_be_known(&format!("{path}.store"), &rule.store, stores);
                    if !is_pattern(&rule.object_name) {
                        let problem = "must be an object name, or a prefix of one followed by *";
                        self.fault(&format!("{path}.object_name"), problem);
                    }
                    parsed.push(rule);
                }
                Err(error) => self.fault(&path, error.message()),
            }
        }
        parsed
    }

    fn must_be_known(&mut self, path: &str, named: &StoreName, stores: &[StoreSettings]) {
        // Stores that could not be read have faults of their own.
        if stores.is_empty() || stores.iter().any(|store| store.name == *named) {
            return;
        }
        let known: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
        let known = known.join(", ");
        self.fault(path, &format!("no store is named {named}; there are: {known}"));
    }

    /// The tables of a list, each with its path.
    fn tables(&mut self, name: &str, list: Value) -> Vec<(String, Table)> {
        let Value::Array(entries) = list else {
            self.fault(name, &format!("must be a list: [[{name}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let path = format!("{name}[{index}]");
            match entry {
                Value::Table(table) => tables.push((path, table)),
                _ => self.fault(&path, "must be a table"),
            }
        }
        tables
    }

    /// Every section that nobody asked for.
    fn refuse_the_rest(&mut self) {
        let known = "server, log, grpc, limits, documents, proxy, migration, coordination, \
                     store_calls, [[stores]], [[placement]]";
        let names: Vec<String> = self.merged.table.keys().cloned().collect();
        for name in names {
            self.fault(&name, &format!("there is no such section; there are: {known}"));
        }
    }

    pub(super) fn fault(&mut self, path: &str, problem: &str) {
        let problem = match self.merged.origin(path) {
            Some(origin) => format!("{problem} (set by {origin})"),
            None => problem.to_owned(),
        };
        self.faults.push(InvalidValue::new(path, problem));
    }
}

/// An object name, or a prefix of names followed by `*`.
fn is_pattern(text: &str) -> bool {
    let stem = text.strip_suffix('*').unwrap_or(text);
    text == "*" || ObjectName::new(stem).is_ok()
}

/// Every setting of a table with the names that lead to it.
fn settings_of(table: Table) -> Vec<(Vec<String>, Value)> {
    let mut settings = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                settings.extend(settings_of(inner).into_iter().map(|(mut names, value)| {
                    names.insert(0, name.clone());
                    (names, value)
                }));
            }
            value => settings.push((vec![name], value)),
        }
    }
    settings
}

fn nested(names: &[String], value: Value) -> Table {
    let (first, rest) = names.split_first().expect("a setting has a name");
    let value = if rest.is_empty() { value } else { nested(rest, value).into() };
    Table::from_iter([(first.clone(), value)])
}

fn merge(into: &mut Table, from: Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(more)) => merge(inner, more),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

fn text_of(value: &Value) -> Option<Value> {
    match value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
            Some(Value::String(value.to_string()))
        }
        Value::String(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
