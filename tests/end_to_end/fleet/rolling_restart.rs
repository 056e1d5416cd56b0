//! A fleet of three that is restarted one by one, under load and with migrations running: clients
//! that repeat calls as they are told to see no error.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use streamgate::grpc::v1;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock as _, Entropy, SystemClock};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tonic::{Code, Status};

use super::proxies::{Fleet, Patience, STORES};
use crate::client::{Client, History, WITHIN, has_ended, reason, soon, until};
use crate::ledger::{Company, Ledger, event};

const PROXIES: usize = 3;
const OBJECTS: usize = 9;
/// What is acknowledged between two restarts.
const APPENDS_BETWEEN: u64 = 100;

/// What the published service config says of appends, and of what operators ask.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: String,
    max_backoff: String,
    backoff_multiplier: u32,
    retryable_status_codes: Vec<String>,
}

impl RetryPolicy {
    fn published() -> Self {
        let text = include_str!("../../../docs/service-config.json");
        let config: serde_json::Value = serde_json::from_str(text).unwrap();
        serde_json::from_value(config["methodConfig"][0]["retryPolicy"].clone()).unwrap()
    }

    /// A broken connection is UNAVAILABLE to other libraries than this one.
    fn may_be_repeated(&self, status: &Status) -> bool {
        let code = match (reason(status), status.code()) {
            (None, _) | (_, Code::Unavailable) => "UNAVAILABLE",
            (_, Code::Unknown) => "UNKNOWN",
            (_, Code::ResourceExhausted) => "RESOURCE_EXHAUSTED",
            _ => return false,
        };
        self.retryable_status_codes.iter().any(|retryable| retryable == code)
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.strip_suffix('s').unwrap().parse().unwrap())
}

/// A library that was given the service config: it asks the proxies in turn, and repeats what may
/// be repeated, with the same ids, so many times and no more.
struct Library {
    policy: RetryPolicy,
    clients: Vec<Client>,
    turn: usize,
    /// The most tries that one call needed.
    tries_max: u32,
}

impl Library {
    fn new(addresses: &[SocketAddr], turn: usize) -> Self {
        let clients = addresses.iter().copied().map(Client::to).collect();
        Self { policy: RetryPolicy::published(), clients, turn, tries_max: 0 }
    }

    async fn ask<T>(
        &mut self,
        call: impl AsyncFn(Client) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let policy = &self.policy;
        let (mut wait, longest) = (seconds(&policy.initial_backoff), seconds(&policy.max_backoff));
        let mut tries = 0;
        loop {
            tries += 1;
            self.turn += 1;
            self.tries_max = self.tries_max.max(tries);
            let client = self.clients[self.turn % self.clients.len()].clone();
            match soon("an answer", call(client)).await {
                Err(status) if tries < policy.max_attempts && policy.may_be_repeated(&status) => {}
                answer => return answer,
            }
            SystemClock.sleep(wait).await;
            wait = longest.min(wait * policy.backoff_multiplier);
        }
    }
}

/// The wait before a migration is looked at again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// The wait before an object is asked for again that has no event yet.
const BEFORE_ITS_FIRST_EVENT: Duration = Duration::from_millis(100);

struct World {
    addresses: Vec<SocketAddr>,
    ledgers: Vec<Ledger>,
    appends: watch::Sender<u64>,
    migrations: watch::Sender<u64>,
    stop: AtomicBool,
}

impl World {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Appends without pause, and sees no error. Answers the most tries that one append needed.
async fn write(world: Rc<World>, place: usize) -> u32 {
    let (ledger, entropy) = (&world.ledgers[place], SeededEntropy::new(place as u64));
    let mut client = Library::new(&world.addresses, place);
    while !world.is_over() {
        let events: Vec<_> = (0..=entropy.below(4)).map(|_| event(&entropy)).collect();
        let (floor, expected) = (ledger.floor(), ledger.expected(Company::Alone));
        let call =
            async |client: Client| client.append(&ledger.object, expected, events.clone()).await;
        let answer = client.ask(call).await;
        let answer = answer.unwrap_or_else(|status| panic!("an append saw {status:?}"));
        ledger.acknowledge(floor, &events, &answer);
        world.appends.send_modify(|count| *count += 1);
    }
    client.tries_max
}

/// Moves an object on and on, slowly, and sees no error either. Answers as [`write`] does.
async fn keep_moving(world: Rc<World>, place: usize) -> u32 {
    let ledger = &world.ledgers[place];
    let mut client = Library::new(&world.addresses, place);
    let mut number = 0;
    while !world.is_over() {
        number += 1;
        let request = v1::MigrateRequest {
            request_id: format!("{place}-{number}"),
            object: Some(ledger.object.clone()),
            target_store: STORES[number % STORES.len()].to_owned(),
            options: Some(v1::MigrationOptions {
                events_per_second_max: Some(200),
                page_events_max: 20,
                ..Default::default()
            }),
            ..Default::default()
        };
        let call = async |client: Client| client.migrate(request.clone()).await;
        let started = match client.ask(call).await {
            Ok(started) => started,
            // Before its first event.
            Err(status) if reason(&status).as_deref() == Some("OBJECT_NOT_FOUND") => {
                SystemClock.sleep(BEFORE_ITS_FIRST_EVENT).await;
                continue;
            }
            Err(status) => panic!("a migration saw {status:?}"),
        };
        let mut last = None;
        let end = async {
            loop {
                let call = async |client: Client| client.migration(&started.migration_id).await;
                let state = client.ask(call).await;
                let state = state.unwrap_or_else(|status| panic!("a look saw {status:?}"));
                if has_ended(&state) {
                    return state;
                }
                last = Some(state);
                SystemClock.sleep(BETWEEN_LOOKS).await;
            }
        };
        let ended = tokio::time::timeout(WITHIN, end).await;
        let ended = ended.unwrap_or_else(|_| panic!("a migration did not end: {last:#?}"));
        assert_eq!(ended.phase(), v1::MigrationPhase::Succeeded, "{ended:#?}");
        world.migrations.send_modify(|count| *count += 1);
    }
    client.tries_max
}

/// Follows an object from its first event on, and goes on elsewhere when a proxy says so.
async fn follow(world: Rc<World>, place: usize, seen: Rc<RefCell<History>>) {
    let object = &world.ledgers[place].object;
    let mut client = Library::new(&world.addresses, place);
    let mut resume_token = prost::bytes::Bytes::new();
    loop {
        let start = if resume_token.is_empty() {
            v1::read_request::Start::FromVersion(0)
        } else {
            v1::read_request::Start::ResumeToken(resume_token.clone())
        };
        let request = v1::ReadRequest {
            object: Some(object.clone()),
            start: Some(start),
            follow: Some(v1::FollowOptions::default()),
            ..Default::default()
        };
        let call = async |client: Client| client.events().read(request.clone()).await;
        let mut messages = match client.ask(call).await {
            Ok(answer) => answer.into_inner(),
            // Before its first event.
            Err(status) if reason(&status).as_deref() == Some("OBJECT_NOT_FOUND") => {
                SystemClock.sleep(BEFORE_ITS_FIRST_EVENT).await;
                continue;
            }
            Err(status) => panic!("a follow saw {status:?}"),
        };
        loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    if !message.resume_token.is_empty() {
                        resume_token = message.resume_token;
                    }
                    if let Some(v1::read_response::Message::Batch(batch)) = message.message {
                        seen.borrow_mut().events.extend(batch.events);
                    }
                }
                Err(status) if client.policy.may_be_repeated(&status) => break,
                other => panic!("a follow saw {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn clients_see_no_error_while_a_fleet_is_restarted_one_by_one() {
    LocalSet::new().run_until(restart_one_by_one()).await;
}

async fn restart_one_by_one() {
    let mut fleet = Fleet::start(PROXIES, Patience::Usual).await;
    let world = Rc::new(World {
        addresses: fleet.addresses(),
        ledgers: (0..OBJECTS).map(Ledger::new).collect(),
        appends: watch::Sender::new(0),
        migrations: watch::Sender::new(0),
        stop: AtomicBool::new(false),
    });
    let (mut clients, mut followers) = (JoinSet::new(), JoinSet::new());
    let seen: Vec<_> = (0..OBJECTS).map(|_| Rc::<RefCell<History>>::default()).collect();
    for (place, seen) in seen.iter().enumerate() {
        clients.spawn_local(write(Rc::clone(&world), place));
        clients.spawn_local(keep_moving(Rc::clone(&world), place));
        followers.spawn_local(follow(Rc::clone(&world), place, Rc::clone(seen)));
    }
    let restarts = async {
        let mut stops = Vec::new();
        for proxy in &mut fleet.proxies {
            more(&world.appends, APPENDS_BETWEEN).await;
            more(&world.migrations, 1).await;
            let told = SystemClock.monotonic();
            proxy.stop().await;
            stops.push(SystemClock.monotonic() - told);
            proxy.start();
            proxy.ready().await;
        }
        more(&world.appends, APPENDS_BETWEEN).await;
        stops
    };
    let stops = tokio::select! {
        biased;
        ended = clients.join_next() => panic!("a client ended: {ended:?}"),
        ended = followers.join_next() => panic!("a follower ended: {ended:?}"),
        stops = restarts => stops,
    };
    world.stop.store(true, Ordering::Relaxed);
    let mut tries_max = 0;
    while let Some(tries) = soon("the clients end", clients.join_next()).await {
        tries_max = tries_max.max(tries.unwrap());
    }
    for (ledger, seen) in world.ledgers.iter().zip(&seen) {
        until("a follower has seen all", async || {
            (seen.borrow().events.len() as u64 >= ledger.floor()).then_some(())
        })
        .await;
        ledger.check(&seen.borrow());
        for proxy in &fleet.proxies {
            ledger.check(&proxy.client().read(&ledger.object).await.unwrap());
        }
    }
    let mut lost = Vec::new();
    for proxy in &mut fleet.proxies {
        lost.push(proxy.leases_lost().await);
    }
    println!(
        "{} appends and {} migrations, no error; no call needed more than {tries_max} tries; the \
         proxies stopped within {stops:?}; leases lost since: {lost:?}",
        *world.appends.borrow(),
        *world.migrations.borrow(),
    );
    drop(followers);
    fleet.stop().await;
}

/// Waits until a counter has grown by so many.
async fn more(counter: &watch::Sender<u64>, more: u64) {
    let mut counter = counter.subscribe();
    let wanted = *counter.borrow_and_update() + more;
    soon("traffic", counter.wait_for(|count| *count >= wanted)).await.unwrap();
}
