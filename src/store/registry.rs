//! The named stores of a deployment, and the rules that place new objects in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EventStore, Wakeups, Watch};
use crate::domain::{ObjectName, StoreName, StreamAddress};

/// A name that no configured store bears.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no store is named {store}; there are: {}", known.join(", "))]
pub struct UnknownStore {
    pub store: String,
    pub known: Vec<String>,
}

/// The event stores by their configured names, each behind its wrappers.
#[derive(Clone, Default)]
pub struct Stores {
    stores: Arc<BTreeMap<StoreName, Arc<dyn EventStore>>>,
    wakeups: Wakeups,
}

impl Stores {
    /// `wakeups` are those that the stores tell of what they do.
    pub fn new(stores: BTreeMap<StoreName, Arc<dyn EventStore>>, wakeups: Wakeups) -> Self {
        Self { stores: Arc::new(stores), wakeups }
    }

    /// Wakes from now on when the stream changes.
    pub fn watch(&self, stream: &StreamAddress) -> Watch {
        self.wakeups.watch(stream)
    }

    /// Wakes whoever watches a stream that others changed.
    pub fn changed(&self, stream: &StreamAddress) {
        self.wakeups.changed(stream);
    }

    /// Wakes whoever watches any stream: something may have been missed.
    pub fn all_changed(&self) {
        self.wakeups.all_changed();
    }

    pub fn get(&self, name: &StoreName) -> Result<&Arc<dyn EventStore>, UnknownStore> {
        self.stores.get(name).ok_or_else(|| UnknownStore {
            store: name.to_string(),
            known: self.stores.keys().map(StoreName::to_string).collect(),
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&StoreName, &Arc<dyn EventStore>)> {
        self.stores.iter()
    }
}

/// Where a new object's first stream goes: the first rule that matches its name, else the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub rules: Vec<PlacementRule>,
    pub default: StoreName,
}

/// Objects of one name, or of all names with a prefix, are created in one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementRule {
    /// An object name, or a prefix of names followed by `*`.
    pub object_name: String,
    pub store: StoreName,
}

impl Placement {
    pub fn new(default: StoreName) -> Self {
        Self { rules: Vec::new(), default }
    }

    pub fn place(&self, name: &ObjectName) -> &StoreName {
        let matching = self.rules.iter().find(|rule| rule.matches(name));
        matching.map_or(&self.default, |rule| &rule.store)
    }
}

impl PlacementRule {
    fn matches(&self, name: &ObjectName) -> bool {
        match self.object_name.strip_suffix('*') {
            Some(prefix) => name.as_str().starts_with(prefix),
            None => self.object_name == name.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_places_an_object() {
        let store = |name: &str| StoreName::new(name).unwrap();
        let rule = |object_name: &str, name| PlacementRule {
            object_name: object_name.into(),
            store: store(name),
        };
        let placement = Placement {
            rules: vec![rule("crm.Order", "a"), rule("crm.*", "b")],
            default: store("c"),
        };
        for (name, expected) in [("crm.Order", "a"), ("crm.Customer", "b"), ("crmx", "c")] {
            assert_eq!(placement.place(&ObjectName::new(name).unwrap()).as_str(), expected);
        }
    }
}
