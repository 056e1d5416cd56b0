//! Requests to one bucket, in the words of the rest: every answer is typed, nothing is repeated.
//!
//! A put that was repeated by the client would meet its own first try as a failed condition, so
//! the client never repeats; the wrappers around the store do, once they know what that means.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Certificate, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, PutResult, RetryConfig, UpdateVersion,
};

use super::S3Options;
use super::answers::{Connector, DELETE_IF_MATCH, RequestCounts};
use super::credentials::Keys;
use super::error::{Failure, OpenError};

/// The mark of one state of an object, as the service gives it.
pub(super) type Etag = String;

/// One bucket, or what lies below a prefix of one.
#[derive(Debug)]
pub(super) struct Bucket {
    client: AmazonS3,
    counts: Arc<RequestCounts>,
    /// Empty, or ends in `/`.
    prefix: String,
}

/// What became of a write on condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done(Etag),
    /// The object is in another state. This request changed nothing and never will.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Absent,
    /// Still in the state that the caller named.
    Unchanged,
    Found {
        etag: Etag,
        body: Bytes,
    },
}

/// An object of a listing.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Without the prefix of the store.
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: Option<Etag>,
}

/// Objects in the order of their keys' bytes.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) objects: Vec<Listed>,
    pub(super) more: bool,
}

impl Bucket {
    pub(super) fn connect(options: &S3Options) -> Result<Self, OpenError> {
        let counts = Arc::<RequestCounts>::default();
        let mut http = ClientOptions::new()
            .with_allow_http(options.endpoint_text().starts_with("http://"))
            .with_connect_timeout(options.connect_timeout)
            .with_timeout(options.request_timeout);
        if let Some(path) = &options.ca_file {
            let unreadable = |problem: String| OpenError::Client {
                what: "its ca_file cannot be used",
                problem: format!("{}: {problem}", path.display()),
            };
            let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem);
            for certificate in certificates.map_err(|error| unreadable(error.to_string()))? {
                http = http.with_root_certificate(certificate);
            }
        }
        let keys = Keys::of(options);
        let builder = match keys {
            Some(keys) => {
                keys.reveal()?;
                AmazonS3Builder::new().with_credentials(Arc::new(keys))
            }
            None => AmazonS3Builder::from_env(),
        };
        let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let builder = builder
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_virtual_hosted_style_request(true)
            // The bucket stands in it already, whatever the addressing.
            .with_endpoint(options.bucket_url())
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_bulk_delete(true)
            .with_retry(retries)
            .with_client_options(http)
            .with_http_connector(Connector { counts: Arc::clone(&counts) });
        let client = builder.build().map_err(|error| OpenError::Client {
            what: "its client cannot be made",
            problem: error.to_string(),
        })?;
        let prefix = match options.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self { client, counts, prefix })
    }

    pub(super) fn requests(&self) -> Arc<RequestCounts> {
        Arc::clone(&self.counts)
    }

    /// Writes an object that is not there yet.
    pub(super) async fn create(&self, key: &str, body: PutPayload) -> Result<Put, Failure> {
        self.put_as(key, body, PutMode::Create).await
    }

    /// Writes an object that is still in the named state.
    pub(super) async fn replace(
        &self,
        key: &str,
        etag: &str,
        body: PutPayload,
    ) -> Result<Put, Failure> {
        let version = UpdateVersion { e_tag: Some(etag.to_owned()), version: None };
        self.put_as(key, body, PutMode::Update(version)).await
    }

    /// Writes an object whose content follows from its key, so that twice is once.
    pub(super) async fn put(&self, key: &str, body: PutPayload) -> Result<(), Failure> {
        self.put_as(key, body, PutMode::Overwrite).await.map(drop)
    }

    async fn put_as(&self, key: &str, body: PutPayload, mode: PutMode) -> Result<Put, Failure> {
        let put = self.client.put_opts(&self.path(key), body, mode.into()).await;
        match put {
            Ok(PutResult { e_tag: Some(etag), .. }) => Ok(Put::Done(etag)),
            Ok(PutResult { e_tag: None, .. }) => Err(Failure::Unsettled {
                detail: "the service named no etag".into(),
                retry_after: None,
            }),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::Lost),
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.is_conflict() { Ok(Put::Lost) } else { Err(failure) }
            }
        }
    }

    /// An object, unless it is in the named state.
    pub(super) async fn get(&self, key: &str, unless: Option<&str>) -> Result<Got, Failure> {
        let options = GetOptions::default().with_if_none_match(unless);
        self.get_as(key, options).await
    }

    /// The first bytes of an object.
    pub(super) async fn get_start(&self, key: &str, bytes: u64) -> Result<Got, Failure> {
        self.get_as(key, GetOptions::default().with_range(Some(0..bytes))).await
    }

    async fn get_as(&self, key: &str, options: GetOptions) -> Result<Got, Failure> {
        match self.client.get_opts(&self.path(key), options).await {
            Ok(found) => {
                let etag = found.meta.e_tag.clone().ok_or_else(|| {
                    Failure::Damaged(format!("the service named no etag of {key}"))
                })?;
                let body = found.bytes().await.map_err(|error| Failure::of(&error))?;
                Ok(Got::Found { etag, body })
            }
            Err(Error::NotFound { .. }) => Ok(Got::Absent),
            Err(Error::NotModified { .. }) => Ok(Got::Unchanged),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Deletes an object, whatever its state; one that is not there is no error.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.client.delete(&self.path(key)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Deletes an object that is still in the named state. Only for services that keep it.
    pub(super) async fn delete_if(&self, key: &str, etag: &str) -> Result<bool, Failure> {
        let path = self.path(key);
        let deleted = DELETE_IF_MATCH.scope(etag.to_owned(), self.client.delete(&path)).await;
        match deleted {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.is_conflict() { Ok(false) } else { Err(failure) }
            }
        }
    }

    /// Objects whose keys start with `prefix` and are greater than `after`.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Listing, Failure> {
        let whole = format!("{}{prefix}", self.prefix);
        let options = PaginatedListOptions {
            offset: after.map(|after| format!("{}{after}", self.prefix)),
            max_keys: Some(most),
            ..PaginatedListOptions::default()
        };
        let page = self.client.list_paginated(Some(&whole), options).await;
        let page = page.map_err(|error| Failure::of(&error))?;
        let more = page.page_token.is_some();
        let objects = page.result.objects.into_iter().filter_map(|object| {
            let key = object.location.as_ref().strip_prefix(&self.prefix)?.to_owned();
            Some(Listed { key, size: object.size, etag: object.e_tag })
        });
        Ok(Listing { objects: objects.collect(), more })
    }

    /// Deletes all objects below a prefix, some at a time.
    pub(super) async fn delete_all(&self, prefix: &str) -> Result<(), Failure> {
        loop {
            let listing = self.list(prefix, None, LISTED_MAX).await?;
            let mut deletes = futures::stream::iter(listing.objects)
                .map(|object| async move { self.delete(&object.key).await })
                .buffer_unordered(AT_ONCE);
            while let Some(deleted) = deletes.next().await {
                deleted?;
            }
            if !listing.more {
                return Ok(());
            }
        }
    }

    fn path(&self, key: &str) -> Path {
        // Keys hold nothing that the client would encode; see `layout`.
        Path::from(format!("{}{key}", self.prefix))
    }
}

/// Keys of one listing; the service gives no more.
pub(super) const LISTED_MAX: usize = 1_000;
/// Requests for one call that are on their way together.
pub(super) const AT_ONCE: usize = 16;
