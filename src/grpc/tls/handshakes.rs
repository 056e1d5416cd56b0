//! Handshakes, off the path on which connections are taken, and bounded in time and number.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use crate::grpc::metrics::Handshake;
use crate::runtime::Deadline;
use crate::telemetry::fields;

impl Tls {
    /// The encrypted side of a connection; none if there is none within the time that the options
    /// give. Dropping the future drops the connection.
    pub(in crate::grpc) async fn handshake(
        &self,
        socket: TcpStream,
    ) -> Option<TlsStream<TcpStream>> {
        let clock = &*self.runtime.clock;
        let deadline = Deadline::after(clock, self.options.handshake_timeout);
        let Ok(ended) = deadline.bound(clock, self.shake_hands(socket)).await else {
            tracing::debug!("a handshake took too long");
            self.metrics.handshake(Handshake::TimedOut);
            return None;
        };
        match ended {
            Ok(stream) => {
                self.metrics.handshake(Handshake::Ok);
                Some(stream)
            }
            Err(Failed::WithoutAWord) => None,
            Err(Failed::Broken(error, socket)) => {
                // Anybody can make any number of these: no reason to wake someone.
                tracing::debug!({ fields::ERROR } = %error, "a handshake failed");
                self.metrics.handshake(Handshake::Failed);
                _ = deadline.bound(clock, leave(socket)).await;
                None
            }
        }
    }

    async fn shake_hands(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Failed> {
        // Order: a place is taken by who has said something. Those who only connect, as load
        // balancers do to see whether somebody is there, keep nobody out.
        if socket.peek(&mut [0]).await.unwrap_or(0) == 0 {
            return Err(Failed::WithoutAWord);
        }
        let place = self.places.acquire().await.expect("the places are never closed");
        let accepting = TlsAcceptor::from(self.in_force()).accept(socket).into_fallible();
        let accepted = accepting.await;
        drop(place);
        accepted.map_err(|(error, socket)| Failed::Broken(error, socket))
    }
}

/// Reads what the other side still sends until it has read why it is refused: closing before that
/// would take the words out of its mouth, for the system then answers with a reset.
async fn leave(mut socket: TcpStream) {
    let mut unread = [0; 1024];
    if socket.shutdown().await.is_ok() {
        while socket.read(&mut unread).await.is_ok_and(|count| count > 0) {}
    }
}

enum Failed {
    /// The other side left before it said anything.
    WithoutAWord,
    Broken(std::io::Error, TcpStream),
}
