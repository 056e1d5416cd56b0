//! The line to a server: what every call goes over, with TLS where the address asks for it.
//!
//! A server looks at a client's certificate when for the client the handshake is over and the first
//! call is on its way. If it refuses, the library sometimes says no more than that the connection
//! was closed; so the line remembers what was heard last.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Cheap to clone; all clones are one connection, made when it is first used and again when it
/// broke.
#[derive(Clone)]
pub(crate) struct Line {
    channel: Channel,
    refusal: Refusal,
}

/// Who a server has to be, and what it is shown.
#[derive(Clone)]
pub(crate) struct Encryption {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Line {
    pub(crate) fn plain(endpoint: &Endpoint) -> Self {
        Self { channel: endpoint.connect_lazy(), refusal: Refusal::default() }
    }

    /// `host` and `port` are where `endpoint` leads.
    pub(crate) fn encrypted(
        endpoint: &Endpoint,
        host: &str,
        port: u16,
        encryption: Encryption,
    ) -> Self {
        let refusal = Refusal::default();
        let (host, heard) = (host.to_owned(), refusal.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (host, heard, encryption) = (host.clone(), heard.clone(), encryption.clone());
            async move {
                *heard.last() = None;
                let socket = TcpStream::connect((host, port)).await?;
                socket.set_nodelay(true)?;
                let Encryption { config, name } = encryption;
                let stream = TlsConnector::from(config).connect(name, socket).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(io::Error::other("the server speaks no HTTP/2"));
                }
                Ok(TokioIo::new(Heard { stream, heard }))
            }
        });
        Self { channel: endpoint.connect_with_connector_lazy(connector), refusal }
    }
}

/// The alert with which the server ended the connection, if it did.
#[derive(Clone, Default)]
struct Refusal(Arc<Mutex<Option<AlertDescription>>>);

impl Refusal {
    fn last(&self) -> MutexGuard<'_, Option<AlertDescription>> {
        self.0.lock().expect("no holder panics")
    }

    fn note(&self, error: &io::Error) {
        let held = error.get_ref().and_then(|held| held.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = held {
            *self.last() = Some(*alert);
        }
    }
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.channel.poll_ready(context).map_err(AnyError::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (answer, refusal) = (self.channel.call(request), self.refusal.clone());
        Box::pin(async move {
            answer.await.map_err(|error| match *refusal.last() {
                Some(alert) => io::Error::other(rustls::Error::AlertReceived(alert)).into(),
                None => AnyError::from(error),
            })
        })
    }
}

/// A connection that remembers how the server ended it.
struct Heard {
    stream: TlsStream<TcpStream>,
    heard: Refusal,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.heard.note(error);
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
