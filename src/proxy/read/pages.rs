//! The streams that a read goes through, page by page: those of an object's chain, or one alone.

use std::sync::Arc;

use crate::domain::{Head, ObjectDocument, StreamAddress, StreamRef, Version};
use crate::proxy::{Proxy, ProxyError};
use crate::store::{Page, ReadRange, StoreError};

/// Where the pages of a read come from.
pub(super) struct Pages {
    pub(super) proxy: Arc<Proxy>,
    pub(super) source: Source,
}

pub(super) enum Source {
    /// The chain of an object, as this read knows it.
    Chain(Arc<ObjectDocument>),
    /// One stream as it is stored, with the version of its first event.
    Stream { address: StreamAddress, base: Version },
}

/// A page, and whether the history ended with it when it was read.
pub(super) struct Fetched {
    pub(super) page: Page,
    /// It reaches the end of the last stream, and that stream is open.
    pub(super) is_end: bool,
}

/// Reloads of one document that a read tolerates before it takes the document for wrong.
const RELOADS_MAX: u32 = 8;

impl Pages {
    /// The first version there is.
    pub(super) fn first(&self) -> Version {
        match &self.source {
            Source::Chain(_) => Version::FIRST,
            Source::Stream { base, .. } => *base,
        }
    }

    /// The stream in which new events land, as far as this read knows.
    pub(super) fn newest(&self) -> &StreamAddress {
        match &self.source {
            Source::Chain(document) => &document.active.address,
            Source::Stream { address, .. } => address,
        }
    }

    /// The head now, past any close that the document does not know of.
    pub(super) async fn head(&mut self) -> Result<Head, ProxyError> {
        match &mut self.source {
            Source::Chain(document) => self.proxy.head_of(document).await,
            Source::Stream { address, base } => {
                let tail = self.proxy.store_of(address)?.tail(&address.stream_id).await;
                let tail = tail.map_err(|error| ProxyError::from_raw(address, error))?;
                Ok(if tail.base.is_some() { tail.head } else { Head::before(*base) })
            }
        }
    }

    /// Events from exactly `range.from` on; none only at the end.
    pub(super) async fn forward(&mut self, range: ReadRange) -> Result<Fetched, ProxyError> {
        for _ in 0..RELOADS_MAX {
            let stream = self.stream_of(range.from);
            let address = &stream.address;
            match self.proxy.store_of(address)?.read(&address.stream_id, range).await {
                Ok(page) if !page.events.is_empty() => {
                    let is_end = self.ends_with(&stream, &page);
                    return Ok(Fetched { page, is_end });
                }
                Ok(page) => match (&page.closed, &self.source) {
                    // Invariant 7: the read goes on in the continuation, at its own next version.
                    (Some(close), Source::Chain(document))
                        if close.continuation.is_some() && document.active == stream =>
                    {
                        let object = &document.object;
                        let followed = self.proxy.follow(object, address, close).await?;
                        self.source = Source::Chain(followed);
                    }
                    (Some(_) | None, _) => return Ok(Fetched { page, is_end: true }),
                },
                Err(error) => self.after_refusal(range.from, address, error).await?,
            }
        }
        Err(self.moved_too_often())
    }

    /// A page whose last event is that of version `last`, with at most `window` events. `window`
    /// shrinks while that many do not fit into `bytes_max`, and is kept for the next page.
    pub(super) async fn backward(
        &mut self,
        last: Version,
        window: &mut usize,
        bytes_max: usize,
    ) -> Result<Page, ProxyError> {
        let mut reloads = 0;
        while reloads < RELOADS_MAX {
            let stream = self.stream_of(last);
            let span = u64::try_from(*window).unwrap_or(u64::MAX).max(1) - 1;
            let from = Version(last.0.saturating_sub(span)).max(stream.base);
            let events_max = usize::try_from(last.0 - from.0 + 1).unwrap_or(usize::MAX);
            let range = ReadRange { from, events_max, bytes_max };
            let address = &stream.address;
            match self.proxy.store_of(address)?.read(&address.stream_id, range).await {
                Ok(page) if page.next() > last => return Ok(page),
                // Cut short by its bytes: ask for less, so that one page is all that is held.
                Ok(page) if !page.events.is_empty() => *window = (page.events.len() / 2).max(1),
                Ok(_) => {
                    let detail = format!("{address} does not hold version {last}, which was read");
                    return Err(ProxyError::Corrupt { detail });
                }
                Err(error) => {
                    reloads += 1;
                    self.after_refusal(last, address, error).await?;
                }
            }
        }
        Err(self.moved_too_often())
    }

    fn stream_of(&self, version: Version) -> StreamRef {
        match &self.source {
            Source::Chain(document) => document.stream_for(version).clone(),
            Source::Stream { address, base } => {
                StreamRef { address: address.clone(), base: *base, made_by: None }
            }
        }
    }

    fn ends_with(&self, stream: &StreamRef, page: &Page) -> bool {
        let is_newest = stream.address == *self.newest();
        let may_go_on = match (&page.closed, &self.source) {
            (Some(close), Source::Chain(_)) => close.continuation.is_some(),
            (Some(_) | None, _) => false,
        };
        page.reaches_head() && is_newest && !may_go_on
    }

    /// A stream that was removed after the document was read: newer ones hold all of it.
    async fn after_refusal(
        &mut self,
        next: Version,
        address: &StreamAddress,
        error: StoreError,
    ) -> Result<(), ProxyError> {
        let object = match (&self.source, error) {
            (Source::Chain(document), StoreError::Gone { .. }) => document.object.clone(),
            (Source::Chain(_), error) => return Err(ProxyError::from_store(address, error)),
            (Source::Stream { .. }, error) => return Err(ProxyError::from_raw(address, error)),
        };
        let document = self.proxy.reload(&object).await?;
        let document = document.ok_or(ProxyError::ObjectNotFound { object })?;
        if document.stream_for(next).address == *address {
            let detail = format!("version {next} lies in {address}, which was removed");
            return Err(ProxyError::Corrupt { detail });
        }
        self.source = Source::Chain(document);
        Ok(())
    }

    fn moved_too_often(&self) -> ProxyError {
        ProxyError::moved_too_often(RELOADS_MAX)
    }
}
