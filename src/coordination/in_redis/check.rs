//! Whether Redis can be used as the settings say, and if it cannot, what is missing: for people
//! who set it up, before a proxy runs. It leaves nothing behind.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::sync::{Arc, LazyLock};

use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind};
use redis::{FromRedisValue, Value};
use uuid::Uuid;

use super::dial::{Dialer, Link, RedisSettingsError, Way, is_tls};
use super::keys::Keys;
use super::options::RedisOptions;
use super::script::Script;
use crate::domain::ErrorClass;
use crate::runtime::Runtime;

/// What keeps Redis from being used. A cause is told with it, since one from the client says itself
/// what its own cause says.
#[derive(Debug, thiserror::Error)]
pub enum RedisProblem {
    #[error(transparent)]
    Settings(#[from] RedisSettingsError),
    #[error("{place} does not answer: {cause}")]
    Silent { place: String, cause: RedisError },
    #[error(
        "{place} ends the connection; if it speaks TLS, its URL begins with rediss://: {cause}"
    )]
    CutOff { place: String, cause: RedisError },
    #[error("no TLS comes about with {place}: {cause}")]
    Tls { place: String, cause: RedisError },
    #[error("{place} speaks no TLS, and its URL begins with rediss://")]
    InClear { place: String },
    #[error("{place} asks for a password, and none is set")]
    PasswordMissing { place: String },
    #[error("{place} does not take this name and password: {cause}")]
    PasswordWrong { place: String, cause: RedisError },
    #[error("the sentinels {sentinels} know no service {service:?} (sentinel_service)")]
    ServiceUnknown { sentinels: String, service: String },
    #[error("{place} is a replica, and takes no writes")]
    Replica { place: String },
    #[error("{place} is a node of a cluster, which cluster_urls name")]
    NodeOfCluster { place: String },
    #[error("{place} is no node of a cluster, and cluster_urls names it")]
    NoNodeOfCluster { place: String },
    #[error("{slots} of {SLOTS} slots of the cluster have no node")]
    SlotsMissing { slots: usize },
    #[error("the user may not do at {place} what a proxy does: {cause}")]
    Forbidden { place: String, cause: RedisError },
    #[error("{place} refuses what a proxy asks of it: {cause}")]
    Refused { place: String, cause: RedisError },
}

impl RedisProblem {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Settings(_)
            | Self::CutOff { .. }
            | Self::Tls { .. }
            | Self::InClear { .. }
            | Self::ServiceUnknown { .. }
            | Self::NodeOfCluster { .. }
            | Self::NoNodeOfCluster { .. } => ErrorClass::Invalid,
            Self::PasswordMissing { .. } | Self::PasswordWrong { .. } => {
                ErrorClass::Unauthenticated
            }
            Self::Forbidden { .. } => ErrorClass::Forbidden,
            Self::Replica { .. } => ErrorClass::Refused,
            Self::Silent { .. } | Self::SlotsMissing { .. } | Self::Refused { .. } => {
                ErrorClass::Unavailable
            }
        }
    }

    /// Why there is no connection to a place, or none any more.
    fn of_connection(place: &Place, cause: RedisError) -> Self {
        let name = place.name.clone();
        match broken_as(&cause) {
            Some(io::ErrorKind::InvalidData) if place.is_tls => Self::Tls { place: name, cause },
            Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
            | Some(io::ErrorKind::BrokenPipe) => match place.is_tls {
                true => Self::Tls { place: name, cause },
                false => Self::CutOff { place: name, cause },
            },
            Some(_) => Self::Silent { place: name, cause },
            None => Self::of_answer(place, cause),
        }
    }

    /// Why a place does not do what it was asked.
    fn of_answer(place: &Place, cause: RedisError) -> Self {
        if cause.is_io_error() {
            return Self::of_connection(place, cause);
        }
        let name = place.name.clone();
        if cause.code() == Some("NOAUTH") {
            return Self::PasswordMissing { place: name };
        }
        if cause.kind() == ErrorKind::AuthenticationFailed || cause.code() == Some("WRONGPASS") {
            return Self::PasswordWrong { place: name, cause };
        }
        match cause.kind() {
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                Self::Replica { place: name }
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::Forbidden { place: name, cause },
            _ => Self::Refused { place: name, cause },
        }
    }
}

/// How a connection broke, as the system or TLS has it; nothing if a server answered.
fn broken_as(error: &RedisError) -> Option<io::ErrorKind> {
    if !error.is_io_error() {
        return None;
    }
    let shared = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>();
    let cause = shared.and_then(|cause| cause.downcast_ref::<io::Error>());
    Some(cause.map_or(io::ErrorKind::Other, io::Error::kind))
}

/// Whom a problem is told of.
struct Place {
    name: String,
    is_tls: bool,
}

impl Place {
    fn of(address: &ConnectionAddr) -> Self {
        Self { name: address.to_string(), is_tls: is_tls(address) }
    }

    fn of_all(infos: &[ConnectionInfo]) -> Self {
        let mut names: Vec<String> = infos.iter().map(|info| info.addr().to_string()).collect();
        names.sort_unstable();
        let is_tls = infos.iter().any(|info| is_tls(info.addr()));
        Self { name: names.join(", "), is_tls }
    }
}

const SLOTS: usize = 16_384;

/// How long a key lives that is not removed.
const KEPT_MS: &str = "1000";

/// KEYS: one of our own. ARGV: how long it lives. Writes as other scripts do.
static TRY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"redis.call('SET', KEYS[1], 'tried', 'PX', ARGV[1])
return redis.call('DEL', KEYS[1])",
    )
});

/// Connects as a proxy of the deployment does, and tries what one needs. A deployment that is not
/// known yet is looked at as if its id were nil.
///
/// # Errors
///
/// The first thing that is missing.
pub async fn look(
    options: &RedisOptions,
    deployment: Option<Uuid>,
    runtime: &Runtime,
) -> Result<(), RedisProblem> {
    let keys = Keys::new(&options.prefix(deployment.unwrap_or_default()));
    let looking = Looking { dialer: Dialer::new(options.clone(), runtime.clone())?, options, keys };
    match looking.dialer.way()? {
        Way::Server(client) => looking.server(&client).await,
        Way::Sentinels(mut sentinels) => {
            let urls = &options.sentinel_urls;
            let infos: Vec<ConnectionInfo> =
                urls.iter().map(super::dial::address).collect::<Result<_, _>>()?;
            let client = looking.dialer.in_time(sentinels.async_get_client()).await;
            let client = client.map_err(|error| looking.sentinels(&infos, error))?;
            looking.server(&client).await
        }
        Way::Cluster(_, nodes) => looking.cluster(&nodes).await,
    }
}

struct Looking<'a> {
    dialer: Dialer,
    options: &'a RedisOptions,
    keys: Keys,
}

impl Looking<'_> {
    async fn server(&self, client: &Client) -> Result<(), RedisProblem> {
        let place = Place::of(client.get_connection_info().addr());
        let mut link = self.connect(client).await?;
        // A server alone does not know this command, and nothing else tells everybody.
        if ask::<Value>(&mut link, &redis::cmd("READWRITE")).await.is_ok() {
            return Err(RedisProblem::NodeOfCluster { place: place.name });
        }
        self.work(&mut link, &place).await
    }

    fn sentinels(&self, infos: &[ConnectionInfo], error: RedisError) -> RedisProblem {
        let place = Place::of_all(infos);
        if error.kind() == ErrorKind::MasterNameNotFoundBySentinel {
            let service = self.options.sentinel_service.clone().unwrap_or_default();
            return RedisProblem::ServiceUnknown { sentinels: place.name, service };
        }
        RedisProblem::of_connection(&place, error)
    }

    async fn cluster(&self, nodes: &[Client]) -> Result<(), RedisProblem> {
        let (asked, slots) = self.slots(nodes).await?;
        let served: usize = slots.iter().map(|range| range.last + 1 - range.first).sum();
        if served < SLOTS {
            return Err(RedisProblem::SlotsMissing { slots: SLOTS - served });
        }
        let owners: BTreeSet<(String, u16)> = slots.into_iter().map(|range| range.owner).collect();
        for (host, port) in owners {
            let info = asked.get_connection_info();
            let address = at(info.addr(), host, port);
            let client = Client::open(info.clone().set_addr(address));
            self.connect(&client.map_err(RedisSettingsError::Address)?).await?;
        }
        let infos: Vec<ConnectionInfo> =
            nodes.iter().map(|node| node.get_connection_info().clone()).collect();
        let place = Place::of_all(&infos);
        let link = self.dialer.dial().await;
        let mut link = link.map_err(|error| RedisProblem::of_connection(&place, error))?;
        self.work(&mut link, &place).await
    }

    /// Who has which slots, as the first node says that answers.
    async fn slots<'a>(
        &self,
        nodes: &'a [Client],
    ) -> Result<(&'a Client, Vec<Slots>), RedisProblem> {
        let mut last = None;
        for node in nodes {
            match self.connect(node).await {
                Ok(mut link) => {
                    let addr = node.get_connection_info().addr();
                    let answer: Result<Vec<Value>, RedisError> =
                        ask(&mut link, redis::cmd("CLUSTER").arg("SLOTS")).await;
                    let place = Place::of(addr);
                    let ranges = match answer {
                        Ok(ranges) => ranges,
                        Err(error) if is_no_cluster(&error) => {
                            return Err(RedisProblem::NoNodeOfCluster { place: place.name });
                        }
                        Err(error) => return Err(RedisProblem::of_answer(&place, error)),
                    };
                    let ranges = ranges.into_iter().map(|range| Slots::of(range, addr));
                    let ranges = ranges.collect::<Result<_, _>>();
                    let ranges = ranges.map_err(|error| RedisProblem::of_answer(&place, error))?;
                    return Ok((node, ranges));
                }
                Err(problem) => last = Some(problem),
            }
        }
        Err(last.expect("a checked cluster has nodes"))
    }

    /// Connects, and sees that commands are taken.
    async fn connect(&self, client: &Client) -> Result<Link, RedisProblem> {
        let place = Place::of(client.get_connection_info().addr());
        let mut link = match self.dialer.server(client).await {
            Ok(link) => link,
            Err(error) if place.is_tls && error.is_timeout() && self.is_in_clear(client).await => {
                return Err(RedisProblem::InClear { place: place.name });
            }
            Err(error) => return Err(RedisProblem::of_connection(&place, error)),
        };
        let pong = ask::<Value>(&mut link, &redis::cmd("PING")).await;
        pong.map_err(|error| RedisProblem::of_answer(&place, error))?;
        Ok(link)
    }

    /// Whether a server answers without TLS. Waiting for more of what it takes for a command, it
    /// says nothing to one who begins with TLS. It is told nothing secret.
    async fn is_in_clear(&self, client: &Client) -> bool {
        let ConnectionAddr::TcpTls { host, port, .. } = client.get_connection_info().addr() else {
            return false;
        };
        let Ok(client) = Client::open((host.as_str(), *port)) else { return false };
        match self.dialer.server(&client).await {
            Ok(mut link) => match ask::<Value>(&mut link, &redis::cmd("PING")).await {
                Ok(_) => true,
                Err(error) => !error.is_io_error(),
            },
            Err(_) => false,
        }
    }

    /// What a proxy does: scripts that write, and hints.
    async fn work(&self, link: &mut Link, place: &Place) -> Result<(), RedisProblem> {
        let (key, channel) = (self.keys.of_deployment("check"), self.keys.of_deployment("hints"));
        // One by one first: what a script may not do is not said by name.
        let commands = [
            redis::cmd("TIME"),
            redis::cmd("SET").arg(&key).arg("tried").arg("PX").arg(KEPT_MS).take(),
            redis::cmd("GET").arg(&key).take(),
            redis::cmd("DEL").arg(&key).take(),
            TRY.in_full(&[&key], &[KEPT_MS]),
            // Nobody takes this for a hint.
            redis::cmd("PUBLISH").arg(&channel).arg("").take(),
        ];
        for command in commands {
            let done = ask::<Value>(link, &command).await;
            done.map_err(|error| RedisProblem::of_answer(place, error))?;
        }
        let hears = async {
            let mut listening = self.dialer.dial_pubsub().await?;
            self.dialer.in_time(listening.subscribe(&channel)).await
        };
        hears.await.map_err(|error| RedisProblem::of_answer(place, error))
    }
}

async fn ask<T: FromRedisValue>(link: &mut Link, command: &Cmd) -> Result<T, RedisError> {
    let value = link.request(command).await?.extract_error()?;
    Ok(T::from_redis_value(value)?)
}

fn is_no_cluster(error: &RedisError) -> bool {
    error.to_string().contains("cluster support disabled")
}

/// Slots that lie together, and who has them.
struct Slots {
    first: usize,
    last: usize,
    owner: (String, u16),
}

impl Slots {
    /// Of one part of the answer of the node at this address: first, last, owner, replicas. An
    /// owner without a host has the host that was asked.
    fn of(range: Value, asked: &ConnectionAddr) -> Result<Self, RedisError> {
        let mut parts = Vec::<Value>::from_redis_value(range)?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        let (first, last) = (usize::from_redis_value(next())?, usize::from_redis_value(next())?);
        let mut owner = Vec::<Value>::from_redis_value(next())?.into_iter();
        let host = Option::<String>::from_redis_value(owner.next().unwrap_or(Value::Nil))?;
        let port = u16::from_redis_value(owner.next().unwrap_or(Value::Nil))?;
        let host = host.filter(|host| !host.is_empty() && host != "?");
        let host = host.unwrap_or_else(|| host_of(asked));
        Ok(Self { first, last, owner: (host, port) })
    }
}

fn host_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// The address of another node, which is reached as the known one is.
fn at(known: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match known.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}
