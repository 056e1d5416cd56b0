//! What happens to a fleet: each trouble begins, lasts a while and ends.

use std::collections::BTreeSet;
use std::time::Duration;

use streamgate::runtime::Entropy;

use super::proxies::{Fleet, LEASE, Needed, STORES};
use super::relay::Link;

/// One trouble, and the proxy that it concerns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trouble {
    /// `kill -9`, and started again.
    Killed(usize),
    /// Stopped for longer than its leases last, and woken.
    Asleep(usize),
    /// Redis is killed, and started again with nothing in it.
    RedisKilled,
    /// A link breaks, or carries nothing any more.
    Parted(usize, Needed, Link),
    /// The server ends the connections of a proxy, or of all.
    ConnectionsEnded(Option<usize>),
}

/// Every kind of trouble, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Killed,
    Asleep,
    RedisKilled,
    CutFromRedis,
    StalledFromRedis,
    CutFromStore,
    StalledFromStore,
    ConnectionsEnded,
}

const KINDS: [Kind; 8] = [
    Kind::Killed,
    Kind::Asleep,
    Kind::RedisKilled,
    Kind::CutFromRedis,
    Kind::StalledFromRedis,
    Kind::CutFromStore,
    Kind::StalledFromStore,
    Kind::ConnectionsEnded,
];

/// Troubles in random order, with no kind left out for long.
pub(super) struct Troubles {
    proxies: u64,
    left: BTreeSet<Kind>,
}

impl Troubles {
    pub(super) fn new(proxies: usize) -> Self {
        Self { proxies: proxies as u64, left: BTreeSet::new() }
    }

    pub(super) fn next(&mut self, entropy: &dyn Entropy) -> Trouble {
        if self.left.is_empty() {
            self.left.extend(KINDS);
        }
        let place = choose(entropy, self.left.len());
        let kind = *self.left.iter().nth(place).unwrap();
        self.left.remove(&kind);
        let proxy = usize::try_from(entropy.below(self.proxies)).unwrap();
        let store = Needed::Store(STORES[choose(entropy, STORES.len())]);
        match kind {
            Kind::Killed => Trouble::Killed(proxy),
            Kind::Asleep => Trouble::Asleep(proxy),
            Kind::RedisKilled => Trouble::RedisKilled,
            Kind::CutFromRedis => Trouble::Parted(proxy, Needed::Redis, Link::Cut),
            Kind::StalledFromRedis => Trouble::Parted(proxy, Needed::Redis, Link::Stalled),
            Kind::CutFromStore => Trouble::Parted(proxy, store, Link::Cut),
            Kind::StalledFromStore => Trouble::Parted(proxy, store, Link::Stalled),
            Kind::ConnectionsEnded => {
                let one = entropy.below(2) == 0;
                Trouble::ConnectionsEnded(one.then_some(proxy))
            }
        }
    }
}

fn choose(entropy: &dyn Entropy, count: usize) -> usize {
    usize::try_from(entropy.below(count as u64)).unwrap()
}

impl Trouble {
    /// How long it lasts.
    pub(super) fn length(self, entropy: &dyn Entropy) -> Duration {
        let lease = u64::try_from(LEASE.as_millis()).unwrap();
        let millis = match self {
            Self::Killed(_) | Self::RedisKilled => entropy.below(lease / 2),
            Self::Asleep(_) => lease + lease / 8 + entropy.below(lease / 4),
            Self::Parted(..) => 50 + entropy.below(lease + lease / 4),
            Self::ConnectionsEnded(_) => 0,
        };
        Duration::from_millis(millis)
    }

    /// Whether both can be there at once.
    pub(super) fn goes_with(self, other: Self) -> bool {
        self.concerns().is_disjoint(&other.concerns())
    }

    /// The proxy, or what all share.
    fn concerns(self) -> BTreeSet<Option<usize>> {
        match self {
            Self::Killed(proxy) | Self::Asleep(proxy) | Self::Parted(proxy, ..) => {
                [Some(proxy)].into()
            }
            Self::RedisKilled | Self::ConnectionsEnded(None) => [None].into(),
            Self::ConnectionsEnded(Some(proxy)) => [Some(proxy)].into(),
        }
    }

    pub(super) async fn begin(self, fleet: &mut Fleet) {
        match self {
            Self::Killed(proxy) => fleet.proxies[proxy].kill(),
            Self::Asleep(proxy) => fleet.proxies[proxy].signal("STOP"),
            Self::RedisKilled => fleet.redis.kill(),
            Self::Parted(proxy, needed, link) => fleet.proxies[proxy].link(needed, link),
            Self::ConnectionsEnded(proxy) => {
                let name = proxy.map(|proxy| fleet.proxies[proxy].name.as_str());
                let ended = fleet.database.end_connections(name).await;
                assert!(ended > 0, "no connection was there to be ended");
            }
        }
    }

    pub(super) async fn end(self, fleet: &mut Fleet) {
        match self {
            Self::Killed(proxy) => {
                fleet.proxies[proxy].start();
                fleet.proxies[proxy].ready().await;
            }
            Self::Asleep(proxy) => fleet.proxies[proxy].signal("CONT"),
            Self::RedisKilled => fleet.redis.start_again().await,
            Self::Parted(proxy, needed, _) => fleet.proxies[proxy].link(needed, Link::Whole),
            Self::ConnectionsEnded(_) => {}
        }
    }
}
