//! Names of keys and channels. A cluster places a key by what stands between its first braces, so
//! whatever one script touches has the same text there.

use std::sync::Arc;

use crate::domain::ObjectKey;

/// The names of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// A key of one object: `prefix:{name/id}:kind`. Those of different objects and of different
    /// kinds are different, whatever an id holds: a kind has no brace, so the last one ends the
    /// object.
    pub fn of_object(&self, object: &ObjectKey, kind: &str) -> String {
        format!("{}:{{{object}}}:{kind}", self.prefix)
    }

    /// A channel or key of the whole deployment: `prefix:kind`.
    pub fn of_deployment(&self, kind: &str) -> String {
        format!("{}:{kind}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_of_an_object_share_their_slot_and_no_two_are_equal() {
        let keys = Keys::new("streamgate:1");
        let order = |id: &str| ObjectKey::new("order", id).unwrap();
        assert_eq!(keys.of_object(&order("7"), "lock"), "streamgate:1:{order/7}:lock");
        let ids = ["7", "7}", "7}:lock", "{7", "7}:pause", "}", "a/b", ":"];
        let mut seen = HashSet::new();
        for id in ids {
            let of = |kind| keys.of_object(&order(id), kind);
            let (lock, pause) = (of("lock"), of("pause"));
            let hashed = |key: &str| {
                let (_, rest) = key.split_once('{').unwrap();
                rest.split_once('}').unwrap().0.to_owned()
            };
            assert_eq!(hashed(&lock), hashed(&pause), "{id}");
            assert!(!hashed(&lock).is_empty(), "{id}: nothing to place it by");
            assert!(seen.insert(lock) && seen.insert(pause), "{id}");
        }
    }
}
