//! The service, as the store uses it: one method, one request.
//!
//! Nothing here is repeated: a write that the client repeats by itself would meet its own success
//! and take it for another's.

use std::collections::HashMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    ClientOptions, Context, Etag, NoFormat, Request, RequestContent, RetryOptions, Transport, Url,
};
use azure_storage_blob::models::{
    AppendBlobClientAppendBlockOptions, AppendBlobClientCreateOptions, BlobClientDeleteOptions,
    BlobClientDownloadOptions, BlobContainerClientListBlobsOptions, BlockBlobClientUploadOptions,
    HttpRange, ListBlobsIncludeItem,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;
use futures::TryStreamExt;

use super::credentials::Access;
use super::error::{CallError, OpenError};
use super::options::AzureBlobOptions;

/// One container.
pub(super) struct Container {
    client: BlobContainerClient,
    requests: Arc<Requests>,
}

/// Counts what goes to the service.
#[derive(Debug, Default)]
struct Requests(AtomicU64);

#[expect(elided_lifetimes_in_paths, reason = "async_trait matches the trait's own form alone")]
#[async_trait]
impl Policy for Requests {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        next[0].send(context, request, &next[1..]).await
    }
}

/// A part of a blob.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Size of the whole blob at that moment.
    pub(super) total: u64,
    pub(super) etag: String,
}

/// A blob in a listing.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) metadata: HashMap<String, String>,
}

/// One page of a listing.
pub(super) struct ListedPage {
    pub(super) blobs: Vec<Listed>,
    pub(super) marker: Option<String>,
}

/// What must hold for a write.
#[derive(Clone, Copy)]
pub(super) enum Condition<'a> {
    Absent,
    Matches(&'a str),
}

/// More than any blob or document of this store: what is asked for comes in one answer.
const WHOLE: usize = 1 << 40;

impl Container {
    pub(super) fn new(options: &AzureBlobOptions, access: Access) -> Result<Self, OpenError> {
        let address = format!("{}/{}", options.endpoint.trim_end_matches('/'), options.container);
        let address =
            Url::parse(&address).map_err(|_| OpenError::Client("the endpoint is no URL".into()))?;
        let transport = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.silence_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| OpenError::Client(error.without_url().to_string()))?;
        let requests = Arc::new(Requests::default());
        let mut per_try_policies: Vec<Arc<dyn Policy>> = vec![requests.clone()];
        per_try_policies.extend(access.policy);
        let client_options = ClientOptions {
            per_try_policies,
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(transport))),
            ..ClientOptions::default()
        };
        let options = BlobContainerClientOptions { client_options, ..Default::default() };
        let client = BlobContainerClient::new(address, access.identity, Some(options));
        let client = client.map_err(|error| OpenError::Client(error.to_string()))?;
        Ok(Self { client, requests })
    }

    /// How many requests were sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.0.load(Ordering::Relaxed)
    }

    /// Makes the container itself. One that is there already is no error.
    pub(super) async fn create_container(&self) -> Result<(), CallError> {
        match self.client.create(None).await.map_err(CallError::of) {
            Ok(_) | Err(CallError::Condition) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes an empty append blob whose name is new.
    pub(super) async fn create(&self, name: &str) -> Result<(), CallError> {
        let options = AppendBlobClientCreateOptions::default().if_not_exists();
        let client = self.client.blob_client(name).append_blob_client();
        client.create(Some(options)).await.map(drop).map_err(CallError::of)
    }

    /// Appends a block at exactly this position.
    pub(super) async fn append(
        &self,
        name: &str,
        position: u64,
        block: Bytes,
    ) -> Result<(), CallError> {
        let append_position = Some(i64::try_from(position).expect("a blob is far below 2^63"));
        let options = AppendBlobClientAppendBlockOptions { append_position, ..Default::default() };
        let length = block.len() as u64;
        let content = RequestContent::<Bytes, NoFormat>::from(block.to_vec());
        let client = self.client.blob_client(name).append_blob_client();
        let appended = client.append_block(content, length, Some(options)).await;
        appended.map(drop).map_err(CallError::of)
    }

    /// What lies in this range of a blob, or in as much of it as there is. A range that begins at
    /// the end or behind it is an error, but for that of an empty blob, which takes two requests.
    pub(super) async fn get(&self, name: &str, range: Range<u64>) -> Result<Part, CallError> {
        self.download(name, Some(HttpRange::from(range))).await
    }

    /// The size of a blob.
    pub(super) async fn size(&self, name: &str) -> Result<u64, CallError> {
        let properties = self.client.blob_client(name).get_properties(None).await;
        let properties = properties.map_err(CallError::of)?;
        let header = HeaderName::from_static("content-length");
        let size = properties.headers().get_optional_str(&header);
        Ok(size.and_then(|size| size.parse().ok()).unwrap_or(0))
    }

    /// A whole blob.
    pub(super) async fn get_whole(&self, name: &str) -> Result<Part, CallError> {
        self.download(name, None).await
    }

    async fn download(&self, name: &str, range: Option<HttpRange>) -> Result<Part, CallError> {
        let options = BlobClientDownloadOptions {
            range,
            parallel: NonZero::new(1),
            partition_size: NonZero::new(WHOLE),
            ..Default::default()
        };
        let got = self.client.blob_client(name).download(Some(options)).await;
        let got = got.map_err(CallError::of)?;
        let range = got.headers.get_optional_str(&HeaderName::from_static("content-range"));
        let total = range.and_then(|range| range.rsplit('/').next()?.parse().ok());
        let etag = got.properties.etag.map(|etag| etag.to_string()).unwrap_or_default();
        let bytes = got.body.collect().await.map_err(CallError::of)?;
        let total = total.unwrap_or(bytes.len() as u64);
        Ok(Part { bytes, total, etag })
    }

    /// Replaces or makes a block blob. Answers its etag.
    pub(super) async fn put(
        &self,
        name: &str,
        body: Bytes,
        condition: Condition<'_>,
        metadata: Option<HashMap<String, String>>,
    ) -> Result<String, CallError> {
        let mut options = BlockBlobClientUploadOptions {
            parallel: NonZero::new(1),
            partition_size: NonZero::new(WHOLE as u64),
            metadata,
            ..Default::default()
        };
        match condition {
            Condition::Absent => options.if_none_match = Some(Etag::from("*")),
            Condition::Matches(etag) => options.if_match = Some(Etag::from(etag.to_owned())),
        }
        let content = RequestContent::<Bytes, NoFormat>::from(body.to_vec());
        let client = self.client.blob_client(name).block_blob_client();
        let put = client.upload(content, Some(options)).await.map_err(CallError::of)?;
        let missing = || {
            CallError::of(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "the answer has no etag",
            ))
        };
        put.etag.map(|etag| etag.to_string()).ok_or_else(missing)
    }

    /// Deletes a blob; of a document only the state that has this etag.
    pub(super) async fn delete(&self, name: &str, etag: Option<&str>) -> Result<(), CallError> {
        let options = BlobClientDeleteOptions {
            if_match: etag.map(|etag| Etag::from(etag.to_owned())),
            ..Default::default()
        };
        let deleted = self.client.blob_client(name).delete(Some(options)).await;
        deleted.map(drop).map_err(CallError::of)
    }

    /// The blobs whose names begin like this, in the order of their names.
    pub(super) async fn list(
        &self,
        prefix: &str,
        marker: Option<String>,
        most: usize,
    ) -> Result<ListedPage, CallError> {
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            maxresults: Some(i32::try_from(most).unwrap_or(i32::MAX).clamp(1, 5_000)),
            prefix: Some(prefix.to_owned()),
            marker,
            ..Default::default()
        };
        let pager = self.client.list_blobs(Some(options)).map_err(CallError::of)?;
        let page = pager.into_pages().try_next().await.map_err(CallError::of)?;
        let Some(page) = page else {
            return Ok(ListedPage { blobs: Vec::new(), marker: None });
        };
        let page = page.into_model().map_err(CallError::of)?;
        let blobs = page.blob_items.into_iter().filter_map(|blob| {
            let properties = blob.properties.unwrap_or_default();
            Some(Listed {
                name: blob.name?,
                size: properties.content_length.unwrap_or(0),
                etag: properties.etag.map(|etag| etag.to_string()).unwrap_or_default(),
                metadata: blob.metadata.and_then(|metadata| metadata.values).unwrap_or_default(),
            })
        });
        Ok(ListedPage {
            blobs: blobs.collect(),
            marker: page.next_marker.filter(|marker| !marker.is_empty()),
        })
    }

    /// The blobs whose names begin like this, all of them.
    pub(super) async fn list_all(&self, prefix: &str) -> Result<Vec<Listed>, CallError> {
        let mut blobs = Vec::new();
        let mut marker = None;
        loop {
            let page = self.list(prefix, marker, usize::MAX).await?;
            blobs.extend(page.blobs);
            match page.marker {
                Some(next) => marker = Some(next),
                None => return Ok(blobs),
            }
        }
    }
}
