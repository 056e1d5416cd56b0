//! The port EventStore.

use std::sync::Arc;

use async_trait::async_trait;

use super::AzureBlobStore;
use super::anchor::Anchor;
use super::append::CallErrorOr;
use super::container::Condition;
use super::end::End;
use super::error::CallError;
use super::names::{ANCHOR, BlobName};
use super::pages::check_not_removed;
use super::window::{WINDOW_EVENTS, Window};
use super::writer::Writer;
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};
use crate::store::{
    Append, Appended, Capabilities, Close, EventStore, Found, Page, ReadRange, Removed, StoreError,
    Tail, judge,
};

#[async_trait]
impl EventStore for AzureBlobStore {
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError> {
        let entry = self.streams.entry(stream);
        // A header never changes, and an id that was given stays taken.
        if let Some(end) = entry.end() {
            return judge::create_again(&end.tail, header);
        }
        let first = BlobName::new(1, header.base.unwrap_or_default(), &*self.runtime.entropy);
        let path = self.path(stream, &first);
        // Order: the blob first, so that a stream that exists can be written.
        self.container.create(&path).await.map_err(CallError::of_read)?;
        let anchor = Anchor::new(stream.clone(), header.clone(), &first);
        let (body, metadata) = anchor.written();
        let named = format!("{}{ANCHOR}", self.names.of_stream(stream));
        let error = match self.container.put(&named, body, Condition::Absent, Some(metadata)).await
        {
            Ok(_) => return self.begin(stream, End::of_anchor(anchor)?),
            Err(error) => error,
        };
        let is_unknown = matches!(error, CallError::Unknown { .. });
        if !is_unknown {
            // Nothing names it, and nothing ever will. One that stays takes no room.
            let _ = self.container.delete(&path, None).await;
        }
        if !is_unknown && error != CallError::Condition {
            return Err(error.of_write());
        }
        match self.find_end(stream).await {
            Ok(end) => judge::create_again(&entry.saw(end).tail, header),
            Err(_) if is_unknown => Err(error.of_write()),
            Err(error) => Err(error),
        }
    }

    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError> {
        self.options.limits.check(&append.events)?;
        let entry = self.streams.entry(stream);
        self.turn(stream, &entry).await?.append(append).await
    }

    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError> {
        self.page(stream, range).await
    }

    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError> {
        let entry = self.streams.entry(stream);
        let end = match entry.end() {
            Some(end) => self.renew(stream, &end).await?,
            None => self.find_end(stream).await?,
        };
        Ok(entry.saw(end).tail.clone())
    }

    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let entry = self.streams.entry(stream);
        let (known, end) = self.turn(stream, &entry).await?.look_up(ids).await?;
        if let Some(close) = end.tail.closed.clone().filter(|_| end.tail.removed) {
            return Err(StoreError::Gone { head: end.tail.head, close: Box::new(close) });
        }
        let found = match known.is_empty() {
            true => return Ok(vec![None; ids.len()]),
            false => match self.digests(stream, &end, &known).await {
                Ok(found) => found,
                Err(CallErrorOr::Call(CallError::Missing)) => {
                    check_not_removed(&entry.saw(self.find_end(stream).await?))?;
                    let detail = format!("blobs of stream {stream} are missing");
                    return Err(StoreError::Corrupt { detail });
                }
                Err(error) => return Err(error.of_read()),
            },
        };
        Ok(ids.iter().map(|id| found.get(id).copied()).collect())
    }

    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError> {
        let entry = self.streams.entry(stream);
        self.turn(stream, &entry).await?.close(close).await
    }

    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError> {
        self.remove_stream(stream).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "azure_blob",
            limits: self.options.limits,
            condition: "append at the exact byte position",
            event_id_window: Some(WINDOW_EVENTS as u64),
            durable: true,
            poll_interval: Some(self.options.poll_interval),
        }
    }
}

impl AzureBlobStore {
    /// Keeps what is known of a stream that was just made.
    fn begin(&self, stream: &StreamId, end: End) -> Result<(), StoreError> {
        let entry = self.streams.entry(stream);
        if let Ok(mut writer) = entry.turn.try_lock() {
            let window = Window::from(end.tail.base.unwrap_or_default());
            writer.get_or_insert_with(|| Writer::at_start(end.clone(), window));
        }
        let _: Arc<End> = entry.saw(end);
        Ok(())
    }
}
