//! Any S3 that keeps conditional writes: both ports over one bucket, or a prefix of one.
//!
//! Reading order: [`options`]; `layout` (keys) and `tail`, `chunk` (what stands in the objects);
//! `stream` (a tail object in memory, and what a write makes of it); [`events`] and [`documents`]
//! (the ports), `append` (appends that wait for one stream go out together), `window` (which ids a
//! stream knows), `history` (events before the tail); then the wire: `bucket` (requests as the
//! rest knows them), `answers` (what the service refused, and how many requests it took),
//! `credentials`; [`check`] (what must hold before the store opens) and [`error`].
//!
//! An append is at exactly head + 1 (I1) and closed is closed (I2) because one object per stream
//! decides: the *tail* holds the header, the head, the CloseEvent and the newest events, and every
//! append, close and removal replaces it under `If-Match`. Each state of it bears a nonce, so that
//! no etag ever comes back, and it is never deleted. `docs/stores/s3.md` has the rest.

mod answers;
mod append;
mod bucket;
mod check;
mod chunk;
mod credentials;
mod documents;
mod error;
mod events;
mod history;
mod layout;
mod options;
mod stream;
mod tail;
mod window;

use std::sync::Arc;

use crate::runtime::Runtime;
use append::Lanes;
use bucket::Bucket;
use history::Cache;

pub use answers::RequestCounts;
pub use check::Problem;
pub use error::OpenError;
pub use options::{Addressing, S3Options};

/// Streams and documents in one bucket. Any number of processes may have it open.
pub struct S3Store {
    options: S3Options,
    runtime: Runtime,
    bucket: Bucket,
    cache: Cache,
    lanes: Lanes,
    /// Whether the service deletes an object only if it is in the state that is named.
    deletes_on_condition: bool,
}

impl S3Store {
    /// Opens the store after it was seen that the service is there, lets us do what we must, and
    /// keeps conditional writes.
    pub async fn open(options: S3Options, runtime: &Runtime) -> Result<Self, OpenError> {
        let faults = options.check();
        if !faults.is_empty() {
            return Err(OpenError::Invalid(faults));
        }
        let bucket = Bucket::connect(&options)?;
        let found = check::check(&bucket, &options, runtime).await?;
        let (name, endpoint) = (&options.bucket, options.endpoint_text());
        tracing::info!(bucket = %name, %endpoint, prefix = %options.prefix, "store opened");
        Ok(Self {
            bucket,
            runtime: runtime.clone(),
            cache: Cache::of_bytes(options.cache_bytes),
            lanes: Lanes::default(),
            deletes_on_condition: found.deletes_on_condition && options.conditional_deletes,
            options,
        })
    }

    /// The requests that this store made since it was opened, its check included.
    pub fn requests(&self) -> Arc<RequestCounts> {
        self.bucket.requests()
    }
}
