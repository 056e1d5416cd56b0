//! Several proxies over one PostgreSQL and one Redis, each with links of its own that can be cut.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures::future::join_all;
use streamgate::runtime::{Entropy, SystemEntropy};

use super::database::Database;
use super::redis::Redis;
use super::relay::{Link, Peer, Relay};
use crate::client::Client;
use crate::process::{Addresses, Folder, Server, Tracing};

/// Each is a schema of the one database; the first one also keeps the documents.
pub(super) use crate::permits::STORES;

/// How long a lock outlives its holder.
pub(super) const LEASE: Duration = Duration::from_secs(2);

const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// What a proxy needs to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needed {
    Redis,
    Store(&'static str),
}

pub(super) struct Fleet {
    pub(super) proxies: Vec<Proxy>,
    pub(super) database: Database,
    pub(super) redis: Redis,
}

/// How soon proxies give up a call to a store.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// As they are configured when nobody says otherwise.
    Usual,
    /// So soon that trouble is met and not sat out.
    Short,
}

impl Fleet {
    /// All are started at once, on a database that holds nothing.
    pub(super) async fn start(count: usize, patience: Patience) -> Self {
        let (database, redis) = (Database::create().await, Redis::start().await);
        let mut proxies = Vec::new();
        for number in 0..count {
            proxies.push(Proxy::new(number, patience, &database, &redis).await);
        }
        for proxy in &mut proxies {
            proxy.start();
        }
        join_all(proxies.iter_mut().map(Proxy::ready)).await;
        Self { proxies, database, redis }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.proxies.iter().map(|proxy| proxy.address).collect()
    }

    /// Asks all to stop; nothing in flight may be left to cut off.
    pub(super) async fn stop(self) {
        for proxy in self.proxies {
            proxy.stopped().await;
        }
    }
}

/// One of the fleet, over all its lives: on one address, under one name.
pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// None while it is dead. It goes before the folder that holds its last words.
    server: Option<Server>,
    folder: Folder,
    settings: String,
    links: BTreeMap<Needed, Relay>,
}

impl Proxy {
    async fn new(number: usize, patience: Patience, database: &Database, redis: &Redis) -> Self {
        let mut links = BTreeMap::new();
        links.insert(Needed::Redis, Relay::to(Peer::Socket(redis.socket())).await);
        for store in STORES {
            let relay = Relay::to(Peer::Tcp(database.address())).await;
            links.insert(Needed::Store(store), relay);
        }
        let (name, address) = (format!("proxy_{number}"), free_address());
        let folder = Folder::new(GRACE_PERIOD);
        let redis = links[&Needed::Redis].address();
        let mut settings = general(address, &folder, redis, patience);
        for store in STORES {
            let url = database.url(links[&Needed::Store(store)].address(), &name);
            settings += &store_at(&url, store, patience);
        }
        Self { name, address, folder, settings, links, server: None }
    }

    pub(super) fn start(&mut self) {
        assert!(self.server.is_none(), "{} runs already", self.name);
        self.server = Some(self.folder.start_configured(&Tracing::Off, &self.settings));
    }

    /// Waits until it serves.
    pub(super) async fn ready(&mut self) -> Addresses {
        self.server.as_mut().expect("it was started").addresses().await
    }

    /// A client with a connection of its own, which is made anew to each life.
    pub(super) fn client(&self) -> Client {
        Client::to(self.address)
    }

    pub(super) fn link(&self, needed: Needed, link: Link) {
        self.links[&needed].set(link);
    }

    pub(super) fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    pub(super) fn signal(&self, name: &str) {
        self.server.as_ref().expect("it runs").signal(name);
    }

    /// Asks it to stop, and sees that it ends well.
    pub(super) async fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        server.terminate();
        let status = server.exit_status().await;
        assert!(status.success(), "{}: {status}\n{}", self.name, self.folder.log());
    }

    async fn stopped(mut self) {
        self.stop().await;
    }

    /// A counter as the metrics endpoint tells it.
    pub(super) async fn counter(&mut self, name: &str) -> u64 {
        crate::metrics::counter(self.ready().await.http, name).await
    }

    /// The leases that this life of it has lost or given back, by why.
    pub(super) async fn leases_lost(&mut self) -> BTreeMap<String, u64> {
        let name = "streamgate_migrations_stepped_aside_total";
        let told = crate::metrics::all(self.ready().await.http).await;
        let labels = told.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let counts = labels.map(|line| {
            let (labels, value) = line.split_once("} ").expect("a value stands behind its labels");
            (labels.to_owned(), value.trim().parse().unwrap())
        });
        counts.collect()
    }
}

/// Below the ports that outgoing connections take, so that nobody has it when the proxy comes
/// back.
fn free_address() -> SocketAddr {
    loop {
        let port = 10_000 + u16::try_from(SystemEntropy.below(22_000)).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

fn general(address: SocketAddr, folder: &Folder, redis: SocketAddr, patience: Patience) -> String {
    let mut text = format!(
        "[server]\nlisten = \"{address}\"\nhttp_listen = \"127.0.0.1:0\"\n\
         data_dir = {:?}\ngrace_period = \"{}ms\"\n\
         [coordination.redis]\nurl = \"redis://{redis}/\"\n\
         [migration]\nlease_ttl = \"{}ms\"\nscan_interval = \"1s\"\nrecord_interval = \"200ms\"\n",
        folder.path("data"),
        GRACE_PERIOD.as_millis(),
        LEASE.as_millis(),
    );
    if matches!(patience, Patience::Short) {
        text += "[store_calls]\nread_timeout = \"1s\"\nwrite_timeout = \"1s\"\n";
    }
    text
}

fn store_at(url: &str, name: &str, patience: Patience) -> String {
    let text = format!(
        "[[stores]]\nname = \"{name}\"\nkind = \"postgres\"\nurl = \"{url}\"\n\
         schema = \"{name}\"\nconnections_max = 6\n"
    );
    text + match patience {
        Patience::Usual => "",
        Patience::Short => {
            "connect_timeout = \"1s\"\nconnection_wait_max = \"1s\"\n\
             answer_timeout = \"2s\"\n"
        }
    }
}
