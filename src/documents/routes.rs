//! The bounded cache of routes. A route is a hint: any proxy may hold any stale one, and a closed
//! stream makes it harmless (I7).

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::domain::{ObjectDocument, ObjectKey};

/// The newest document that this process has seen of each object, as far as they fit.
pub struct Routes {
    cache: Cache<ObjectKey, Arc<ObjectDocument>>,
}

impl Routes {
    pub fn new(entries_max: usize) -> Self {
        Self { cache: Cache::new(entries_max.max(1)) }
    }

    pub fn get(&self, object: &ObjectKey) -> Option<Arc<ObjectDocument>> {
        self.cache.get(object)
    }

    /// Keeps a document unless a newer one of the object is there already.
    pub fn learn(&self, document: ObjectDocument) -> Arc<ObjectDocument> {
        let known = self.cache.peek(&document.object);
        if let Some(known) = known.filter(|known| known.revision > document.revision) {
            return known;
        }
        let document = Arc::new(document);
        self.cache.insert(document.object.clone(), Arc::clone(&document));
        document
    }

    /// Forgets a document that is older than a revision that somebody saw.
    pub fn forget_before(&self, object: &ObjectKey, revision: u64) {
        if self.cache.peek(object).is_some_and(|known| known.revision < revision) {
            self.cache.remove(object);
        }
    }

    /// Puts a document in the place of an older one of its object. Where none is known, none is
    /// wanted.
    pub fn replace_before(&self, newer: &ObjectDocument) {
        if self.cache.peek(&newer.object).is_some_and(|known| known.revision < newer.revision) {
            self.cache.insert(newer.object.clone(), Arc::new(newer.clone()));
        }
    }

    pub fn forget(&self, object: &ObjectKey) {
        self.cache.remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{MigrationId, StoreName, Timestamp};

    #[test]
    fn an_older_document_does_not_replace_a_newer_one() {
        let routes = Routes::new(10);
        let object = ObjectKey::new("order", "1").unwrap();
        let store = StoreName::new("hot").unwrap();
        let older = ObjectDocument::new(object.clone(), store, Timestamp::EPOCH);
        let mut newer = older.clone();
        newer.release(MigrationId(uuid::Uuid::nil()));
        routes.learn(newer.clone());
        let even_older = older.clone();
        assert_eq!(*routes.learn(older.clone()), newer);
        assert_eq!(routes.get(&object).as_deref(), Some(&newer));
        routes.forget_before(&object, newer.revision);
        assert!(routes.get(&object).is_some());
        routes.forget_before(&object, newer.revision + 1);
        assert!(routes.get(&object).is_none());
        routes.replace_before(&newer);
        assert!(routes.get(&object).is_none(), "an object that nobody asked for takes no room");
        routes.learn(older);
        routes.replace_before(&newer);
        assert_eq!(routes.get(&object).as_deref(), Some(&newer));
        routes.replace_before(&even_older);
        assert_eq!(routes.get(&object).as_deref(), Some(&newer));
    }
}
