//! `kill -9` of a server under load and in the middle of migrations, again and again, restarted on
//! the same folder: what was acknowledged is there once, in order, byte for byte, and migrations
//! finish by themselves.
//!
//! `STREAMGATE_SEED` repeats the choices of a run; the moments of a machine it cannot repeat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use streamgate::grpc::v1;
use streamgate::grpc::v1::expected_version::Kind as Expected;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Entropy, SystemEntropy};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tonic::Status;

use crate::client::{Client, has_ended, reason, soon, until};
use crate::ledger::{Company, Ledger, event};
use crate::process::{Folder, Server, Tracing};

const ROUNDS: u64 = 20;
const OBJECTS: u64 = 18;
const MOVERS: u64 = 6;
const STORES: [&str; 2] = ["hot", "cold"];
/// The most that is acknowledged, and the most states of migrations that are seen, before a kill.
const APPENDS_PER_ROUND_MAX: u64 = 250;
const STATES_PER_ROUND_MAX: u64 = 60;

/// A server, and which of all that there were.
#[derive(Clone, Copy)]
struct Life {
    number: u64,
    address: SocketAddr,
}

/// What all clients share.
struct World {
    ledgers: Vec<Ledger>,
    /// None while no server is there.
    life: watch::Sender<Option<Life>>,
    appends: watch::Sender<u64>,
    states: watch::Sender<u64>,
    writers_stop: AtomicBool,
    movers_stop: AtomicBool,
    repeated: AtomicU64,
    replays: AtomicU64,
}

impl World {
    fn new() -> Self {
        Self {
            ledgers: (0..OBJECTS).map(Ledger::new).collect(),
            life: watch::Sender::new(None),
            appends: watch::Sender::new(0),
            states: watch::Sender::new(0),
            writers_stop: AtomicBool::new(false),
            movers_stop: AtomicBool::new(false),
            repeated: AtomicU64::new(0),
            replays: AtomicU64::new(0),
        }
    }
}

/// A connection that is made anew to each server that comes.
struct Connection {
    world: Arc<World>,
    life: u64,
    client: Option<Client>,
}

impl Connection {
    fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), life: 0, client: None }
    }

    async fn client(&mut self) -> Client {
        if let Some(client) = &self.client {
            return client.clone();
        }
        let mut lives = self.world.life.subscribe();
        let known = self.life;
        let newer = lives.wait_for(|life| life.is_some_and(|life| life.number > known));
        let life = soon("a server after a broken connection", newer).await.unwrap().unwrap();
        self.life = life.number;
        self.client.insert(Client::to(life.address)).clone()
    }

    /// Sends the same again, to one server after the other, until one answers. A refusal is an
    /// answer; a broken connection is none.
    async fn ask<T>(
        &mut self,
        call: impl AsyncFn(Client) -> Result<T, Status>,
    ) -> Result<T, Status> {
        loop {
            let client = self.client().await;
            match soon("an answer", call(client)).await {
                Err(status) if reason(&status).is_none() => {
                    self.client = None;
                    self.world.repeated.fetch_add(1, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
    }

    async fn append(
        &mut self,
        object: &v1::ObjectRef,
        expected: Option<Expected>,
        events: &[v1::NewEvent],
    ) -> v1::AppendResponse {
        let call = async |client: Client| client.append(object, expected, events.to_vec()).await;
        let answer = self.ask(call).await;
        answer.unwrap_or_else(|status| panic!("an append to {object:?} got {status:?}"))
    }
}

/// Appends without pause until told to stop, each append until it is answered.
async fn write(world: Arc<World>, object: usize, company: Company, seed: u64) {
    let entropy = SeededEntropy::new(seed);
    let ledger = &world.ledgers[object];
    let mut connection = Connection::new(&world);
    while !world.writers_stop.load(Ordering::Relaxed) {
        let events: Vec<_> = (0..=entropy.below(4)).map(|_| event(&entropy)).collect();
        let (floor, expected) = (ledger.floor(), ledger.expected(company));
        let answer = connection.append(&ledger.object, expected, &events).await;
        if answer.replay {
            world.replays.fetch_add(1, Ordering::Relaxed);
        }
        ledger.acknowledge(floor, &events, &answer);
        world.appends.send_modify(|count| *count += 1);
        if entropy.below(8) == 0 {
            let again = connection.append(&ledger.object, expected, &events).await;
            let same = (again.first_version, again.last_version, again.replay);
            assert_eq!(same, (answer.first_version, answer.last_version, true), "told before");
        }
    }
}

/// Moves its objects one after the other, to and fro, and gives some moves up.
async fn keep_moving(world: Arc<World>, mover: u64, seed: u64) {
    let entropy = SeededEntropy::new(seed);
    let mut connection = Connection::new(&world);
    for number in 0_u64.. {
        if world.movers_stop.load(Ordering::Relaxed) {
            return;
        }
        let place = mover + MOVERS * entropy.below(OBJECTS / MOVERS);
        let object = &world.ledgers[usize::try_from(place).unwrap()].object;
        let store = usize::try_from(entropy.below(2)).unwrap();
        let rates = [None, Some(200), Some(2_000)];
        let rate = rates[usize::try_from(entropy.below(3)).unwrap()];
        let request = v1::MigrateRequest {
            request_id: format!("{mover}-{number}"),
            object: Some(object.clone()),
            target_store: STORES[store].to_owned(),
            options: Some(v1::MigrationOptions {
                events_per_second_max: rate,
                page_events_max: 1 + u32::try_from(entropy.below(40)).unwrap(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let gives_up = entropy.below(8) == 0;
        let remove_target = entropy.below(2) == 0;
        let call = async |client: Client| client.migrate(request.clone()).await;
        let id = match connection.ask(call).await {
            Ok(migration) => migration.migration_id,
            Err(status) => {
                let reason = reason(&status);
                let expected = ["OBJECT_NOT_FOUND", "MIGRATION_ALREADY_RUNNING"];
                let fine = reason.as_deref().is_some_and(|reason| expected.contains(&reason));
                assert!(fine, "a migration was answered {status:?}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        if gives_up {
            let call = async |client: Client| client.cancel(&id, remove_target).await;
            let answer = connection.ask(call).await;
            let fine = answer.as_ref().err().and_then(reason);
            let fine = answer.is_ok() || fine.as_deref() == Some("INVALID_TRANSITION");
            assert!(fine, "a cancel was answered {answer:?}");
        }
        let states = &world.states;
        let stop = &world.movers_stop;
        let call = async |client: Client| {
            let mut watch = client.watch(&id).await?;
            while let Some(state) = watch.next().await? {
                states.send_modify(|count| *count += 1);
                if has_ended(&state) || stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(())
        };
        connection.ask(call).await.expect("a migration can be watched");
    }
}

/// What ends a life.
#[derive(Debug)]
enum Moment {
    /// Before it serves.
    Starting,
    /// As soon as it serves, while it takes up what it finds.
    Ready,
    Appends(u64),
    /// So many states of migrations were seen: at a phase or in the middle of one.
    States(u64),
}

impl Moment {
    fn choose(entropy: &dyn Entropy) -> Self {
        match entropy.below(10) {
            0 => Self::Starting,
            1 => Self::Ready,
            2..6 => Self::Appends(1 + entropy.below(APPENDS_PER_ROUND_MAX)),
            _ => Self::States(1 + entropy.below(STATES_PER_ROUND_MAX)),
        }
    }

    async fn comes(&self, world: &World, server: &mut Server, life: u64) {
        if matches!(self, Self::Starting) {
            return server.stirs().await;
        }
        let address = server.ready().await;
        world.life.send_replace(Some(Life { number: life, address }));
        let (counter, more) = match self {
            Self::Starting | Self::Ready => return,
            Self::Appends(more) => (&world.appends, more),
            Self::States(more) => (&world.states, more),
        };
        let mut counter = counter.subscribe();
        let wanted = *counter.borrow_and_update() + more;
        soon("the moment of the kill", counter.wait_for(|count| *count >= wanted)).await.unwrap();
    }
}

/// What a run was, for the one who reads its output.
#[derive(Default)]
struct Tally {
    unfinished_at_kills: usize,
    early: usize,
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_kill() {
    LocalSet::new().run_until(torture()).await;
}

async fn torture() {
    let seed = std::env::var("STREAMGATE_SEED").ok();
    let seed = seed.map_or_else(|| SystemEntropy.next_u64(), |seed| seed.parse().unwrap());
    println!("STREAMGATE_SEED={seed} repeats the choices of this run");
    let entropy = SeededEntropy::new(seed);
    let folder = Folder::new(Duration::from_secs(10));
    let world = Arc::new(World::new());
    let mut writers = JoinSet::new();
    for number in 0..OBJECTS {
        let object = usize::try_from(number).unwrap();
        let alone = number % 3 != 0;
        let company = if alone { Company::Alone } else { Company::Others };
        for _ in 0..if alone { 1 } else { 2 } {
            writers.spawn_local(write(Arc::clone(&world), object, company, entropy.next_u64()));
        }
    }
    let mut movers = JoinSet::new();
    for mover in 0..MOVERS {
        movers.spawn_local(keep_moving(Arc::clone(&world), mover, entropy.next_u64()));
    }

    let mut tally = Tally::default();
    for life in 1..=ROUNDS {
        let moment = Moment::choose(&entropy);
        let mut server = folder.start(&Tracing::Off);
        tokio::select! {
            biased;
            ended = writers.join_next() => panic!("a writer ended: {ended:?}"),
            ended = movers.join_next() => panic!("a mover ended: {ended:?}"),
            () = moment.comes(&world, &mut server, life) => {}
        }
        let known = *world.life.borrow();
        match known {
            Some(life) => tally.unfinished_at_kills += unfinished(&Client::to(life.address)).await,
            None => tally.early += 1,
        }
        world.life.send_replace(None);
        server.kill();
    }
    finish(&world, &folder, writers, movers, tally).await;
}

async fn unfinished(client: &Client) -> usize {
    let migrations = client.all_migrations().await.expect("migrations can be listed");
    migrations.iter().filter(|migration| !has_ended(migration)).count()
}

/// Lets every client come to its end, kills once more in the middle of migrations, and then looks
/// at what is there.
async fn finish(
    world: &Arc<World>,
    folder: &Folder,
    mut writers: JoinSet<()>,
    mut movers: JoinSet<()>,
    mut tally: Tally,
) {
    let mut server = folder.start(&Tracing::Off);
    let address = server.ready().await;
    let last = ROUNDS + 1;
    world.life.send_replace(Some(Life { number: last, address }));
    Moment::States(STATES_PER_ROUND_MAX).comes(world, &mut server, last).await;
    world.movers_stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon("the movers end", movers.join_next()).await {
        ended.unwrap();
    }
    world.writers_stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon("the writers end", writers.join_next()).await {
        ended.unwrap();
    }
    // Nobody but the server itself can finish what runs now.
    let client = Client::to(address);
    let running = unfinished(&client).await;
    tally.unfinished_at_kills += running;
    server.kill();
    let mut server = folder.start(&Tracing::Off);
    let client = server.client().await;
    check_objects(world, &client).await;
    let migrations = settled(world, &client).await;
    check_objects(world, &client).await;

    let ended_as = |phase: v1::MigrationPhase| {
        migrations.iter().filter(|migration| migration.phase() == phase).count()
    };
    let succeeded = ended_as(v1::MigrationPhase::Succeeded);
    let (repeated, replays) = (&world.repeated, &world.replays);
    println!(
        "{} kills ({} before the server served), {} migrations unfinished at them; {} appends \
         acknowledged, {} calls sent again, {} appends found done; {} migrations, {succeeded} \
         succeeded, {} cancelled",
        ROUNDS + 1,
        tally.early,
        tally.unfinished_at_kills,
        *world.appends.borrow(),
        repeated.load(Ordering::Relaxed),
        replays.load(Ordering::Relaxed),
        migrations.len(),
        ended_as(v1::MigrationPhase::Cancelled),
    );
    assert!(tally.unfinished_at_kills > 0, "no kill met a migration");
    assert!(repeated.load(Ordering::Relaxed) >= ROUNDS / 2, "kills that no client noticed");
    assert!(succeeded > 0, "no migration succeeded");
    assert_eq!(ended_as(v1::MigrationPhase::Failed), 0, "{migrations:#?}");
    server.terminate();
    let status = server.exit_status().await;
    assert!(status.success(), "{status}\n{}", folder.log());
}

/// Waits until every record is final. A cancelled migration is once its source has gone past its
/// copy, so each object gets one more event; no other request is made for it.
async fn settled(world: &World, client: &Client) -> Vec<v1::Migration> {
    let entropy = SeededEntropy::new(0);
    for ledger in &world.ledgers {
        let (floor, events) = (ledger.floor(), [event(&entropy)]);
        let answer = client.append(&ledger.object, None, events.to_vec()).await.unwrap();
        ledger.acknowledge(floor, &events, &answer);
    }
    until("all migrations are final", async || {
        let all = client.all_migrations().await.expect("migrations can be listed");
        let open = |migration: &v1::Migration| !has_ended(migration) || migration.provisional;
        (!all.iter().any(open)).then_some(all)
    })
    .await
}

async fn check_objects(world: &World, client: &Client) {
    for ledger in &world.ledgers {
        let history = client.read(&ledger.object).await.unwrap();
        ledger.check(&history);
        let object = client.object(&ledger.object).await.unwrap();
        let active = object.chain.last().expect("an object has a stream");
        assert_eq!(active.last_version, None, "{object:?}: the active stream is closed");
    }
}
