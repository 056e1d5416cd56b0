//! Servers that one test has to itself, to kill, stop and start them: one alone, one with a
//! replica under sentinels, and a cluster.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::RedisOptions;
use streamgate::runtime::{Runtime, Secret};
use tempfile::TempDir;

use crate::certificates::Certificates;

/// Certificates, and the name of the pair that servers show.
pub(super) type Tls = (Arc<Certificates>, &'static str);

/// One process of Redis: a server, or a sentinel.
pub(super) struct OwnServer {
    program: &'static str,
    arguments: Vec<String>,
    pub(super) port: u16,
    /// With it the port speaks TLS alone.
    tls: Option<Tls>,
    folder: TempDir,
    running: Option<Child>,
}

impl OwnServer {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these settings beside the port.
    pub(super) async fn start_with(settings: &[&str]) -> Self {
        Self::start_with_tls(settings, None).await
    }

    pub(super) async fn start_with_tls(settings: &[&str], tls: Option<Tls>) -> Self {
        // Somebody else may take the port before the server does.
        for _ in 0..8 {
            let mut server = Self::new("redis-server", settings, tls.clone());
            server.run();
            if server.answers().await {
                return server;
            }
        }
        panic!("no server of Redis started");
    }

    fn new(program: &'static str, settings: &[&str], tls: Option<Tls>) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let arguments = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { program, arguments, port, tls, folder, running: None }
    }

    fn run(&mut self) {
        let mut command = Command::new(self.program);
        if self.program == "redis-sentinel" {
            command.arg(self.folder.path().join("sentinel.conf"));
        } else {
            for (setting, value) in self.listening() {
                command.args([format!("--{setting}"), value]);
            }
            command.args(["--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "no", "--repl-diskless-sync-delay", "0", "--dir"]);
            command.arg(self.folder.path());
        }
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log);
        self.running = Some(command.spawn().expect("scripts/services installs Redis"));
    }

    /// The settings of the port, and of what is spoken there.
    fn listening(&self) -> Vec<(&'static str, String)> {
        let port = self.port.to_string();
        let Some((made, pair)) = &self.tls else { return vec![("port", port)] };
        let mut settings = vec![("port", "0".into()), ("tls-port", port)];
        settings.extend(made.of_server(pair));
        settings
    }

    /// Whether it is this very process that answers; false if it ended instead.
    async fn answers(&mut self) -> bool {
        loop {
            let running = self.running.as_mut().unwrap();
            if running.try_wait().unwrap().is_some() {
                return false;
            }
            // The log is this process's own; another that has the port would answer as well.
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            if log.contains("Ready to accept connections") || log.contains("+monitor master main") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    pub(super) fn options(&self) -> RedisOptions {
        known(self.tls.as_ref(), RedisOptions::at(self.url()))
    }

    /// What it answers to a command by hand; nothing if it does not.
    pub(super) fn cli(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let mut asking = cli(self.tls.as_ref());
        let output = asking.args(["-p", &port]).args(command).output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    /// Also that it is connected with the others: what is published at one node is heard at
    /// another over these connections only.
    fn knows_the_whole_cluster(&self) -> bool {
        let others = self.cli(&["cluster", "nodes"]);
        let others: Vec<&str> = others.lines().filter(|line| !line.contains("myself")).collect();
        let are_there = |line: &&str| line.contains(" connected ") && !line.contains("handshake");
        self.cli(&["cluster", "info"]).contains("cluster_state:ok")
            && others.len() == 2
            && others.iter().all(are_there)
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    /// Starts it again, on its port and without memory.
    pub(super) async fn start_again(&mut self) {
        // The port may be in use for a moment.
        loop {
            self.run();
            if self.answers().await {
                return;
            }
        }
    }

    /// It keeps its connections, and answers nothing.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.running.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn cli(tls: Option<&Tls>) -> Command {
    let mut command = Command::new("redis-cli");
    if let Some((made, _)) = tls {
        command.args(made.of_cli());
    }
    command
}

fn known(tls: Option<&Tls>, options: RedisOptions) -> RedisOptions {
    match tls {
        Some((made, _)) => made.of_client(options),
        None => options,
    }
}

/// Below the ports of outgoing connections, and so that a cluster's second port is free as well.
fn free_port() -> u16 {
    loop {
        let port = 10_000 + u16::try_from(Runtime::system().entropy.below(12_000)).unwrap();
        let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// A server, its replica, and three sentinels that agree by two.
pub(super) struct Watched {
    pub(super) servers: Vec<OwnServer>,
    sentinels: Vec<OwnServer>,
    tls: Option<Tls>,
}

impl Watched {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS between all of them.
    pub(super) async fn start_with(tls: Option<Tls>) -> Self {
        let first = OwnServer::start_with_tls(&[], tls.clone()).await;
        let port = first.port.to_string();
        let replica = ["--replicaof", "127.0.0.1", &port];
        let second = OwnServer::start_with_tls(&replica, tls.clone()).await;
        while !second.cli(&["info", "replication"]).contains("master_link_status:up") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let mut sentinel = OwnServer::new("redis-sentinel", &[], tls.clone());
            let mut settings = format!(
                "bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
            );
            for (setting, value) in sentinel.listening() {
                settings += &format!("{setting} {value}\n");
            }
            std::fs::write(sentinel.folder.path().join("sentinel.conf"), settings).unwrap();
            sentinel.run();
            assert!(sentinel.answers().await, "a sentinel did not start");
            sentinels.push(sentinel);
        }
        let watched = Self { servers: vec![first, second], sentinels, tls };
        // A failover needs all that know of each other and of the replica.
        for sentinel in &watched.sentinels {
            loop {
                let known = sentinel.cli(&["sentinel", "master", "main"]).replace('\n', " ");
                if known.contains("num-slaves 1") && known.contains("num-other-sentinels 2") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        watched
    }

    pub(super) fn options(&self) -> RedisOptions {
        let urls = self.sentinels.iter().map(|sentinel| Secret::Text(sentinel.url()));
        let options = RedisOptions {
            sentinel_urls: urls.collect(),
            sentinel_service: Some("main".into()),
            ..RedisOptions::default()
        };
        known(self.tls.as_ref(), options)
    }
}

/// Three servers that share the keys.
pub(super) struct Cluster {
    pub(super) nodes: Vec<OwnServer>,
    tls: Option<Tls>,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS between all of them.
    pub(super) async fn start_with(tls: Option<Tls>) -> Self {
        let nodes = Self::nodes(tls.clone()).await;
        let mut command = cli(tls.as_ref());
        command.args(["--cluster", "create"]);
        command.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let output = command.arg("--cluster-yes").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        // It asks the nodes once whether they agree, which those of a busy machine do a little
        // later; that they do in the end is waited for below.
        let is_made = output.status.success() || said.contains("don't agree");
        assert!(is_made, "{said}{}", String::from_utf8_lossy(&output.stderr));
        for node in &nodes {
            while !node.knows_the_whole_cluster() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Self { nodes, tls }
    }

    /// Servers that may become a cluster, and know nothing of each other.
    pub(super) async fn nodes(tls: Option<Tls>) -> Vec<OwnServer> {
        let mut settings =
            vec!["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        if tls.is_some() {
            settings.extend(["--tls-cluster", "yes"]);
        }
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(OwnServer::start_with_tls(&settings, tls.clone()).await);
        }
        nodes
    }

    pub(super) fn options(&self) -> RedisOptions {
        let urls = self.nodes.iter().map(|node| Secret::Text(node.url()));
        let options = RedisOptions { cluster_urls: urls.collect(), ..RedisOptions::default() };
        known(self.tls.as_ref(), options)
    }
}
