//! A bucket of one test's own, and a relay that stands before the server and lets requests be
//! late, lost, refused, or stripped of their conditions.

use std::sync::{Arc, Mutex};

use streamgate::backends::s3::{OpenError, S3Options, S3Store};
use streamgate::domain::{ExpectedVersion, StreamId, Version};
use streamgate::runtime::{Entropy, Runtime, Secret, SystemEntropy};
use streamgate::store::{Appended, EventStore, StoreError};
use streamgate::testing::builders;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::service::variable;

/// A bucket that nobody else has, and how a store in it is cut.
pub(crate) struct Place {
    pub(crate) options: S3Options,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let bucket = format!("test-{}", SystemEntropy.uuid());
        let mut options = S3Options::of_bucket(&bucket);
        options.endpoint = Some(variable("STREAMGATE_TEST_S3_ENDPOINT"));
        options.access_key_id = Some(Secret::Text("test".into()));
        options.secret_access_key = Some(Secret::Text("test".into()));
        let created = ask(&format!("PUT /{bucket} HTTP/1.1")).await;
        assert!(created.starts_with("HTTP/1.1 200") || created.starts_with("HTTP/1.0 200"));
        Self { options }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut S3Options)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn below(self, prefix: &str) -> Self {
        self.with(|options| options.prefix = prefix.into())
    }

    /// A chunk every few events, an index every few chunks.
    pub(crate) fn in_pieces(self) -> Self {
        self.with(|options| {
            options.tail_bytes_max = 1_000;
            options.chunks_in_tail_max = 4;
        })
    }

    pub(crate) async fn try_open(&self) -> Result<S3Store, OpenError> {
        S3Store::open(self.options.clone(), &Runtime::system()).await
    }

    /// A store as another process would open it: with nothing in memory.
    pub(crate) async fn open(&self) -> S3Store {
        self.try_open().await.expect("the bucket is there")
    }

    /// The same place, reached through a relay.
    pub(crate) fn through(&self, relay: &Relay) -> Self {
        let mut options = self.options.clone();
        options.endpoint = Some(relay.endpoint.clone());
        Self { options }
    }
}

fn server() -> String {
    let endpoint = variable("STREAMGATE_TEST_S3_ENDPOINT");
    endpoint.trim_start_matches("http://").to_owned()
}

/// A request without body, sent to the server as it is; answers the whole response.
pub(crate) async fn ask(first_line: &str) -> String {
    let host = server();
    let request =
        format!("{first_line}\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let response = exchange(request.as_bytes()).await;
    String::from_utf8_lossy(&response).into_owned()
}

async fn exchange(request: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(server()).await.expect("the server listens");
    connection.write_all(request).await.expect("the server reads");
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await.expect("the server answers");
    response
}

/// A request on its way.
#[derive(Clone)]
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Replaces the tail of a stream.
    pub(crate) fn writes_a_tail(&self) -> bool {
        let head = self.head.to_ascii_lowercase();
        self.method() == "PUT" && self.target().contains("/tails/") && head.contains("if-match:")
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        let mut lines = self.head.split("\r\n").skip(1);
        lines.any(|line| line.split(':').next().is_some_and(|it| it.eq_ignore_ascii_case(name)))
    }

    fn without_conditions(mut self) -> Self {
        let is_condition = |line: &str| {
            let line = line.to_ascii_lowercase();
            line.starts_with("if-match:") || line.starts_with("if-none-match:")
        };
        let lines = self.head.split("\r\n").filter(|line| !is_condition(line));
        self.head = lines.collect::<Vec<_>>().join("\r\n");
        self
    }

    async fn forward(&self) -> Vec<u8> {
        let is_connection = |line: &&str| line.to_ascii_lowercase().starts_with("connection:");
        let lines = self.head.split("\r\n").filter(|line| !is_connection(line));
        let head = lines.collect::<Vec<_>>().join("\r\n");
        let head = format!("{}\r\nConnection: close\r\n\r\n", head.trim_end());
        exchange(&[head.as_bytes(), &self.body].concat()).await
    }
}

/// What happens to a request.
#[derive(Clone)]
pub(crate) enum Fate {
    Pass,
    /// It arrives once this is notified.
    Later(Arc<Held>),
    /// It arrives, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks before it arrives.
    LoseRequest,
    /// Its conditions are ignored.
    Unconditional,
    /// It does not arrive; this is the whole answer.
    Answer(&'static str),
}

/// A request that waits.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) arrived: Notify,
    pub(crate) released: Notify,
}

type Plan = Arc<Mutex<dyn FnMut(&Request) -> Fate + Send>>;

/// Stands before the server until it is dropped.
pub(crate) struct Relay {
    pub(crate) endpoint: String,
    plan: Arc<Mutex<Plan>>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let pass: Plan = Arc::new(Mutex::new(|_: &Request| Fate::Pass));
        let plan = Arc::new(Mutex::new(pass));
        let plans = Arc::clone(&plan);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&plans)));
            }
        });
        Self { endpoint, plan, task }
    }

    /// From now on requests meet what the plan says.
    pub(crate) fn plan(&self, plan: impl FnMut(&Request) -> Fate + Send + 'static) {
        *self.plan.lock().unwrap() = Arc::new(Mutex::new(plan));
    }

    pub(crate) fn pass(&self) {
        self.plan(|_| Fate::Pass);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request a connection: the answer says that it closes.
async fn serve(mut connection: TcpStream, plans: Arc<Mutex<Plan>>) {
    let Some(request) = receive(&mut connection).await else { return };
    let plan = Arc::clone(&plans.lock().unwrap());
    let fate = (plan.lock().unwrap())(&request);
    let response = match fate {
        Fate::Pass => request.forward().await,
        Fate::Later(held) => {
            held.arrived.notify_one();
            held.released.notified().await;
            request.forward().await
        }
        Fate::LoseAnswer => {
            request.forward().await;
            return;
        }
        Fate::LoseRequest => return,
        Fate::Unconditional => request.without_conditions().forward().await,
        Fate::Answer(response) => response.as_bytes().to_vec(),
    };
    // The other side may have given up.
    let _ = connection.write_all(&response).await;
}

async fn receive(connection: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let wanted = end + 4 + length.unwrap_or(0_usize);
            if bytes.len() >= wanted {
                return Some(Request { head, body: bytes[end + 4..wanted].to_vec() });
            }
        }
        match connection.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    }
}

/// A stream of one test's own.
pub(crate) async fn new_stream(store: &S3Store) -> StreamId {
    let object = builders::object(&SystemEntropy.uuid().to_string());
    let stream = StreamId::numbered(&object, 0);
    store.create(&stream, &builders::header(&object)).await.expect("the id is new");
    stream
}

/// Appends the events of these numbers at the head.
pub(crate) async fn append(
    store: &S3Store,
    stream: &StreamId,
    numbers: std::ops::Range<u64>,
) -> Result<Appended, StoreError> {
    let append = builders::append(ExpectedVersion::Any, builders::events(numbers));
    store.append(stream, append).await
}

/// The numbers of all events, in order; each read from a page that starts where the last ended.
pub(crate) async fn numbers(store: &S3Store, stream: &StreamId) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut from = Version::FIRST;
    loop {
        let page = store.read(stream, builders::range(from.0)).await.expect("it can be read");
        assert_eq!(page.first, from);
        from = page.next();
        numbers.extend(page.events.iter().map(|event| {
            let number = event.metadata["number"].parse::<u64>();
            number.expect("test events bear their number")
        }));
        if page.reaches_head() {
            return numbers;
        }
    }
}
