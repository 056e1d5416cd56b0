//! One request: from the wire to the emulator and back.

use std::sync::Arc;

use azure_core::credentials::Secret;
use azure_core::http::{Method, Request as CoreRequest};
use azure_data_cosmos_driver::in_memory_emulator::{
    InMemoryEmulatorHttpClient, VirtualAccountConfig, VirtualRegion,
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use url::Url;

use crate::rehearsal::{Fault, Rehearsal};
use crate::signature;

type Reply = Response<Full<Bytes>>;

/// The answer is kept back, and the connection with it.
#[derive(Debug, thiserror::Error)]
#[error("the answer is kept back")]
struct AnswerLost;

/// One account with one region.
pub(crate) struct Server {
    emulator: InMemoryEmulatorHttpClient,
    base: Url,
    key: Option<Secret>,
    rehearsal: Rehearsal,
}

impl Server {
    pub(crate) fn new(port: u16, key: Option<Secret>) -> Result<Arc<Self>, String> {
        let base = format!("http://127.0.0.1:{port}/");
        let base = Url::parse(&base).map_err(|error| error.to_string())?;
        let region = VirtualRegion::new("East US", base.clone());
        let config = VirtualAccountConfig::new(vec![region]).map_err(|error| error.to_string())?;
        let emulator = InMemoryEmulatorHttpClient::try_new(config);
        let emulator = emulator.map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { emulator, base, key, rehearsal: Rehearsal::default() }))
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("a connection was not taken: {error}");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let server = Arc::clone(&server);
                    async move { server.answer(request).await }
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                // A client that went away, or was sent away by a fault, is no problem of ours.
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Reply, AnswerLost> {
        let (parts, body) = request.into_parts();
        if let Some(answer) = self.rehearsal.control(&parts) {
            return Ok(match answer {
                Ok(text) => reply(200, text),
                Err(problem) => reply(400, problem.into()),
            });
        }
        if self.key.as_ref().is_some_and(|key| !signature::is_signed(&parts, key)) {
            return Ok(reply(401, problem("Unauthorized", "the signature is wrong")));
        }
        let Ok(body) = body.collect().await else {
            return Ok(reply(400, problem("BadRequest", "the body ended early")));
        };
        let fault = self.rehearsal.meet(&parts);
        match fault {
            Some(Fault::Throttle { retry_after_ms }) => return Ok(throttled(retry_after_ms)),
            Some(Fault::Refuse) => {
                return Ok(reply(503, problem("ServiceUnavailable", "as rehearsed")));
            }
            Some(Fault::Forbid) => return Ok(reply(403, problem("Forbidden", "as rehearsed"))),
            Some(Fault::LoseAnswer) | None => {}
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let (Ok(url), Some(method)) = (self.base.join(path), method(&parts.method)) else {
            return Ok(reply(400, problem("BadRequest", "no such resource or verb")));
        };
        let mut request = CoreRequest::new(url, method);
        for (name, value) in &parts.headers {
            let value = value.to_str().unwrap_or_default().to_owned();
            request.insert_header(name.as_str().to_owned(), value);
        }
        request.set_body(body.to_bytes().to_vec());
        let answer = self.emulate(&request).await;
        if fault == Some(Fault::LoseAnswer) { Err(AnswerLost) } else { Ok(answer) }
    }

    async fn emulate(&self, request: &CoreRequest) -> Reply {
        let answer = match self.emulator.execute_request(request).await {
            Ok(answer) => answer.try_into_raw_response().await,
            Err(error) => return reply(500, problem("InternalServerError", &error.to_string())),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return reply(500, problem("InternalServerError", &error.to_string())),
        };
        let mut response = Response::builder().status(u16::from(answer.status()));
        for (name, value) in answer.headers().iter() {
            if !matches!(name.as_str(), "content-length" | "transfer-encoding") {
                response = response.header(name.as_str(), value.as_str());
            }
        }
        let body: &[u8] = answer.body().as_ref();
        let response = response.body(Full::new(Bytes::copy_from_slice(body)));
        response.unwrap_or_else(|error| reply(500, error.to_string()))
    }
}

fn method(method: &hyper::Method) -> Option<Method> {
    match method.as_str() {
        "GET" => Some(Method::Get),
        "HEAD" => Some(Method::Head),
        "POST" => Some(Method::Post),
        "PUT" => Some(Method::Put),
        "PATCH" => Some(Method::Patch),
        "DELETE" => Some(Method::Delete),
        _ => None,
    }
}

fn problem(code: &str, message: &str) -> String {
    format!("{{\"code\":{code:?},\"message\":{message:?}}}")
}

fn reply(status: u16, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = hyper::StatusCode::from_u16(status).expect("the codes are ours");
    reply
}

fn throttled(retry_after_ms: u64) -> Reply {
    let mut reply = reply(429, problem("TooManyRequests", "as rehearsed"));
    let headers = reply.headers_mut();
    headers.insert("x-ms-retry-after-ms", retry_after_ms.into());
    // The request rate is too large, as against a limit on the control plane.
    headers.insert("x-ms-substatus", 3200.into());
    headers.insert("x-ms-request-charge", 0.into());
    reply
}
