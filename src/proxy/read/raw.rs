//! One stream as it is stored, CloseEvent included, for audits.

use std::sync::Arc;

use super::pages::{Pages, Source};
use super::{HistoryReader, ReadLimits};
use crate::domain::{CloseEvent, StreamAddress, Version};
use crate::proxy::{Proxy, ProxyError};
use crate::store::Tail;

/// A read of one stream, whatever object it belongs to.
#[derive(Clone, Debug)]
pub struct RawCommand {
    pub stream: StreamAddress,
    pub range: ReadLimits,
}

/// A stream, and what it held at its end when the read began.
pub struct RawStreamView {
    pub stream: StreamAddress,
    pub tail: Tail,
    pub reader: HistoryReader,
}

impl Proxy {
    /// Starts to read one stream. One whose events were removed is refused.
    pub async fn read_raw(
        self: &Arc<Self>,
        command: RawCommand,
    ) -> Result<RawStreamView, ProxyError> {
        let RawCommand { stream, range } = command;
        let tail = self.stores.get(&stream.store)?.tail(&stream.stream_id).await;
        let tail = tail.map_err(|error| ProxyError::from_raw(&stream, error))?;
        if tail.removed {
            return Err(ProxyError::StreamGone { stream });
        }
        // A stream that has no event yet begins where it was told to, or nowhere so far.
        let base = tail.base.or(tail.header.base).unwrap_or(Version::FIRST);
        let source = Source::Stream { address: stream.clone(), base };
        let pages = Pages { proxy: Arc::clone(self), source };
        let reader = HistoryReader::start(pages, range).await?;
        Ok(RawStreamView { stream, tail, reader })
    }

    /// How a stream has ended, if it has.
    pub async fn close_event(
        &self,
        stream: &StreamAddress,
    ) -> Result<Option<CloseEvent>, ProxyError> {
        let tail = self.stores.get(&stream.store)?.tail(&stream.stream_id).await;
        Ok(tail.map_err(|error| ProxyError::from_raw(stream, error))?.closed)
    }
}
