//! PgBouncer in transaction mode: connections change hands after every transaction.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use futures::future::join_all;
use streamgate::backends::postgres::{PostgresOptions, PostgresStore};
use streamgate::runtime::Secret;
use streamgate::testing::builders::{event, events};
use tempfile::TempDir;

use super::kit::{append, open, options, read_all, stream, until, url};

/// A pooler that hands out two connections to the server.
pub(super) struct Pooler {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Pooler {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server: tokio_postgres::Config = url().parse().unwrap();
        let server_port = server.get_ports()[0];
        let user = server.get_user().unwrap().to_owned();
        let port = free_port();
        let users = folder.path().join("users.txt");
        std::fs::write(&users, format!("\"{user}\" \"\"\n")).unwrap();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 2\nmax_client_conn = 200\n",
            users.display()
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("pgbouncer");
        if is_root() {
            command.args(["-u", "postgres"]);
            std::fs::set_permissions(folder.path(), permissions(0o755)).unwrap();
        }
        let process = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("pgbouncer is installed: `scripts/services up` sees to it");
        let database = server.get_dbname().unwrap();
        let url = format!("postgres://{user}@127.0.0.1:{port}/{database}");
        let pooler = Self { process, url, _folder: folder };
        until("the pooler answers", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        pooler
    }

    pub(super) fn options(&self) -> PostgresOptions {
        PostgresOptions { url: Secret::Text(self.url.clone()), ..options() }
    }

    pub(super) async fn store(&self) -> PostgresStore {
        open(&self.options()).await.unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn free_port() -> u16 {
    // Below the range from which outgoing connections take theirs.
    let start = 12_000 + u16::try_from(std::process::id() % 15_000).unwrap();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (start..32_000).find(is_free).expect("some port is free")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_two_connections() {
    let pooler = Pooler::start().await;
    let store = pooler.store().await;
    let orders = stream(&store, "1").await;
    let appends = (0..200).map(|number| append(&store, &orders, vec![event(number)]));
    for answer in join_all(appends).await {
        answer.unwrap();
    }
    let mut held = read_all(&store, &orders).await;
    held.sort_by_key(|event| event.event_id);
    assert_eq!(held, events(0..200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_heard_goes_past_the_pooler() {
    let pooler = Pooler::start().await;
    let direct = Some(Secret::Text(url()));
    let options = PostgresOptions { listen_url: direct, ..pooler.options() };
    let wakeups = streamgate::store::Wakeups::new();
    let _reader = super::kit::open_told(&options, &wakeups).await.unwrap();
    let writer = open(&options).await.unwrap();
    let orders = stream(&writer, "1").await;
    let store = streamgate::testing::builders::store_name("hot");
    let address = streamgate::domain::StreamAddress { store, stream_id: orders.clone() };
    let mut watch = wakeups.watch(&address);
    append(&writer, &orders, events(0..1)).await.unwrap();
    tokio::time::timeout(super::kit::PATIENCE, watch.changed()).await.unwrap();
}
