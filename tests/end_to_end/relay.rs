//! A wire between clients and a server that can be cut: its own address stays, whatever becomes
//! of the server behind it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) struct Relay {
    address: SocketAddr,
    wire: Arc<Wire>,
    /// Ends with the relay.
    _tasks: JoinSet<()>,
}

struct Wire {
    server: Mutex<SocketAddr>,
    /// Bytes of answers after which each of the next connections breaks.
    budgets: Mutex<VecDeque<usize>>,
    broken: AtomicUsize,
    cuts: watch::Sender<u64>,
    is_holding: watch::Sender<bool>,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire {
            server: Mutex::new(server),
            budgets: Mutex::default(),
            broken: AtomicUsize::new(0),
            cuts: watch::Sender::new(0),
            is_holding: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&wire)));
        Self { address, wire, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that come from now on lead to this server.
    pub(crate) fn point_to(&self, server: SocketAddr) {
        *self.wire.server.lock().unwrap() = server;
    }

    /// Breaks each of the next connections after so many bytes of answers.
    pub(crate) fn break_after(&self, budgets: impl IntoIterator<Item = usize>) {
        self.wire.budgets.lock().unwrap().extend(budgets);
    }

    /// Connections that were broken for their budget.
    pub(crate) fn broken(&self) -> usize {
        self.wire.broken.load(Ordering::SeqCst)
    }

    /// Requests go through, answers do not, until the next cut.
    pub(crate) fn hold_answers(&self) {
        self.wire.is_holding.send_replace(true);
    }

    /// Breaks all connections; what was held is lost.
    pub(crate) fn cut(&self) {
        self.wire.cuts.send_modify(|count| *count += 1);
        self.wire.is_holding.send_replace(false);
    }
}

async fn accept(listener: TcpListener, wire: Arc<Wire>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let mut cuts = wire.cuts.subscribe();
        let wire = Arc::clone(&wire);
        connections.spawn(async move {
            tokio::select! {
                biased;
                _ = cuts.changed() => {}
                () = connect(client, &wire) => {}
            }
        });
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
    }
}

/// Passes bytes until one side ends; both are dropped then.
async fn connect(client: TcpStream, wire: &Wire) {
    let address = *wire.server.lock().unwrap();
    let Ok(server) = TcpStream::connect(address).await else { return };
    let budget = wire.budgets.lock().unwrap().pop_front();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass_requests(from_client, to_server) => {}
        () = pass_answers(from_server, to_client, wire, budget) => {}
    }
}

async fn pass_requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    // Either side may end at any moment.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn pass_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    wire: &Wire,
    budget: Option<usize>,
) {
    let mut is_holding = wire.is_holding.subscribe();
    let mut left = budget.unwrap_or(usize::MAX);
    let mut part = vec![0; 64 * 1024];
    loop {
        let Ok(count) = from.read(&mut part).await else { return };
        let passed = count.min(left);
        left -= passed;
        let free = is_holding.wait_for(|is_holding| !is_holding).await.map(drop);
        if count == 0 || free.is_err() || to.write_all(&part[..passed]).await.is_err() {
            return;
        }
        if passed < count {
            wire.broken.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
}
