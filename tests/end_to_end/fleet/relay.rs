//! A relay between a proxy and a server that it needs, so that a test can cut or stall the link.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures::future::join;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where a relay leads.
#[derive(Clone)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    Socket(PathBuf),
}

/// What a link does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Link {
    Whole,
    /// Nothing goes through, and nobody is told.
    Stalled,
    /// Every connection breaks, whatever it carries; new ones end at once.
    Cut,
}

/// Listens as long as it lives.
pub(super) struct Relay {
    address: SocketAddr,
    link: watch::Sender<Link>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(super) async fn to(peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = watch::Sender::new(Link::Whole);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, peer, link.subscribe()));
        Self { address, link, _tasks: tasks }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn listen(listener: TcpListener, peer: Peer, link: watch::Receiver<Link>) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        connections.spawn(carry(near, peer.clone(), link.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until either side ends it or the link is cut.
async fn carry(near: TcpStream, peer: Peer, link: watch::Receiver<Link>) {
    let mut cut = link.clone();
    let carried = async {
        near.set_nodelay(true).unwrap();
        match peer {
            Peer::Tcp(address) => {
                let Ok(far) = TcpStream::connect(address).await else { return };
                far.set_nodelay(true).unwrap();
                connect(near, far.into_split(), link).await;
            }
            Peer::Socket(path) => {
                let Ok(far) = UnixStream::connect(path).await else { return };
                connect(near, far.into_split(), link).await;
            }
        }
    };
    tokio::select! {
        biased;
        _ = cut.wait_for(|link| *link == Link::Cut) => {}
        () = carried => {}
    }
}

async fn connect(
    near: TcpStream,
    far: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    link: watch::Receiver<Link>,
) {
    let (near_read, near_write) = near.into_split();
    let there = pump(near_read, far.1, link.clone());
    let back = pump(far.0, near_write, link);
    join(there, back).await;
}

/// Passes on what comes while the link is whole; then, that nothing more comes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        // Stalled, or about to be dropped; a relay that is gone carries nothing either.
        if link.wait_for(|link| *link == Link::Whole).await.is_err() {
            return;
        }
        if count == 0 {
            // The other side may be gone already.
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
