//! Which event ids a stream knows: those in its tail, and those in the chunks that reach back over
//! the newest [`WINDOW`] events.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::S3Store;
use super::bucket::AT_ONCE;
use super::chunk::ChunkRef;
use super::error::Failure;
use super::history::Ids;
use super::stream::{Place, Stream};
use crate::domain::{EventId, Version};
use crate::store::Found;

/// A stream recognises the ids of this many of its newest events.
pub(super) const WINDOW: u64 = 10_000;

impl S3Store {
    /// Where the stream holds these ids, as far as the window reaches. The state that is given is
    /// the one on which the caller's write is conditional, so that both are one step (I8).
    pub(super) async fn known(
        &self,
        place: &Place,
        stream: &Stream,
        ids: impl Iterator<Item = EventId>,
    ) -> Result<HashMap<EventId, Found>, Failure> {
        let chunks = self.chunks_in_window(place, stream).await?;
        let sets: Vec<(ChunkRef, Ids)> = futures::stream::iter(chunks)
            .map(|chunk| async move { Ok((chunk, self.ids_of(place, chunk).await?)) })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut known = HashMap::new();
        for id in ids {
            if let Some(found) = stream.find(id) {
                known.insert(id, found);
                continue;
            }
            let hit = sets.iter().find_map(|(chunk, ids)| Some((*chunk, *ids.get(&id)?)));
            if let Some((chunk, version)) = hit {
                let events = self.events_of(place, chunk).await?;
                let index = usize::try_from(version.0 - chunk.first.0).unwrap_or(usize::MAX);
                let digest = events.get(index).map(|stored| stored.event.digest);
                let digest = digest.ok_or_else(|| {
                    Failure::Damaged(format!("{} misses version {version}", place.id))
                })?;
                known.insert(id, Found { version, digest });
            }
        }
        Ok(known)
    }

    async fn chunks_in_window(
        &self,
        place: &Place,
        stream: &Stream,
    ) -> Result<Vec<ChunkRef>, Failure> {
        let oldest = Version(stream.tail().head.next().0.saturating_sub(WINDOW));
        let standing = &stream.standing;
        let mut chunks = Vec::new();
        for versions in standing.indexes.iter().filter(|(_, last)| *last >= oldest) {
            let index = self.index(place, *versions).await?;
            chunks.extend(Arc::unwrap_or_clone(index));
        }
        chunks.extend_from_slice(&standing.chunks);
        chunks.retain(|chunk| chunk.last >= oldest);
        Ok(chunks)
    }
}
