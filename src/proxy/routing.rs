//! Where an object's appends and reads go: its document, followed and repaired.

use std::sync::Arc;

use super::{Proxy, ProxyError};
use crate::documents::DocumentError;
use crate::domain::{CloseEvent, ObjectDocument, ObjectKey, StreamAddress};
use crate::store::{EventStore, StoreError};

/// Rounds of read, decide and compare-and-set before a document is left to those who were faster.
const DOCUMENT_ROUNDS_MAX: u32 = 16;

impl Proxy {
    /// The route that this proxy holds, or the object's document; none for a new object.
    pub(super) async fn route(
        &self,
        object: &ObjectKey,
    ) -> Result<Option<Arc<ObjectDocument>>, ProxyError> {
        match self.routes.get(object) {
            Some(known) => Ok(Some(known)),
            None => self.reload(object).await,
        }
    }

    /// The document as it stands now.
    pub(super) async fn reload(
        &self,
        object: &ObjectKey,
    ) -> Result<Option<Arc<ObjectDocument>>, ProxyError> {
        let Some(stored) = self.documents.get(object).await? else {
            self.routes.forget(object);
            return Ok(None);
        };
        self.check_not_restored(&stored.document).await?;
        Ok(Some(self.routes.learn(stored.document)))
    }

    /// Creates the first stream of a new object where the rules place it, and its document.
    ///
    /// The header comes first: a document never names a stream that does not exist, so one that
    /// does was left behind by a restored backup. A header without a document is found again by
    /// the next first append.
    pub(super) async fn create_object(
        &self,
        object: &ObjectKey,
    ) -> Result<Arc<ObjectDocument>, ProxyError> {
        let store = self.placement.place(&object.name).clone();
        let document = ObjectDocument::new(object.clone(), store, self.runtime.clock.now());
        let address = &document.active.address;
        let header = ObjectDocument::first_header(object);
        let created = self.store_of(address)?.create(&address.stream_id, &header).await;
        created.map_err(|error| ProxyError::from_store(address, error))?;
        match self.documents.create(&document).await {
            Ok(_) => Ok(self.routes.learn(document)),
            // Somebody else created it, or it was us and the answer was lost: read which.
            Err(DocumentError::Conflict | DocumentError::OutcomeUnknown { .. }) => {
                let found = self.reload(object).await?;
                found.ok_or_else(|| DocumentError::OutcomeUnknown { cause: None }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The document after the close of a stream that it may still name as active (I6).
    pub(super) async fn follow(
        &self,
        object: &ObjectKey,
        closed: &StreamAddress,
        close: &CloseEvent,
    ) -> Result<Arc<ObjectDocument>, ProxyError> {
        for _ in 0..DOCUMENT_ROUNDS_MAX {
            let Some(stored) = self.documents.get(object).await? else {
                let detail = format!("{closed} is closed, and {object} has no document");
                return Err(ProxyError::Corrupt { detail });
            };
            let mut document = stored.document;
            let changed = document.reroute(closed, close);
            let changed = changed.map_err(|illegal| ProxyError::Corrupt {
                detail: format!(
                    "{closed} is closed, and the document of {object} is not past it: {illegal}"
                ),
            })?;
            if !changed {
                return Ok(self.routes.learn(document));
            }
            match self.documents.replace(&document, &stored.etag).await {
                Ok(_) => {
                    self.tell_of_route(&document);
                    return Ok(self.routes.learn(document));
                }
                // Another met the close as well, or the answer was lost: look again.
                Err(DocumentError::Conflict | DocumentError::OutcomeUnknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DocumentError::Conflict.into())
    }

    pub(super) fn store_of(
        &self,
        stream: &StreamAddress,
    ) -> Result<&Arc<dyn EventStore>, ProxyError> {
        let found = self.stores.get(&stream.store);
        found.map_err(|unknown| ProxyError::Corrupt {
            detail: format!("the object document names {stream}, but {unknown}"),
        })
    }

    /// A stream that moved here once and is now shorter than it was then, or gone, comes from a
    /// restored backup: appending to it would give versions away a second time.
    async fn check_not_restored(&self, document: &ObjectDocument) -> Result<(), ProxyError> {
        let head_min = document.head_min();
        if document.terminated_streams.is_empty() {
            return Ok(());
        }
        let active = &document.active;
        let detail = match self.store_of(&active.address)?.tail(&active.address.stream_id).await {
            Ok(tail) if tail.base.is_none() || tail.head >= head_min => return Ok(()),
            Ok(tail) => format!(
                "{} ends at {}, but held {head_min} when it became active; was a backup restored?",
                active.address, tail.head
            ),
            Err(StoreError::NotFound) => {
                format!("{} is missing; was a backup restored?", active.address)
            }
            Err(error) => return Err(ProxyError::from_store(&active.address, error)),
        };
        Err(ProxyError::Corrupt { detail })
    }
}
