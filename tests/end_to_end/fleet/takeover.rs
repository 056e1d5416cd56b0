//! A proxy that dies, sleeps or is cut off from Redis or a store in the middle of a large
//! migration: another one finishes it, without a person, and what comes back changes nothing.

use streamgate::grpc::v1;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock as _, SystemClock};

use super::proxies::{Fleet, LEASE, Needed, Patience};
use super::relay::Link;
use super::troubles::Trouble;
use crate::client::{Client, has_ended, until};
use crate::ledger::{Ledger, event};

const EVENTS: u64 = 4_000;
/// The whole copy takes some seconds, so that the trouble comes in the middle of it.
const EVENTS_PER_SECOND_MAX: u64 = 1_000;

fn copied(state: &v1::Migration) -> u64 {
    state.progress.as_ref().map_or(0, |progress| progress.events_copied)
}

fn holder(state: &v1::Migration) -> (&str, u64) {
    let lock = state.lock.as_ref();
    lock.map_or(("", 0), |lock| (lock.owner.as_str(), lock.fencing_token))
}

/// A migration in the middle of its copy, in a fleet of two.
struct UnderWay {
    fleet: Fleet,
    clients: [Client; 2],
    ledger: Ledger,
    state: v1::Migration,
    /// The proxy that runs it.
    runner: usize,
}

impl UnderWay {
    async fn begin() -> Self {
        let fleet = Fleet::start(2, Patience::Short).await;
        let clients = [fleet.proxies[0].client(), fleet.proxies[1].client()];
        let (ledger, entropy) = (Ledger::new("large"), SeededEntropy::new(5));
        for _ in 0..EVENTS / 1_000 {
            let floor = ledger.floor();
            let events: Vec<_> = (0..1_000).map(|_| event(&entropy)).collect();
            let answer = clients[0].append(&ledger.object, None, events.clone()).await.unwrap();
            ledger.acknowledge(floor, &events, &answer);
        }
        let started = clients[0].migrate(v1::MigrateRequest {
            request_id: "large".into(),
            object: Some(ledger.object.clone()),
            target_store: "cold".into(),
            options: Some(v1::MigrationOptions {
                events_per_second_max: Some(EVENTS_PER_SECOND_MAX),
                page_events_max: 100,
                ..Default::default()
            }),
            ..Default::default()
        });
        let started = started.await.unwrap();
        let state = until("the migration is under way", async || {
            let state = clients[1].migration(&started.migration_id).await.unwrap();
            (copied(&state) >= EVENTS / 8 || has_ended(&state)).then_some(state)
        })
        .await;
        assert_eq!(state.phase(), v1::MigrationPhase::CatchingUp, "{state:#?}");
        // The one that was asked runs it, unless the other came across it first.
        let runner = usize::from(holder(&state).0 != holder(&started).0);
        Self { fleet, clients, ledger, state, runner }
    }

    async fn seen_by(&self, client: usize) -> v1::Migration {
        self.clients[client].migration(&self.state.migration_id).await.unwrap()
    }

    /// The one that runs it is in trouble until the other has finished it.
    async fn goes_on_after(mut self, trouble: impl FnOnce(usize) -> Trouble) {
        let other = 1 - self.runner;
        let trouble = trouble(self.runner);
        trouble.begin(&mut self.fleet).await;
        let began = SystemClock.monotonic();
        let before = holder(&self.state);
        // It has the lock a moment before it has raised the token in the record.
        let taken = until("the other proxy has taken over, with a greater token", async || {
            let state = self.seen_by(other).await;
            let (owner, token) = holder(&state);
            (!owner.is_empty() && owner != before.0 && token > before.1).then_some(state)
        })
        .await;
        let took = SystemClock.monotonic() - began;
        let ended = until("the end of the migration", async || {
            let state = self.seen_by(other).await;
            has_ended(&state).then_some(state)
        })
        .await;
        assert_eq!(ended.phase(), v1::MigrationPhase::Succeeded, "{ended:#?}");
        assert_eq!(holder(&ended), holder(&taken), "it changed hands again");
        self.ledger.check(&self.clients[other].read(&self.ledger.object).await.unwrap());

        trouble.end(&mut self.fleet).await;
        self.appends_and_reads().await;
        assert_eq!(self.seen_by(self.runner).await, ended, "what came back changed something");
        println!(
            "taken over {:.2} leases of {LEASE:?} after {trouble:?} at {} of {EVENTS} events",
            took.as_secs_f64() / LEASE.as_secs_f64(),
            copied(&self.state)
        );
        self.fleet.stop().await;
    }

    /// Through the one that was in trouble first, then through the other.
    async fn appends_and_reads(&self) {
        let entropy = SeededEntropy::new(6);
        for client in [self.runner, 1 - self.runner] {
            let (floor, events) = (self.ledger.floor(), vec![event(&entropy)]);
            let answer = until("an append", async || {
                self.clients[client].append(&self.ledger.object, None, events.clone()).await.ok()
            });
            self.ledger.acknowledge(floor, &events, &answer.await);
            self.ledger.check(&self.clients[client].read(&self.ledger.object).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_is_taken_over_from() {
    UnderWay::begin().await.goes_on_after(Trouble::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_sleeps_is_taken_over_from_and_changes_nothing_when_it_wakes() {
    UnderWay::begin().await.goes_on_after(Trouble::Asleep).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_cut_from_redis_is_taken_over_from() {
    let cut = |proxy| Trouble::Parted(proxy, Needed::Redis, Link::Cut);
    UnderWay::begin().await.goes_on_after(cut).await;
}

/// The two stores of the migration: the source also keeps the documents.
async fn is_taken_over_from_when_parted(store: &'static str, link: Link) {
    let parted = |proxy| Trouble::Parted(proxy, Needed::Store(store), link);
    UnderWay::begin().await.goes_on_after(parted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_cut_from_the_target_is_taken_over_from() {
    is_taken_over_from_when_parted("cold", Link::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_whose_link_to_the_target_is_silent_is_taken_over_from() {
    is_taken_over_from_when_parted("cold", Link::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_cut_from_the_source_is_taken_over_from() {
    is_taken_over_from_when_parted("hot", Link::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_whose_link_to_the_source_is_silent_is_taken_over_from() {
    is_taken_over_from_when_parted("hot", Link::Stalled).await;
}
