//! Azure Cosmos DB, through its NoSQL interface: one container per store, both ports.
//!
//! Reading order: [`options`], `layout` (items), [`events`] and [`documents`] (the ports) with
//! `commit` (one append or close), `removal` and `heads`; then `items` (the container's
//! operations), [`error`], `start` (what is checked before the store is used) and `credential`.
//!
//! An append is at exactly head + 1 (I1) and closed is closed (I2) because every append, close
//! and removal replaces the stream's head item under its etag, an append in one transactional
//! batch with its events. An id that the stream holds is refused by that same batch (I8), for an
//! event's id is its item's id. `docs/stores/cosmos.md` has the reasons.

mod commit;
mod credential;
mod documents;
mod error;
mod events;
mod heads;
mod items;
mod layout;
mod options;
mod removal;
mod start;

use std::sync::Arc;

use crate::runtime::Clock;
use crate::telemetry::request_units::RequestUnits;
use heads::{Heads, Turns};
use items::Items;

pub use error::OpenError;
pub use options::CosmosOptions;

/// Streams and documents in one container, which any number of processes may share.
pub struct CosmosStore {
    options: CosmosOptions,
    items: Items,
    heads: Heads,
    turns: Turns,
}

impl CosmosStore {
    /// Opens the store, and checks that the container is there, is fit, and may be used.
    pub async fn open(
        options: CosmosOptions,
        clock: Arc<dyn Clock>,
        units: Arc<RequestUnits>,
    ) -> Result<Self, OpenError> {
        let faults = options.check();
        if !faults.is_empty() {
            return Err(OpenError::Invalid(faults));
        }
        let container = start::container(&options).await?;
        let place = options.place();
        tracing::info!(%place, "store opened");
        Ok(Self {
            items: Items::new(container, units),
            heads: Heads::new(options.heads_max),
            turns: Turns::new(clock),
            options,
        })
    }
}
