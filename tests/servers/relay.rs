//! A relay before a server, whatever it speaks: it passes bytes on, holds them, is slow, or cuts
//! what is connected.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the bytes that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Pass,
    /// Each piece goes on after this long.
    Slow(Duration),
    /// They wait until the pace is another.
    Hold,
}

/// It listens as long as the test's runtime lives.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pace: watch::Sender<Pace>,
    /// Pieces that came while they were held.
    held: watch::Sender<u64>,
    /// Counts up when connections are cut.
    cuts: watch::Sender<u64>,
}

impl Relay {
    /// Before the server at this address, as `127.0.0.1:5432`.
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (pace, held) = (watch::Sender::new(Pace::Pass), watch::Sender::new(0));
        let cuts = watch::Sender::new(0);
        let relay = Self { address, pace, held, cuts };
        let (server, pace, held) = (server.to_owned(), relay.pace.clone(), relay.held.clone());
        let cuts = relay.cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = cuts.subscribe();
                let (server, pace, held) = (server.clone(), pace.clone(), held.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        () = carry(client, &server, &pace, &held) => {}
                    }
                });
            }
        });
        relay
    }

    pub(crate) fn set(&self, pace: Pace) {
        self.held.send_replace(0);
        self.pace.send_replace(pace);
    }

    /// Waits until something is held.
    pub(crate) async fn holds(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(|pieces| *pieces > 0).await.expect("the relay is there");
    }

    /// Ends all connections there are; new ones are taken.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    client: TcpStream,
    server: &str,
    pace: &watch::Sender<Pace>,
    held: &watch::Sender<u64>,
) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for side in [&client, &server] {
        side.set_nodelay(true).expect("it is connected");
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut piece = vec![0; 64 * 1024];
    let there = async {
        while let Ok(count @ 1..) = from_client.read(&mut piece).await {
            let now = *pace.borrow();
            match now {
                Pace::Pass => {}
                Pace::Slow(delay) => tokio::time::sleep(delay).await,
                Pace::Hold => {
                    held.send_modify(|pieces| *pieces += 1);
                    let mut pace = pace.subscribe();
                    let _ = pace.wait_for(|pace| *pace != Pace::Hold).await;
                }
            }
            if to_server.write_all(&piece[..count]).await.is_err() {
                return;
            }
        }
    };
    // The end of either side is the end of both.
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}
