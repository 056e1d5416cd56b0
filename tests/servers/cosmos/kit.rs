//! A database of its own for each test, and what the emulator does and tells for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use streamgate::backends::cosmos::{CosmosOptions, CosmosStore, OpenError};
use streamgate::domain::StoreName;
use streamgate::runtime::{Entropy, Secret, SystemClock, SystemEntropy};
use streamgate::telemetry::request_units::{RequestUnitMetrics, RequestUnits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::variable;

/// Requests by kind: `batch`, `query`, `read`, `write`, `control`.
pub(super) type Requests = BTreeMap<String, u64>;

/// The emulator's account, and a database in it that no other test has.
pub(crate) struct Account {
    pub(crate) options: CosmosOptions,
    registry: Registry,
    units: Arc<RequestUnits>,
}

impl Account {
    pub(crate) fn new() -> Self {
        let database = format!("t-{}", SystemEntropy.uuid().simple());
        let endpoint = variable("STREAMGATE_TEST_COSMOS_ENDPOINT");
        let mut options = CosmosOptions::at(endpoint, database, "streams", "East US");
        options.key = Some(Secret::Text(variable("STREAMGATE_TEST_COSMOS_KEY")));
        options.create = true;
        let mut registry = Registry::default();
        let name = StoreName::new("cosmos").expect("it is well formed");
        let units = RequestUnitMetrics::new(&mut registry).of(&name);
        Self { options, registry, units }
    }

    pub(super) async fn try_open(&self, options: CosmosOptions) -> Result<CosmosStore, OpenError> {
        CosmosStore::open(options, Arc::new(SystemClock), Arc::clone(&self.units)).await
    }

    /// The store, and the database and container if they are not there.
    pub(super) async fn open(&self) -> CosmosStore {
        self.try_open(self.options.clone()).await.expect("the emulator is there")
    }

    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("it is text");
        text
    }

    /// Lets the emulator do this to the next `count` requests of the kind `on`.
    pub(crate) async fn rehearse(&self, fault: &str, on: &str, count: u32) {
        let database = &self.options.database;
        let path = format!("/_test/fault?database={database}&kind={fault}&on={on}&count={count}");
        self.control("PUT", &path).await;
    }

    /// What was asked of this database so far.
    pub(super) async fn requests(&self) -> Requests {
        let path = format!("/_test/requests?database={}", self.options.database);
        let counts = self.control("GET", &path).await;
        let lines = counts.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(kind, count)| (kind.to_owned(), count.parse().expect("a number"))).collect()
    }

    /// What was asked while `work` ran, and what came of it.
    pub(super) async fn counted<T>(&self, work: impl Future<Output = T>) -> (Requests, T) {
        let before = self.requests().await;
        let answer = work.await;
        let mut asked = self.requests().await;
        for (kind, count) in before {
            if let Some(total) = asked.get_mut(&kind) {
                *total -= count;
            }
        }
        asked.retain(|_, count| *count > 0);
        (asked, answer)
    }

    async fn control(&self, method: &str, path: &str) -> String {
        let address = self.options.endpoint.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).await.expect("the emulator is there");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the emulator listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the emulator answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }
}

/// What this many requests of these kinds look like.
pub(super) fn requests<const N: usize>(kinds: [(&str, u64); N]) -> Requests {
    kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}
