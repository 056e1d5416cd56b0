//! Deleting the events of a closed stream, batch by batch. The head says first that they are
//! going, so that a removal that was cut off is seen, and goes on when it is asked for again.

use azure_data_cosmos::Query;
use azure_data_cosmos::feed::FeedScope;
use azure_data_cosmos::models::TransactionalBatch;

use super::CosmosStore;
use super::commit::ROUNDS_MAX;
use super::error::{Failure, Refusal};
use super::layout::{self, FIRST_PLACE};
use crate::domain::StreamId;
use crate::store::{Removed, StoreError};
use crate::telemetry::calls::Operation;

/// Operations that the service takes in one batch.
const DELETES_PER_BATCH: usize = 100;

impl CosmosStore {
    pub(super) async fn remove_events(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        let (count, marked) = self.mark_removed(stream).await?;
        let deleted = self.delete_events(stream).await?;
        // Whoever finished it tells how many events there were.
        Ok(Removed { events: if marked || deleted > 0 { count } else { 0 } })
    }

    /// How many events the stream held, and whether this call was the first to mark it.
    async fn mark_removed(&self, stream: &StreamId) -> Result<(u64, bool), StoreError> {
        for _ in 0..ROUNDS_MAX {
            let head = self.read_head(Operation::Remove, stream).await?;
            let mut tail = head.tail.clone();
            if tail.closed.is_none() {
                return Err(StoreError::NotClosed);
            }
            let count = tail.event_count();
            if tail.removed {
                return Ok((count, false));
            }
            // Order: the mark before the first deletion, so that no reader takes a gap for damage.
            tail.removed = true;
            if self.replace_head(Operation::Remove, stream, tail, &head.etag).await? {
                return Ok((count, true));
            }
        }
        Err(StoreError::Contended { attempts: ROUNDS_MAX })
    }

    async fn delete_events(&self, stream: &StreamId) -> Result<u64, StoreError> {
        let mut deleted = 0;
        let mut rounds_lost = 0;
        loop {
            let ids = self.some_ids(stream).await?;
            if ids.is_empty() {
                return Ok(deleted);
            }
            let count = ids.len() as u64;
            let mut batch = TransactionalBatch::new(layout::stream_partition(stream));
            for id in ids {
                batch = batch.delete_item(id, None);
            }
            match self.items.batch(Operation::Remove, batch).await {
                Ok(_) => deleted += count,
                // Another removal of this stream came first, or our own try before the last.
                Err(Failure { refusal: Refusal::NotFound, .. }) if rounds_lost < ROUNDS_MAX => {
                    rounds_lost += 1;
                }
                Err(failure) => return Err(failure.of_write()),
            }
        }
    }

    /// The ids of some of the events that are left.
    async fn some_ids(&self, stream: &StreamId) -> Result<Vec<String>, StoreError> {
        let query = Query::from(format!(
            "SELECT c.id FROM c WHERE c.place >= '{FIRST_PLACE}' \
             OFFSET 0 LIMIT {DELETES_PER_BATCH}"
        ));
        let scope = FeedScope::partition(layout::stream_partition(stream));
        let pages = self.items.query(Operation::Remove, query, scope, DELETES_PER_BATCH).await;
        let items = match pages {
            Ok(pages) => pages.all().await,
            Err(failure) => Err(failure),
        };
        let items = items.map_err(Failure::of_read)?;
        Ok(items.iter().filter_map(layout::id).map(str::to_owned).collect())
    }
}
