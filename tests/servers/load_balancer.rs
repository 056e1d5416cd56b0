//! Three proxies behind nginx with the very configuration of `compose.yaml`: every kind of call
//! goes through, and proxies that leave one by one are not noticed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use serde::Deserialize;
use streamgate::grpc::v1;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::runtime::{Entropy, SystemEntropy};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::service::variable;

const PATIENCE: Duration = Duration::from_secs(60);
const REPEATS_MAX: u64 = 100;
const NGINX: &str = include_str!("../../deploy/compose/nginx.conf");

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Running {
    fn tell(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(told.unwrap().success());
    }
}

struct Proxy {
    process: Running,
    ready: Ready,
}

#[derive(Deserialize)]
struct Ready {
    grpc: SocketAddr,
    http: SocketAddr,
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Proxies over one schema, and a load balancer before them.
struct Fleet {
    folder: TempDir,
    proxies: Vec<Proxy>,
    _balancer: Running,
}

impl Fleet {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let schema = format!("test_{}", SystemEntropy.uuid().simple());
        let url = variable("STREAMGATE_TEST_POSTGRES_URL");
        let settings = format!(
            "[server]\nhttp_listen = '127.0.0.1:0'\ndrain_delay = '300ms'\n\
             [[stores]]\nname = 'hot'\nkind = 'postgres'\nurl = '{url}'\nlisten_url = '{url}'\n\
             schema = '{schema}'\n"
        );
        fs::write(folder.path().join("streamgate.toml"), settings).unwrap();
        let mut proxies = Vec::new();
        for name in ["proxy-1", "proxy-2", "proxy-3"] {
            proxies.push(serve(folder.path(), name, &format!("{}:0", own_address())).await);
        }
        let balancer = balance(folder.path(), &proxies);
        let fleet = Self { folder, proxies, _balancer: balancer };
        let mut probe = fleet.client().await;
        until("nginx answers", async || probe.get_capabilities(asking()).await.ok()).await;
        fleet
    }

    async fn client(&self) -> EventStoreServiceClient<Channel> {
        let socket = self.folder.path().join("balancer.sock");
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://balancer");
        let channel = endpoint.connect_with_connector_lazy(connector);
        EventStoreServiceClient::new(channel).max_encoding_message_size(16 << 20)
    }
}

/// An address of this machine that no other process uses, so that a port is free again when its
/// proxy is restarted.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.wrapping_add(1), middle, low)
}

async fn serve(folder: &Path, name: &str, listen: &str) -> Proxy {
    let ready = folder.join(format!("{name}.json"));
    _ = fs::remove_file(&ready);
    let log = File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgate"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("STREAMGATE_") && !text.starts_with("STREAMGATE_TEST_") {
            command.env_remove(name);
        }
    }
    command.arg("serve").arg("--config").arg(folder.join("streamgate.toml"));
    command.arg("--ready-file").arg(&ready).args(["--listen", listen]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let process = Running(command.spawn().unwrap());
    let text = until("a proxy serves", async || fs::read(&ready).ok()).await;
    Proxy { process, ready: serde_json::from_slice(&text).unwrap() }
}

/// As it is deployed, but for where everything lies.
fn balance(folder: &Path, proxies: &[Proxy]) -> Running {
    let socket = folder.join("balancer.sock");
    let mut text = NGINX.replace("/tmp/", &format!("{}/", folder.display()));
    text = text.replacen("listen 7400 ", &format!("listen unix:{} ", socket.display()), 1);
    for (index, proxy) in proxies.iter().enumerate() {
        let named = format!("proxy-{}:7400", index + 1);
        assert!(text.contains(&named), "{text}");
        text = text.replace(&named, &proxy.ready.grpc.to_string());
    }
    let config = folder.join("nginx.conf");
    fs::write(&config, text).unwrap();
    let log = File::create(folder.join("nginx.log")).unwrap();
    let mut command = Command::new(nginx());
    command.arg("-p").arg(folder).arg("-c").arg(&config).args(["-g", "daemon off;"]);
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

fn nginx() -> PathBuf {
    // Debian keeps it where only root's PATH leads.
    let usual = PathBuf::from("/usr/sbin/nginx");
    if usual.exists() { usual } else { "nginx".into() }
}

fn object(id: &str) -> Option<v1::ObjectRef> {
    Some(v1::ObjectRef { object_name: "order".into(), object_id: id.into() })
}

fn event(bytes: usize) -> v1::NewEvent {
    v1::NewEvent {
        event_id: SystemEntropy.uuid().to_string(),
        event_type: "OrderPlaced".into(),
        payload: vec![7; bytes].into(),
        ..Default::default()
    }
}

fn append(id: &str, events: Vec<v1::NewEvent>) -> v1::AppendRequest {
    v1::AppendRequest { object: object(id), events, ..Default::default() }
}

fn asking() -> v1::GetCapabilitiesRequest {
    v1::GetCapabilitiesRequest::default()
}

type Client = EventStoreServiceClient<Channel>;

async fn history(client: &mut Client, id: &str) -> Vec<String> {
    let request = v1::ReadRequest { object: object(id), ..Default::default() };
    let mut answer = client.read(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(response) = answer.message().await.unwrap() {
        if let Some(v1::read_response::Message::Batch(batch)) = response.message {
            found.extend(batch.events.into_iter().map(|event| event.event_id));
        }
    }
    found
}

/// How many appends a proxy has done.
async fn appends_at(http: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let wanted = "streamgate_rpc_duration_seconds_count{method=\"Append\",outcome=\"ok\"} ";
    text.lines().find_map(|line| line.strip_prefix(wanted)).map_or(0, |it| it.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_goes_through_and_is_spread_over_all_proxies() {
    let fleet = Fleet::start().await;
    let mut client = fleet.client().await;
    for round in 0..30 {
        client.append(append(&round.to_string(), vec![event(16)])).await.unwrap();
    }
    for proxy in &fleet.proxies {
        assert!(appends_at(proxy.ready.http).await > 0, "one proxy was left out");
    }
    // More than a body may have where nothing else is said.
    let large = append("large", (0..4).map(|_| event(900_000)).collect());
    client.append(large).await.unwrap();

    // A session, in which the next request follows the answer to the one before.
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let request = |sequence| v1::AppendSessionRequest {
        sequence,
        append: Some(append("session", vec![event(16)])),
        ..Default::default()
    };
    sender.send(request(1)).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client.append_session(requests).await.unwrap().into_inner();
    for sequence in 1..=5 {
        assert_eq!(answers.next().await.unwrap().unwrap().sequence, sequence);
        sender.send(request(sequence + 1)).await.unwrap();
    }
    drop(sender);
    while let Some(answer) = answers.next().await {
        answer.unwrap();
    }

    // A follower hears of what is appended while it waits.
    let request = v1::ReadRequest {
        object: object("0"),
        follow: Some(v1::FollowOptions::default()),
        ..Default::default()
    };
    let mut follower = client.clone().read(request).await.unwrap().into_inner();
    let mut seen = 0;
    while seen < 3 {
        let response = follower.message().await.unwrap().expect("it stays");
        match response.message {
            Some(v1::read_response::Message::Batch(batch)) => seen += batch.events.len(),
            Some(v1::read_response::Message::CaughtUp(_)) => {
                client.append(append("0", vec![event(16), event(16)])).await.unwrap();
            }
            _ => {}
        }
    }
    let missing = v1::GetObjectRequest { object: object("missing") };
    let status = client.get_object(missing).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert!(!status.details().is_empty(), "details come through: {status:?}");
}

/// As docs/errors.md advises: the same append again, ids and all.
async fn append_patiently(client: &mut Client, request: v1::AppendRequest) -> u64 {
    for repeats in 0..REPEATS_MAX {
        match client.append(request.clone()).await {
            Ok(_) => return repeats,
            Err(status) => assert!(is_transient(&status), "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("repeated in vain");
}

fn is_transient(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_leave_one_by_one_lose_nothing_and_clients_hardly_notice() {
    let mut fleet = Fleet::start().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (mut client, stopped, id) = (fleet.client().await, stopped.clone(), writer.to_string());
        writers.spawn(async move {
            let (mut sent, mut repeats) = (Vec::new(), 0);
            while !*stopped.borrow() {
                let event = event(64);
                sent.push(event.event_id.clone());
                repeats += append_patiently(&mut client, append(&id, vec![event])).await;
            }
            (id, sent, repeats)
        });
    }
    for (index, name) in ["proxy-1", "proxy-2", "proxy-3"].into_iter().enumerate() {
        let Proxy { mut process, ready } = fleet.proxies.remove(index);
        let before = appends_at(ready.http).await;
        let http = ready.http;
        until("it is at work", async || (appends_at(http).await > before).then_some(())).await;
        process.tell("-TERM");
        let status = until("it ends", async || process.0.try_wait().unwrap()).await;
        assert!(status.success(), "{name}: {status}");
        let listen = ready.grpc.to_string();
        fleet.proxies.insert(index, serve(fleet.folder.path(), name, &listen).await);
        let http = fleet.proxies[index].ready.http;
        until("it is back", async || (appends_at(http).await > 0).then_some(())).await;
    }
    stop.send(true).unwrap();
    let (mut client, mut all, mut repeated) = (fleet.client().await, 0, 0);
    while let Some(written) = writers.join_next().await {
        let (id, sent, repeats) = written.unwrap();
        assert_eq!(history(&mut client, &id).await, sent, "each once and in order");
        all += sent.len();
        repeated += repeats;
    }
    println!("{all} appends through three restarts, {repeated} repeated");

    for proxy in &fleet.proxies {
        proxy.process.tell("-KILL");
    }
    let status =
        until("nobody answers", async || client.get_capabilities(asking()).await.err()).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}
