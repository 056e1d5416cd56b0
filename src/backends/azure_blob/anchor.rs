//! The blob that says that a stream exists: its header and the name of its first blob of events.
//!
//! It is written once, if absent, and a second time when the stream is removed. It is never
//! deleted, so an id that was given stays taken (I2). What it says stands in its body for people
//! and in its metadata for a listing, which so finds header, blobs and their sizes in one request.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::container::Listed;
use super::layout::{BadBlock, FORMAT, json, to_json};
use super::names::{ANCHOR, BlobName};
use crate::domain::{CloseEvent, StreamHeader, StreamId, Timestamp, Version};
use crate::store::Tail;

/// The name under which the metadata holds it.
const METADATA: &str = "streamgate";

/// JSON: what an anchor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Anchor {
    pub(super) format: u32,
    pub(super) stream_id: StreamId,
    pub(super) header: StreamHeader,
    /// The first blob of events.
    pub(super) first: String,
    /// The end of a stream whose events were deleted.
    pub(super) removed: Option<RemovedEnd>,
    /// The state that was read.
    #[serde(skip)]
    pub(super) etag: String,
}

/// What stays of a stream that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemovedEnd {
    pub(super) close: CloseEvent,
    pub(super) base: Option<Version>,
    pub(super) recorded_at: Option<Timestamp>,
}

impl Anchor {
    pub(super) fn new(stream_id: StreamId, header: StreamHeader, first: &BlobName) -> Self {
        let (first, etag) = (first.to_string(), String::new());
        Self { format: FORMAT, stream_id, header, first, removed: None, etag }
    }

    /// The anchor among the blobs of a stream.
    pub(super) fn among(listed: &[Listed], folder: &str) -> Result<Option<Self>, BadBlock> {
        let is_anchor = |blob: &&Listed| blob.name.strip_prefix(folder) == Some(ANCHOR);
        let Some(blob) = listed.iter().find(is_anchor) else {
            return Ok(None);
        };
        let bad = |problem: &str| BadBlock(format!("the blob {} {problem}", blob.name));
        let told = blob.metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case(METADATA));
        let (_, told) = told.ok_or_else(|| bad("has lost its metadata"))?;
        let text = STANDARD.decode(told).map_err(|_| bad("has damaged metadata"))?;
        let anchor = json::<Self>(&text)?;
        Ok(Some(Self { etag: blob.etag.clone(), ..anchor }))
    }

    /// Body and metadata of the blob.
    pub(super) fn written(&self) -> (Bytes, HashMap<String, String>) {
        let metadata = [(METADATA.to_owned(), STANDARD.encode(to_json(self)))];
        let body = serde_json::to_vec_pretty(self).expect("an anchor is plain data");
        (body.into(), metadata.into())
    }

    /// The end of a stream that has no event yet, or none any more.
    pub(super) fn tail(&self) -> Tail {
        let mut tail = Tail::of_new(self.header.clone());
        if let Some(removed) = &self.removed {
            tail.base = removed.base;
            tail.head = removed.close.head;
            tail.recorded_at = removed.recorded_at;
            tail.closed = Some(removed.close.clone());
            tail.removed = true;
        }
        tail
    }
}
