//! Making a connection: to one server, to the one that sentinels name, or to a cluster.
//!
//! Secrets and certificates are looked up for every connection, so that they can be renewed under
//! a running process.

use std::path::Path;
use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, Pipeline, RedisError, RedisFuture, TlsCertificates, Value,
};

use super::options::RedisOptions;
use crate::runtime::{Deadline, Runtime, Secret, SecretMissing};

/// Settings that lead nowhere, found without asking a server.
#[derive(Debug, thiserror::Error)]
pub enum RedisSettingsError {
    #[error("a secret of coordination.redis is missing")]
    Secret(#[from] SecretMissing),
    #[error("{} cannot be used", file.display())]
    Certificate {
        file: std::path::PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("coordination.redis cannot be used")]
    Address(#[source] RedisError),
    #[error("coordination.redis.tls_ca_file is for URLs that begin with rediss://")]
    CertificateWithoutTls,
}

/// An open connection.
#[derive(Clone)]
pub(super) enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) fn request<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    pub(super) fn requests<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }
}

/// Makes connections as the settings say.
pub(super) struct Dialer {
    options: RedisOptions,
    runtime: Runtime,
}

/// Who is asked, with everything looked up.
pub(super) enum Way {
    Server(Box<Client>),
    Sentinels(Box<SentinelClient>),
    /// The cluster, and its nodes one by one.
    Cluster(Box<ClusterClient>, Vec<Client>),
}

impl Dialer {
    /// Fails for settings that could never work. Asks no server.
    pub(super) fn new(options: RedisOptions, runtime: Runtime) -> Result<Self, RedisSettingsError> {
        let dialer = Self { options, runtime };
        dialer.way()?;
        Ok(dialer)
    }

    /// Opens a connection for commands, in bounded time.
    pub(super) async fn dial(&self) -> Result<Link, RedisError> {
        match self.way().map_err(unusable)? {
            Way::Server(client) => self.server(&client).await,
            Way::Sentinels(mut sentinels) => {
                let client = self.in_time(sentinels.async_get_client()).await?;
                self.server(&client).await
            }
            Way::Cluster(cluster, _) => {
                self.in_time(cluster.get_async_connection()).await.map(Link::Cluster)
            }
        }
    }

    /// Opens a connection that listens to channels, in bounded time. In a cluster every node hears
    /// what is published at any other.
    pub(super) async fn dial_pubsub(&self) -> Result<PubSub, RedisError> {
        match self.way().map_err(unusable)? {
            Way::Server(client) => self.in_time(client.get_async_pubsub()).await,
            Way::Sentinels(mut sentinels) => {
                let client = self.in_time(sentinels.async_get_client()).await?;
                self.in_time(client.get_async_pubsub()).await
            }
            Way::Cluster(_, nodes) => {
                let mut last = None;
                for node in nodes {
                    match self.in_time(node.get_async_pubsub()).await {
                        Ok(listening) => return Ok(listening),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.expect("a checked cluster has nodes"))
            }
        }
    }

    /// To this one server.
    pub(super) async fn server(&self, client: &Client) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout));
        let made = client.get_multiplexed_async_connection_with_config(&config);
        self.in_time(made).await.map(Link::Server)
    }

    /// Asking sentinels or a cluster takes several connections, one after the other, some of which
    /// the client bounds by a second: beside servers that are away the rest still gets its turn.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        let steps = if self.options.url.is_some() { 1 } else { 4 };
        let clock = &*self.runtime.clock;
        let deadline = Deadline::after(clock, self.options.connect_timeout * steps);
        deadline.bound(clock, work).await.unwrap_or_else(|_| {
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time").into())
        })
    }

    pub(super) fn way(&self) -> Result<Way, RedisSettingsError> {
        let options = &self.options;
        let certificates = self.certificates()?;
        if let Some(url) = &options.url {
            let info = self.of_the_server(address(url)?)?;
            let client = client(info, certificates)?;
            return Ok(Way::Server(Box::new(client)));
        }
        if options.is_cluster() {
            let nodes: Vec<ConnectionInfo> = self.shuffled(&options.cluster_urls)?;
            let nodes: Vec<ConnectionInfo> =
                nodes.into_iter().map(|node| self.of_the_server(node)).collect::<Result<_, _>>()?;
            let mut cluster = ClusterClient::builder(nodes.clone())
                .retries(1)
                .connection_timeout(options.connect_timeout)
                .response_timeout(options.response_timeout)
                .overall_response_timeout(Some(options.connect_timeout + options.response_timeout));
            if let Some(certificates) = certificates.clone() {
                cluster = cluster.certs(certificates);
            }
            let cluster = cluster.build().map_err(RedisSettingsError::Address)?;
            let nodes = nodes.into_iter().map(|node| client(node, certificates.clone()));
            return Ok(Way::Cluster(Box::new(cluster), nodes.collect::<Result<_, _>>()?));
        }
        self.sentinels(certificates)
    }

    fn sentinels(&self, certificates: Option<TlsCertificates>) -> Result<Way, RedisSettingsError> {
        let options = &self.options;
        let infos: Vec<ConnectionInfo> = self.shuffled(&options.sentinel_urls)?;
        let service = options.sentinel_service.as_deref().unwrap_or_default();
        let addresses: Vec<ConnectionAddr> = infos.iter().map(|info| info.addr().clone()).collect();
        let is_tls = addresses.iter().any(is_tls);
        let master = SentinelServerType::Master;
        let built = SentinelClientBuilder::new(addresses, service, master);
        let mut built = built.map_err(RedisSettingsError::Address)?;
        if is_tls {
            built = built.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            built = built.set_client_to_redis_certificates(certificates.clone());
            built = built.set_client_to_sentinel_certificates(certificates);
        }
        built = built.set_client_to_redis_db(i64::from(options.database));
        if let Some(name) = &options.username {
            built = built.set_client_to_redis_username(name);
        }
        if let Some(password) = &options.password {
            built = built.set_client_to_redis_password(password.reveal()?);
        }
        if let Some(said) = infos.iter().map(ConnectionInfo::redis_settings).next() {
            if let Some(name) = said.username() {
                built = built.set_client_to_sentinel_username(name);
            }
            if let Some(password) = said.password() {
                built = built.set_client_to_sentinel_password(password);
            }
        }
        let sentinels = built.build().map_err(RedisSettingsError::Address)?;
        Ok(Way::Sentinels(Box::new(sentinels)))
    }

    /// In an order of their own for every connection, so that those that are away cost little.
    fn shuffled(&self, urls: &[Secret]) -> Result<Vec<ConnectionInfo>, RedisSettingsError> {
        let mut infos: Vec<ConnectionInfo> = urls.iter().map(address).collect::<Result<_, _>>()?;
        for last in (1..infos.len()).rev() {
            let other = self.runtime.entropy.below(last as u64 + 1);
            infos.swap(last, usize::try_from(other).unwrap_or(last));
        }
        Ok(infos)
    }

    /// With the name and password that are set apart from the URL.
    fn of_the_server(&self, info: ConnectionInfo) -> Result<ConnectionInfo, RedisSettingsError> {
        let mut said = info.redis_settings().clone();
        if let Some(name) = &self.options.username {
            said = said.set_username(name);
        }
        if let Some(password) = &self.options.password {
            said = said.set_password(password.reveal()?);
        }
        Ok(info.set_redis_settings(said))
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, RedisSettingsError> {
        let options = &self.options;
        let root_cert = options.tls_ca_file.as_deref().map(read).transpose()?;
        let client_tls = match (&options.tls_cert_file, &options.tls_key_file) {
            (Some(certificate), Some(key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            (_, _) => None,
        };
        let is_set = root_cert.is_some() || client_tls.is_some();
        Ok(is_set.then_some(TlsCertificates { client_tls, root_cert }))
    }
}

fn client(
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> Result<Client, RedisSettingsError> {
    let made = match certificates {
        Some(_) if !is_tls(info.addr()) => return Err(RedisSettingsError::CertificateWithoutTls),
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    };
    made.map_err(RedisSettingsError::Address)
}

pub(super) fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}

pub(super) fn address(url: &Secret) -> Result<ConnectionInfo, RedisSettingsError> {
    let url = url.reveal()?;
    let info = url.as_str().into_connection_info().map_err(RedisSettingsError::Address)?;
    let said = info.redis_settings().clone().set_lib_name("streamgate", env!("CARGO_PKG_VERSION"));
    Ok(info.set_redis_settings(said))
}

fn read(file: &Path) -> Result<Vec<u8>, RedisSettingsError> {
    std::fs::read(file)
        .map_err(|cause| RedisSettingsError::Certificate { file: file.to_path_buf(), cause })
}

/// Settings that worked when the process began, and do not any more.
fn unusable(error: RedisSettingsError) -> RedisError {
    let error: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
    std::io::Error::other(error).into()
}
