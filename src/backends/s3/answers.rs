//! What the service answered, before its client makes an error of it: refusals keep their status,
//! code and delay, and every request is counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

tokio::task_local! {
    /// The state on which a delete is conditional; the client has no place for it.
    pub(super) static DELETE_IF_MATCH: String;
}

/// How many requests went out, by what they ask for.
#[derive(Debug, Default)]
pub struct RequestCounts {
    gets: AtomicU64,
    puts: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
}

impl RequestCounts {
    pub fn gets(&self) -> u64 {
        self.gets.load(Ordering::Relaxed)
    }

    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    pub fn lists(&self) -> u64 {
        self.lists.load(Ordering::Relaxed)
    }

    pub fn deletes(&self) -> u64 {
        self.deletes.load(Ordering::Relaxed)
    }

    pub fn all(&self) -> u64 {
        self.gets() + self.puts() + self.lists() + self.deletes()
    }

    fn count(&self, request: &HttpRequest) {
        let lists = request.uri().query().is_some_and(|query| query.contains("list-type"));
        let counter = match request.method().as_str() {
            "PUT" => &self.puts,
            "DELETE" => &self.deletes,
            _ if lists => &self.lists,
            _ => &self.gets,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer that is neither success nor one that the conditions of requests provoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// As `SlowDown`; empty when the body names none.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service answered {} {}", self.status, self.code)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, " ({})", self.message) }
    }
}

impl std::error::Error for Refused {}

/// Makes clients that look at each answer first.
#[derive(Debug, Default)]
pub(super) struct Connector {
    pub(super) counts: Arc<RequestCounts>,
}

#[async_trait]
impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Looking { inner, counts: Arc::clone(&self.counts) }))
    }
}

#[derive(Debug)]
struct Looking {
    inner: HttpClient,
    counts: Arc<RequestCounts>,
}

#[async_trait]
impl HttpService for Looking {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.counts.count(&request);
        if request.method().as_str() == "DELETE"
            && let Ok(etag) = DELETE_IF_MATCH.try_with(Clone::clone)
        {
            let etag = etag.parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error));
            request.headers_mut().insert("if-match", etag?);
        }
        let (parts, body) = self.inner.execute(request).await?.into_parts();
        let status = parts.status.as_u16();
        if parts.status.is_success() || matches!(status, 304 | 412) {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let header = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
        let retry_after = header("retry-after").and_then(|text| text.trim().parse().ok());
        let body = body.bytes().await?;
        let text = String::from_utf8_lossy(&body);
        let refused = Refused {
            status,
            code: element(&text, "Code").unwrap_or_default(),
            message: element(&text, "Message").unwrap_or_default(),
            retry_after: retry_after.map(Duration::from_secs),
        };
        // Only the service itself says that a key is not there: a proxy on the way, or a bucket
        // that is gone, must not look like a stream that never was.
        if status == 404 && refused.code == "NoSuchKey" {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        Err(HttpError::new(HttpErrorKind::Unknown, refused))
    }
}

/// The text of the first element of this name, at most so much as people read.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_message_are_read_from_the_body() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Less.</Message>";
        assert_eq!(element(xml, "Code").as_deref(), Some("SlowDown"));
        assert_eq!(element(xml, "Message").as_deref(), Some("Less."));
        assert_eq!(element("<html>busy</html>", "Code"), None);
    }
}
