//! The mark that every store carries: which deployment it belongs to, and under which name. Two
//! stores that were swapped, or one of another deployment, would serve the wrong history without
//! anybody noticing; so a store opens under no other name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::objects::{decode, encode};
use crate::documents::{DocumentError, DocumentKey, DocumentStore, Precondition};
use crate::domain::{ErrorClass, StoreName};
use crate::runtime::Entropy;

/// The document that each store keeps of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    deployment: Uuid,
    store: StoreName,
}

/// A store that is not the one it is taken for.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    #[error("the store configured as {configured} is marked as {found}; were two swapped?")]
    OtherName { configured: StoreName, found: StoreName },
    #[error(
        "store {store} belongs to another deployment than {home}, which keeps the object \
         documents ({found}, not {expected})"
    )]
    OtherDeployment { store: StoreName, home: StoreName, found: Uuid, expected: Uuid },
    /// Serving would begin a second history of every object.
    #[error(
        "{home}, which is to keep the object documents, is new, but store {store} belongs to a \
         deployment already; is documents.store the right one, and is it there?"
    )]
    DocumentsMissing { store: StoreName, home: StoreName },
    #[error("the mark of store {store} cannot be read or written")]
    Unreadable {
        store: StoreName,
        #[source]
        cause: DocumentError,
    },
}

impl MarkerError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::OtherName { .. }
            | Self::OtherDeployment { .. }
            | Self::DocumentsMissing { .. } => ErrorClass::Refused,
            Self::Unreadable { cause, .. } => cause.class(),
        }
    }

    /// The store whose mark is wrong.
    pub fn store(&self) -> &StoreName {
        match self {
            Self::OtherName { configured, .. } => configured,
            Self::OtherDeployment { store, .. }
            | Self::DocumentsMissing { store, .. }
            | Self::Unreadable { store, .. } => store,
        }
    }
}

/// The marks that are there, and the deployment that they name; none when all stores are new.
pub struct Found {
    by_store: BTreeMap<StoreName, Uuid>,
    deployment: Option<Uuid>,
}

impl Found {
    pub fn deployment(&self) -> Option<Uuid> {
        self.deployment
    }
}

/// Checks the marks that are there, and writes nothing.
pub async fn look(
    stores: &BTreeMap<&StoreName, &dyn DocumentStore>,
    home: &StoreName,
) -> Result<Found, MarkerError> {
    let mut by_store = BTreeMap::new();
    // Order: the home of the documents last. It is marked first, so that one who looks while
    // another process marks everything never sees others with a mark and the home without.
    let others = stores.iter().filter(|(name, _)| **name != home);
    for (name, store) in others.chain(stores.iter().filter(|(name, _)| **name == home)) {
        if let Some(marker) = read(name, *store).await? {
            if marker.store != **name {
                let (configured, found) = ((*name).clone(), marker.store);
                return Err(MarkerError::OtherName { configured, found });
            }
            by_store.insert((*name).clone(), marker.deployment);
        }
    }
    let deployment = match (by_store.get(home), by_store.keys().next()) {
        (Some(deployment), _) => *deployment,
        (None, Some(store)) => {
            let (store, home) = (store.clone(), home.clone());
            return Err(MarkerError::DocumentsMissing { store, home });
        }
        (None, None) => return Ok(Found { by_store, deployment: None }),
    };
    if let Some((store, other)) = by_store.iter().find(|(_, other)| **other != deployment) {
        return Err(MarkerError::OtherDeployment {
            store: store.clone(),
            home: home.clone(),
            found: *other,
            expected: deployment,
        });
    }
    Ok(Found { by_store, deployment: Some(deployment) })
}

/// Checks the marks of all stores, and marks those that are new. Nothing is written before every
/// mark that is there was found right.
pub async fn check(
    stores: &BTreeMap<&StoreName, &dyn DocumentStore>,
    home: &StoreName,
    entropy: &dyn Entropy,
) -> Result<Uuid, MarkerError> {
    // Each new round means that another process has marked a store, so they come to an end.
    'again: loop {
        let Found { by_store: found, deployment } = look(stores, home).await?;
        let deployment = deployment.unwrap_or_else(|| entropy.uuid());
        // Order: the home of the documents first, or a crash here would look like a lost home.
        // Whoever marks it decides the deployment.
        let is_new = |name: &&StoreName| !found.contains_key(*name);
        let others = stores.keys().copied().filter(|name| *name != home);
        for name in std::iter::once(home).chain(others).filter(is_new) {
            match write(name, stores[name], deployment).await {
                Ok(()) => {}
                Err(MarkerError::Unreadable { cause: DocumentError::Conflict, .. }) => {
                    continue 'again;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(deployment);
    }
}

async fn read(name: &StoreName, store: &dyn DocumentStore) -> Result<Option<Marker>, MarkerError> {
    let unreadable = |cause| MarkerError::Unreadable { store: name.clone(), cause };
    let document = store.get(&DocumentKey::deployment()).await.map_err(unreadable)?;
    document.map(|document| decode(&document)).transpose().map_err(unreadable)
}

async fn write(
    name: &StoreName,
    store: &dyn DocumentStore,
    deployment: Uuid,
) -> Result<(), MarkerError> {
    let marker = Marker { deployment, store: name.clone() };
    let key = DocumentKey::deployment();
    let written = store.put(&key, encode(&marker), Precondition::Absent).await;
    written.map(drop).map_err(|cause| MarkerError::Unreadable { store: name.clone(), cause })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::documents::{Document, Etag, ListedDocuments};
    use crate::runtime::SystemEntropy;
    use crate::runtime::entropy::SeededEntropy;

    async fn check_as(stores: &[(&str, &MemoryStore)], home: &str) -> Result<(), MarkerError> {
        let names: Vec<StoreName> =
            stores.iter().map(|(name, _)| StoreName::new(name).unwrap()).collect();
        let stores = names
            .iter()
            .zip(stores)
            .map(|(name, (_, store))| (name, *store as &dyn DocumentStore))
            .collect();
        check(&stores, &StoreName::new(home).unwrap(), &SystemEntropy).await.map(drop)
    }

    #[tokio::test]
    async fn a_store_opens_under_its_own_name_alone() {
        let (hot, cold) = (MemoryStore::new(), MemoryStore::new());
        check_as(&[("hot", &hot), ("cold", &cold)], "hot").await.unwrap();
        check_as(&[("hot", &hot), ("cold", &cold)], "hot").await.unwrap();
        let swapped = check_as(&[("hot", &cold), ("cold", &hot)], "hot").await;
        assert!(matches!(swapped, Err(MarkerError::OtherName { .. })), "{swapped:?}");
    }

    #[tokio::test]
    async fn a_store_of_another_deployment_is_refused_and_nothing_is_marked() {
        let (hot, cold, other) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
        check_as(&[("hot", &hot)], "hot").await.unwrap();
        check_as(&[("cold", &cold)], "cold").await.unwrap();
        let mixed = check_as(&[("hot", &hot), ("cold", &cold), ("other", &other)], "hot").await;
        assert!(matches!(mixed, Err(MarkerError::OtherDeployment { .. })), "{mixed:?}");
        check_as(&[("third", &other)], "third").await.unwrap();
    }

    /// Story: three proxies were started at once on an empty database. Each found no mark and went
    /// to write one; the slower ones found that "the document has changed" and did not start.
    #[tokio::test]
    async fn proxies_that_start_at_once_on_new_stores_agree() {
        let names = ["cold", "hot", "warm"].map(|name| StoreName::new(name).unwrap());
        for (seed, home) in (0..60).zip(names.iter().cycle()) {
            let entropy = Arc::new(SeededEntropy::new(seed));
            let parting = names.each_ref().map(|_| Parting {
                inner: Arc::new(MemoryStore::new()),
                entropy: Arc::clone(&entropy),
            });
            let stores: BTreeMap<&StoreName, &dyn DocumentStore> = names
                .iter()
                .zip(&parting)
                .map(|(name, store)| (name, store as &dyn DocumentStore))
                .collect();
            let started = (0..5).map(|_| check(&stores, home, &SystemEntropy));
            let agreed = futures::future::try_join_all(started).await;
            let agreed = agreed.unwrap_or_else(|error| panic!("seed {seed}, {home}: {error:?}"));
            assert!(agreed.windows(2).all(|pair| pair[0] == pair[1]), "{home}: {agreed:?}");
        }
    }

    /// Lets others run for a while before and after each call.
    struct Parting {
        inner: Arc<MemoryStore>,
        entropy: Arc<SeededEntropy>,
    }

    impl Parting {
        async fn part(&self) {
            for _ in 0..self.entropy.below(8) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[async_trait]
    impl DocumentStore for Parting {
        async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, DocumentError> {
            self.part().await;
            let found = self.inner.get(key).await;
            self.part().await;
            found
        }

        async fn put(
            &self,
            key: &DocumentKey,
            body: Bytes,
            precondition: Precondition,
        ) -> Result<Etag, DocumentError> {
            self.part().await;
            let put = self.inner.put(key, body, precondition).await;
            self.part().await;
            put
        }

        async fn list(
            &self,
            prefix: &DocumentKey,
            after: Option<&DocumentKey>,
            limit: usize,
        ) -> Result<ListedDocuments, DocumentError> {
            self.inner.list(prefix, after, limit).await
        }

        async fn delete(&self, key: &DocumentKey, etag: &Etag) -> Result<(), DocumentError> {
            self.inner.delete(key, etag).await
        }
    }

    #[tokio::test]
    async fn a_new_home_of_documents_beside_old_stores_is_refused() {
        let (hot, cold, new) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
        check_as(&[("hot", &hot), ("cold", &cold)], "hot").await.unwrap();
        let lost = check_as(&[("hot", &new), ("cold", &cold)], "hot").await;
        assert!(matches!(lost, Err(MarkerError::DocumentsMissing { .. })), "{lost:?}");
        check_as(&[("hot", &hot), ("cold", &cold), ("new", &new)], "hot").await.unwrap();
    }
}
