//! A database of PostgreSQL that one test has to itself, in the server of the run.

use std::net::SocketAddr;

use streamgate::runtime::{Entropy, SystemEntropy};
use tokio::task::JoinSet;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

const URL_VARIABLE: &str = "STREAMGATE_TEST_POSTGRES_URL";

pub(super) struct Database {
    server: Config,
    name: String,
    /// Connected to another database, so that it never ends itself.
    hand: Client,
    _connection: JoinSet<()>,
}

impl Database {
    pub(super) async fn create() -> Self {
        let url = std::env::var(URL_VARIABLE).unwrap_or_else(|_| {
            panic!("{URL_VARIABLE} is not set: start the servers with `scripts/services up` first")
        });
        let server: Config = url.parse().unwrap();
        let (hand, connection) = server.connect(NoTls).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move { connection.await.unwrap() });
        let name = format!("fleet_{}", SystemEntropy.uuid().simple());
        hand.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { server, name, hand, _connection: task }
    }

    /// Where the server listens.
    pub(super) fn address(&self) -> SocketAddr {
        let Host::Tcp(host) = &self.server.get_hosts()[0] else {
            panic!("the server listens on a socket")
        };
        SocketAddr::new(host.parse().unwrap(), self.server.get_ports()[0])
    }

    /// The database as it is reached through a relay, by one that calls itself `application`.
    pub(super) fn url(&self, relay: SocketAddr, application: &str) -> String {
        let (user, name) = (self.server.get_user().unwrap(), &self.name);
        format!("postgres://{user}@{relay}/{name}?application_name={application}")
    }

    /// Ends the connections of one application, or all to this database; how many there were.
    pub(super) async fn end_connections(&self, application: Option<&str>) -> i64 {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = $1 AND ($2::text IS NULL OR application_name = $2)";
        let row = self.hand.query_one(end, &[&self.name, &application]).await;
        row.unwrap().get(0)
    }
}
