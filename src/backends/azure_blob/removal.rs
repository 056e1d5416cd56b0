//! How the events of a closed stream are deleted.
//!
//! First the anchor says that the stream is removed, and keeps its end; then its blobs go. No blob
//! comes back under a name that was used, so a writer that slept finds no place for its block,
//! looks anew, and is refused by what the anchor says (I2).

use futures::{StreamExt, TryStreamExt, stream};

use super::AzureBlobStore;
use super::anchor::{Anchor, RemovedEnd};
use super::container::Condition;
use super::end::LOOKS_MAX;
use super::error::CallError;
use super::names::ANCHOR;
use crate::domain::StreamId;
use crate::store::{Removed, StoreError};

/// Blobs that are deleted at once.
const DELETES_MAX: usize = 8;

impl AzureBlobStore {
    pub(super) async fn remove_stream(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let folder = self.names.of_stream(stream);
        for _ in 0..LOOKS_MAX {
            let end = self.find_end(stream).await?;
            let events = match end.tail.removed {
                true => 0,
                false => end.tail.event_count(),
            };
            if !end.tail.removed {
                let close = end.tail.closed.clone().ok_or(StoreError::NotClosed)?;
                let (base, recorded_at) = (end.tail.base, end.tail.recorded_at);
                let removed = Some(RemovedEnd { close, base, recorded_at });
                let anchor = Anchor { removed, ..Anchor::clone(&end.anchor) };
                let (body, metadata) = anchor.written();
                let held = Condition::Matches(&anchor.etag);
                let path = format!("{folder}{ANCHOR}");
                match self.container.put(&path, body, held, Some(metadata)).await {
                    Ok(_) => {}
                    // Another removal was faster.
                    Err(CallError::Condition) => continue,
                    Err(error) => return Err(error.of_write()),
                }
            }
            // Order: the anchor first, or a reader would take a stream half gone for damaged.
            self.delete_blobs(&folder).await?;
            let entry = self.streams.entry(stream);
            entry.saw(self.find_end(stream).await?);
            return Ok(Removed { events });
        }
        Err(StoreError::Contended { attempts: LOOKS_MAX })
    }

    /// Deletes all blobs of a stream but its anchor. The removal was told already, so one that
    /// cannot be deleted leaves it half done; the same call again goes on with it.
    async fn delete_blobs(&self, folder: &str) -> Result<(), StoreError> {
        let half_done = |error: CallError| match error {
            CallError::Unknown { .. } => error.of_write(),
            other => StoreError::unknown(other.of_read()),
        };
        let listed = self.container.list_all(folder).await.map_err(half_done)?;
        let blobs = listed.into_iter().filter(|blob| !blob.name.ends_with(ANCHOR));
        let deletes = blobs.map(|blob| async move {
            match self.container.delete(&blob.name, None).await {
                Ok(()) | Err(CallError::Missing) => Ok(()),
                Err(error) => Err(error),
            }
        });
        let deletes = stream::iter(deletes).buffer_unordered(DELETES_MAX);
        deletes.try_collect::<()>().await.map_err(half_done)
    }
}
