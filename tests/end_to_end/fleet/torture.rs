//! A fleet under load and in the middle of migrations, while proxies are killed and put to sleep,
//! Redis forgets everything, and links to it and to the stores break: what was acknowledged is
//! there once, in order, byte for byte, and migrations finish by themselves.
//!
//! `STREAMGATE_FLEET_ROUNDS` makes a run longer. `STREAMGATE_SEED` repeats the choices of a run;
//! the moments of a machine it cannot repeat.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use streamgate::grpc::v1;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock as _, Entropy, SystemClock, SystemEntropy};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::caller::Caller;
use super::proxies::{Fleet, Patience, STORES};
use super::troubles::{Trouble, Troubles};
use crate::client::{Client, has_ended, reason, soon, until};
use crate::ledger::{Company, Ledger, event};

const PROXIES: usize = 3;
const ROUNDS: u64 = 60;
/// Objects of a round; half of them were there in the round before.
const OBJECTS: usize = 6;
/// The most that is acknowledged, and the most that is seen of migrations, before a trouble.
const APPENDS_BEFORE_MAX: u64 = 120;
const LOOKS_BEFORE_MAX: u64 = 40;
/// The longest that one look at a migration lasts.
const LOOK: Duration = Duration::from_millis(500);

/// What the clients of one round share.
struct Round {
    number: u64,
    addresses: Vec<SocketAddr>,
    appends: watch::Sender<u64>,
    looks: watch::Sender<u64>,
    stop: AtomicBool,
    repeated: AtomicU64,
    replays: AtomicU64,
}

impl Round {
    fn new(number: u64, fleet: &Fleet) -> Self {
        Self {
            number,
            addresses: fleet.addresses(),
            appends: watch::Sender::new(0),
            looks: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            repeated: AtomicU64::new(0),
            replays: AtomicU64::new(0),
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for a random moment of its traffic.
    async fn moment(&self, entropy: &dyn Entropy) {
        let (counter, most) = match entropy.below(2) {
            0 => (&self.appends, APPENDS_BEFORE_MAX),
            _ => (&self.looks, LOOKS_BEFORE_MAX),
        };
        let wanted = 1 + entropy.below(most);
        let mut counter = counter.subscribe();
        soon("the moment of a trouble", counter.wait_for(|count| *count >= wanted)).await.unwrap();
    }
}

/// Appends without pause until the round is over, each append until it is answered.
async fn write(round: Rc<Round>, ledger: Arc<Ledger>, company: Company, seed: u64) {
    let entropy = SeededEntropy::new(seed);
    let mut caller = Caller::new(&round.addresses, entropy.next_u64());
    while !round.is_over() {
        let events: Vec<_> = (0..=entropy.below(4)).map(|_| event(&entropy)).collect();
        let (floor, expected) = (ledger.floor(), ledger.expected(company));
        let answer = caller.append(&ledger.object, expected, &events).await;
        if answer.replay {
            round.replays.fetch_add(1, Ordering::Relaxed);
        }
        ledger.acknowledge(floor, &events, &answer);
        round.appends.send_modify(|count| *count += 1);
        if entropy.below(8) == 0 {
            let again = caller.append(&ledger.object, expected, &events).await;
            let same = (again.first_version, again.last_version, again.replay);
            assert_eq!(same, (answer.first_version, answer.last_version, true), "told before");
        }
    }
    round.repeated.fetch_add(caller.repeated, Ordering::Relaxed);
}

/// Moves its object from store to store until the round is over, and gives some moves up. Answers
/// the ids of all moves; the last one may be under way.
async fn keep_moving(round: Rc<Round>, ledger: Arc<Ledger>, seed: u64) -> Vec<String> {
    let entropy = SeededEntropy::new(seed);
    let mut caller = Caller::new(&round.addresses, entropy.next_u64());
    let mut ids = Vec::new();
    while !round.is_over() {
        let request = some_move(&ledger.object, &entropy, round.number);
        let gives_up = entropy.below(8) == 0;
        let remove_target = entropy.below(2) == 0;
        let call = async |client: Client| client.migrate(request.clone()).await;
        let id = match caller.ask(call).await {
            Ok(migration) => migration.migration_id,
            Err(status) => {
                let reason = reason(&status);
                let expected = ["OBJECT_NOT_FOUND", "MIGRATION_ALREADY_RUNNING"];
                let fine = reason.as_deref().is_some_and(|reason| expected.contains(&reason));
                assert!(fine, "a migration was answered {status:?}");
                SystemClock.sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        ids.push(id.clone());
        if gives_up {
            let call = async |client: Client| client.cancel(&id, remove_target).await;
            let answer = caller.ask(call).await;
            let fine = answer.as_ref().err().and_then(reason);
            let fine = answer.is_ok() || fine.as_deref() == Some("INVALID_TRANSITION");
            assert!(fine, "a cancel was answered {answer:?}");
        }
        while !round.is_over() && !looked_at(&round, &mut caller, &id).await {}
    }
    ids
}

/// Watches a migration for a moment, through any proxy; whether it has ended.
async fn looked_at(round: &Round, caller: &mut Caller, id: &str) -> bool {
    let call = async |client: Client| {
        let mut watch = client.watch(id).await?;
        let ended = watch.until(|state| {
            round.looks.send_modify(|count| *count += 1);
            has_ended(state)
        });
        match tokio::time::timeout(LOOK, ended).await {
            Ok(state) => state.map(|state| has_ended(&state)),
            Err(_) => Ok(false),
        }
    };
    caller.ask(call).await.expect("a migration can be watched")
}

fn some_move(object: &v1::ObjectRef, entropy: &dyn Entropy, round: u64) -> v1::MigrateRequest {
    let store = usize::try_from(entropy.below(STORES.len() as u64)).unwrap();
    let rates = [None, Some(50), Some(200), Some(1_000)];
    let rate = rates[usize::try_from(entropy.below(rates.len() as u64)).unwrap()];
    v1::MigrateRequest {
        request_id: format!("{round}-{}", entropy.uuid()),
        object: Some(object.clone()),
        target_store: STORES[store].to_owned(),
        options: Some(v1::MigrationOptions {
            events_per_second_max: rate,
            page_events_max: 1 + u32::try_from(entropy.below(40)).unwrap(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What a run was, for the one who reads its output.
#[derive(Default)]
struct Tally {
    appends: u64,
    repeated: u64,
    replays: u64,
    migrations: usize,
    unfinished: usize,
    taken_over: usize,
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_trouble_of_a_fleet() {
    LocalSet::new().run_until(torture()).await;
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, is {text}")))
}

async fn torture() {
    let seed = number_from("STREAMGATE_SEED").unwrap_or_else(|| SystemEntropy.next_u64());
    let rounds = number_from("STREAMGATE_FLEET_ROUNDS").unwrap_or(ROUNDS);
    println!(
        "STREAMGATE_SEED={seed} STREAMGATE_FLEET_ROUNDS={rounds} repeats the choices of this run"
    );
    let entropy = SeededEntropy::new(seed);
    let mut fleet = Fleet::start(PROXIES, Patience::Short).await;
    let mut troubles = Troubles::new(PROXIES);
    let mut ledgers: Vec<Arc<Ledger>> = Vec::new();
    let mut tally = Tally::default();
    for number in 0..rounds {
        let kept = ledgers.len().saturating_sub(OBJECTS / 2);
        let new = OBJECTS - (ledgers.len() - kept);
        for _ in 0..new {
            ledgers.push(Arc::new(Ledger::new(ledgers.len())));
        }
        let mut chosen = vec![troubles.next(&entropy)];
        if entropy.below(4) == 0 {
            let second = troubles.next(&entropy);
            if second.goes_with(chosen[0]) {
                chosen.push(second);
            }
        }
        play(number, &mut fleet, &ledgers[kept..], &chosen, &entropy, &mut tally).await;
    }
    let (succeeded, cancelled) = settled(&fleet, &ledgers, &entropy).await;
    println!(
        "{rounds} rounds of trouble; {} appends acknowledged, {} calls sent again, {} appends \
         found done; {} migrations, {} unfinished when the clients left, {} taken over, \
         {succeeded} succeeded, {cancelled} cancelled",
        tally.appends,
        tally.repeated,
        tally.replays,
        tally.migrations,
        tally.unfinished,
        tally.taken_over,
    );
    assert!(tally.unfinished > 0 && succeeded > 0, "no trouble met a migration");
    fleet.stop().await;
}

/// One round: traffic, a trouble in the middle of it, and then a look at all that it touched.
async fn play(
    number: u64,
    fleet: &mut Fleet,
    ledgers: &[Arc<Ledger>],
    troubles: &[Trouble],
    entropy: &SeededEntropy,
    tally: &mut Tally,
) {
    println!("round {number}: {troubles:?}");
    let round = Rc::new(Round::new(number, fleet));
    let (mut writers, mut movers) = (JoinSet::new(), JoinSet::new());
    for (place, ledger) in ledgers.iter().enumerate() {
        let company = if place % 3 == 0 { Company::Others } else { Company::Alone };
        for _ in 0..if company == Company::Alone { 1 } else { 2 } {
            let (round, ledger) = (Rc::clone(&round), Arc::clone(ledger));
            writers.spawn_local(write(round, ledger, company, entropy.next_u64()));
        }
        let (round, ledger) = (Rc::clone(&round), Arc::clone(ledger));
        movers.spawn_local(keep_moving(round, ledger, entropy.next_u64()));
    }
    let trouble = async {
        round.moment(entropy).await;
        for trouble in troubles {
            trouble.begin(fleet).await;
        }
        let lengths = troubles.iter().map(|trouble| trouble.length(entropy));
        SystemClock.sleep(lengths.max().unwrap_or_default()).await;
        for trouble in troubles {
            trouble.end(fleet).await;
        }
    };
    tokio::select! {
        biased;
        ended = writers.join_next() => panic!("a writer ended: {ended:?}"),
        ended = movers.join_next() => panic!("a mover ended: {ended:?}"),
        () = trouble => {}
    }
    round.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon("the writers end", writers.join_next()).await {
        ended.unwrap();
    }
    let mut last = Vec::new();
    while let Some(ids) = soon("the movers end", movers.join_next()).await {
        let ids = ids.unwrap();
        tally.migrations += ids.len();
        last.extend(ids.last().cloned());
    }
    tally.appends += *round.appends.borrow();
    tally.repeated += round.repeated.load(Ordering::Relaxed);
    tally.replays += round.replays.load(Ordering::Relaxed);

    let mut caller = Caller::new(&round.addresses, entropy.next_u64());
    for id in last {
        // Nobody but the fleet can finish what runs now.
        let get = async |client: Client| client.migration(&id).await;
        let state = caller.ask(get).await.expect("a migration can be looked at");
        tally.unfinished += usize::from(!has_ended(&state));
        let ended = until("a migration ends by itself", async || {
            let state = caller.ask(get).await.expect("a migration can be looked at");
            has_ended(&state).then_some(state)
        });
        let ended = ended.await;
        tally.taken_over +=
            usize::from(ended.lock.as_ref().is_some_and(|lock| lock.fencing_token > 1));
        assert_ne!(ended.phase(), v1::MigrationPhase::Failed, "round {number}: {ended:#?}");
    }
    for ledger in ledgers {
        check(ledger, &mut caller).await;
    }
}

async fn check(ledger: &Ledger, caller: &mut Caller) {
    let object = &ledger.object;
    let history = caller.ask(async |client: Client| client.read(object).await).await;
    ledger.check(&history.expect("every object can be read"));
    let object = caller.ask(async |client: Client| client.object(object).await).await;
    let object = object.expect("every object can be looked at");
    let active = object.chain.last().expect("an object has a stream");
    assert_eq!(active.last_version, None, "{object:?}: the active stream is closed");
}

/// Waits until every record is final, and looks at every object through every proxy. A cancelled
/// migration is final once its source has gone past its copy, so each object gets one more event.
/// Answers how many migrations succeeded and how many were cancelled.
async fn settled(
    fleet: &Fleet,
    ledgers: &[Arc<Ledger>],
    entropy: &SeededEntropy,
) -> (usize, usize) {
    let mut caller = Caller::new(&fleet.addresses(), entropy.next_u64());
    for ledger in ledgers {
        let (floor, events) = (ledger.floor(), [event(entropy)]);
        let answer = caller.append(&ledger.object, None, &events).await;
        ledger.acknowledge(floor, &events, &answer);
    }
    let migrations = until("all migrations are final", async || {
        let all = caller.ask(async |client: Client| client.all_migrations().await).await;
        let all = all.expect("migrations can be listed");
        let open = |migration: &v1::Migration| !has_ended(migration) || migration.provisional;
        (!all.iter().any(open)).then_some(all)
    })
    .await;
    let checks = fleet.addresses().into_iter().map(async |address| {
        let mut caller = Caller::new(&[address], 0);
        for ledger in ledgers {
            check(ledger, &mut caller).await;
        }
    });
    join_all(checks).await;
    let ended_as = |phase: v1::MigrationPhase| {
        migrations.iter().filter(|migration| migration.phase() == phase).count()
    };
    (ended_as(v1::MigrationPhase::Succeeded), ended_as(v1::MigrationPhase::Cancelled))
}
