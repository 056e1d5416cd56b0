//! Connections: taken up to a bound, told to end at some age, let go at a stop.
//!
//! A client keeps its connection for as long as it can, so that the proxies which were there first
//! would serve it for ever. A connection that has reached its age takes no new requests (GOAWAY,
//! which clients answer by connecting anew), and what is in flight has a grace to end in.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::http::{Request, Response};
use tower::{Service, ServiceExt};

use super::gather::Gathered;
use super::load::{Connection, Load};
use super::metrics::ConnectionMetrics;
use super::options::GrpcOptions;
use super::tls::Tls;
use crate::runtime::{Deadline, Entropy, Runtime};
use crate::telemetry::fields;

/// The wait after the system had no connection to give, most often for want of file descriptors.
const ACCEPT_RETRY_WAIT: Duration = Duration::from_millis(100);

/// How long streams that were told to end may take to say so.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What every connection of one server is made of.
pub(super) struct Connections {
    pub(super) options: GrpcOptions,
    pub(super) runtime: Runtime,
    pub(super) load: Arc<Load>,
    pub(super) metrics: ConnectionMetrics,
    /// None: connections are not encrypted.
    pub(super) tls: Option<Arc<Tls>>,
}

/// Counts one connection for as long as it lives.
struct Counted {
    open: Arc<AtomicUsize>,
    metrics: ConnectionMetrics,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.metrics.closed();
    }
}

impl Connections {
    /// Serves what comes until `stop` resolves; then lets what is in flight end.
    pub(super) async fn serve<S, B>(
        self,
        listener: TcpListener,
        service: S,
        stop: impl Future<Output = ()>,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<AnyError>,
    {
        let this = Arc::new(self);
        let (tasks, stopped) = (TaskTracker::new(), CancellationToken::new());
        let open = Arc::new(AtomicUsize::new(0));
        let mut stop = pin!(stop);
        loop {
            let socket = tokio::select! {
                biased;
                () = &mut stop => break,
                socket = this.accept(&listener) => socket,
            };
            if open.fetch_add(1, Ordering::Relaxed) >= this.options.connections_max {
                open.fetch_sub(1, Ordering::Relaxed);
                this.metrics.refused();
                tracing::debug!("too many connections");
                continue;
            }
            this.metrics.opened();
            let counted = Counted { open: Arc::clone(&open), metrics: this.metrics.clone() };
            let connection = Connection::new(Arc::clone(&this.load), &this.options);
            let inserted = Arc::clone(&connection);
            let service = service.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Arc::clone(&inserted));
                request
            });
            let (this, stopped) = (Arc::clone(&this), stopped.clone());
            let shutdown = this.runtime.shutdown.clone();
            shutdown.spawn(tasks.track_future(async move {
                this.serve_socket(socket, service, &connection, stopped).await;
                drop(counted);
            }));
        }
        // Order: nobody connects any more before those who are connected are let go.
        drop(listener);
        stopped.cancel();
        tasks.close();
        tasks.wait().await;
    }

    async fn accept(&self, listener: &TcpListener) -> TcpStream {
        let mut is_told = false;
        loop {
            let error = match listener.accept().await {
                Ok((socket, _)) => return socket,
                Err(error) => error,
            };
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!({ fields::ERROR } = %error, "cannot accept connections");
            }
            self.runtime.clock.sleep(ACCEPT_RETRY_WAIT).await;
        }
    }

    async fn serve_socket<S, B>(
        &self,
        socket: TcpStream,
        service: S,
        connection: &Connection,
        stopped: CancellationToken,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<AnyError>,
    {
        // Small answers must not wait for more to come.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!({ fields::ERROR } = %error, "small answers may be late");
        }
        let Some(tls) = &self.tls else {
            return self.serve_one(socket, service, connection, stopped).await;
        };
        let encrypted = tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            encrypted = tls.handshake(socket) => encrypted,
        };
        if let Some(stream) = encrypted {
            self.serve_one(stream, service, connection, stopped).await;
        }
    }

    async fn serve_one<I, S, B>(
        &self,
        stream: I,
        service: S,
        connection: &Connection,
        stopped: CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<AnyError>,
    {
        let clock = &*self.runtime.clock;
        let http = self.http();
        let service = TowerToHyperService::new(service);
        let mut serving = pin!(http.serve_connection(TokioIo::new(Gathered::new(stream)), service));
        let is_old = tokio::select! {
            biased;
            () = stopped.cancelled() => false,
            ended = &mut serving => return tell(ended),
            () = self.grows_old() => true,
        };
        serving.as_mut().graceful_shutdown();
        let grace = self.options.max_connection_age_grace;
        if is_old {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                ended = &mut serving => return tell(ended),
                () = clock.sleep(grace) => {
                    connection.end();
                    let deadline = Deadline::after(clock, LAST_WORDS_MAX);
                    return match deadline.bound(clock, serving).await {
                        Ok(ended) => tell(ended),
                        Err(_) => tracing::debug!("cut off a connection that did not end"),
                    };
                }
            }
        }
        // A stop has a grace period of its own.
        tell(serving.await);
    }

    fn http(&self) -> auto::Builder<TokioExecutor> {
        let options = &self.options;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new());
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.streams_per_connection_max)
            .keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout);
        http
    }

    /// Resolves at the age at which a connection ends, if it has one.
    async fn grows_old(&self) {
        let age = self.options.max_connection_age;
        if age.is_zero() {
            return std::future::pending().await;
        }
        self.runtime.clock.sleep(jittered(age, &*self.runtime.entropy)).await;
    }
}

/// Up to a tenth less or more, so that connections that came together do not leave together.
fn jittered(age: Duration, entropy: &dyn Entropy) -> Duration {
    let tenth = age / 10;
    let spread = u64::try_from(tenth.as_nanos()).unwrap_or(u64::MAX).saturating_mul(2);
    age - tenth + Duration::from_nanos(entropy.below(spread.saturating_add(1)))
}

fn tell(ended: Result<(), AnyError>) {
    if let Err(error) = ended {
        tracing::debug!({ fields::ERROR } = %error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::entropy::SeededEntropy;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let entropy = SeededEntropy::new(1);
        let ages: Vec<_> =
            (0..100).map(|_| jittered(Duration::from_secs(100), &entropy).as_secs()).collect();
        assert!(ages.iter().all(|age| (90..=110).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age < 95) && ages.iter().any(|age| *age > 105), "{ages:?}");
    }
}
