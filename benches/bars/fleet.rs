//! One, two and three proxies over one PostgreSQL and one Redis: an object that 16 writers append
//! to through all of them as fast as they can is moved to and fro, beside objects that stay.
//!
//! Needs both servers, in `STREAMGATE_TEST_POSTGRES_URL` and `STREAMGATE_TEST_REDIS_URL`. All
//! proxies run in this process, each on a runtime of its own, and share its cores with the writers:
//! more proxies do not make it faster here, and what a cut-over adds is what the figures are for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::cut_over::{Sent, within, write};
use crate::load::{self, Clients, Sample};
use crate::migrate::move_to;
use crate::postgres::Database;
use crate::report::{Report, Verdict, time};
use crate::served::{self, FIRST, SECOND, Served};
use crate::{Bench, Failure, REDIS_URL};

const WRITERS: usize = 16;
const PROXIES_MAX: usize = 3;
const EVENTS: u64 = 2_000;
const P99_MORE_MAX: Duration = Duration::from_millis(10);
const MAX_MORE_MAX: Duration = Duration::from_millis(50);
const BYSTANDERS: usize = 64;
const BYSTANDER_WRITERS: usize = 4;
/// Appends that each of them sends a second.
const PER_BYSTANDER_WRITER: u32 = 50;
const BYSTANDER_RATIO_MAX: f64 = 1.5;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    for proxies in 1..=PROXIES_MAX {
        let database = bench.clients.block_on(Database::make())?;
        let done = measure(bench, &database, proxies, report);
        // What failed first is what matters.
        done.and(bench.clients.block_on(database.remove()))?;
    }
    Ok(())
}

fn measure(
    bench: &Bench,
    database: &Database,
    proxies: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let redis = std::env::var(REDIS_URL).map_err(|_| format!("{REDIS_URL} is not set"))?;
    let mut fleet = Vec::new();
    for _ in 0..proxies {
        let folder = served::folder()?;
        let settings = settings(database, &redis, folder.path());
        fleet.push(Served::start_with(folder, settings)?);
    }
    bench.clients.block_on(async {
        let mut clients = Vec::new();
        for served in &fleet {
            clients.push(Clients::connect(served.address).await?);
        }
        load::fill(&clients[0], "busy", 1, EVENTS.min(bench.scale.long_events)).await?;
        load::fill(&clients[0], "bystander", BYSTANDERS, 1).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (mut writers, mut bystanders) = (JoinSet::new(), JoinSet::new());
        for task in 0..WRITERS {
            let through = clients[task % proxies].clone();
            writers.spawn(write(through, task, Arc::clone(&stop)));
        }
        for task in 0..BYSTANDER_WRITERS {
            let through = clients[task % proxies].clone();
            bystanders.spawn(stand_by(through, task, Arc::clone(&stop)));
        }
        let (mut calm, mut moving) = (Vec::new(), Vec::new());
        for number in 0..bench.scale.moves {
            let from = Instant::now();
            tokio::time::sleep(bench.scale.turn / 2).await;
            calm.push((from, Instant::now()));
            let target = if number % 2 == 0 { SECOND } else { FIRST };
            let from = Instant::now();
            move_to(&clients[number % proxies], load::object("busy", 0), target).await?;
            moving.push((from, Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
        let (sent, beside) = (all(writers).await?, all(bystanders).await?);
        let moved = [within(&sent, &calm), within(&sent, &moving)];
        let stayed = [within(&beside, &calm), within(&beside, &moving)];
        tell(proxies, &moved, &stayed, report);
        Ok(())
    })
}

fn settings(database: &Database, redis: &str, folder: &Path) -> String {
    let (server, url) = (served::server_settings(folder), database.url());
    let store = |name| {
        format!(
            "[[stores]]\nname = '{name}'\nkind = 'postgres'\nurl = '{url}'\nschema = '{name}'\n"
        )
    };
    format!("{server}[coordination.redis]\nurl = '{redis}'\n{}{}", store(FIRST), store(SECOND))
}

/// Appends to objects that stay, at a steady pace.
async fn stand_by(
    clients: Clients,
    task: usize,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Sent>, Failure> {
    let (mut client, payload) = (clients.events(task), load::payload());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_BYSTANDER_WRITER);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut asked) = (Vec::new(), task);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let object = load::object("bystander", asked % BYSTANDERS);
        let request = load::append(object, vec![load::event(&payload)]);
        let at = Instant::now();
        client.append(request).await?;
        sent.push((at, Instant::now()));
        asked += BYSTANDER_WRITERS + 1;
    }
    Ok(sent)
}

async fn all(mut tasks: JoinSet<Result<Vec<Sent>, Failure>>) -> Result<Vec<Sent>, Failure> {
    let mut sent = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        sent.extend(ended??);
    }
    Ok(sent)
}

fn tell(proxies: usize, moved: &[Sample; 2], stayed: &[Sample; 2], report: &mut Report) {
    let [calm, moving] = moved;
    let bars = [
        ("p50", 0.5, None),
        ("p99", 0.99, Some(P99_MORE_MAX)),
        ("longest", 1.0, Some(MAX_MORE_MAX)),
    ];
    for (name, quantile, more_max) in bars {
        let (calm, moving) = (calm.at(quantile), moving.at(quantile));
        let more = moving.saturating_sub(calm);
        report.row(
            format!("{proxies} proxies, append during the move, {WRITERS} writers, {name}"),
            time(moving),
            format!("without a move {}", time(calm)),
            format!("+{}", time(more)),
            more_max.map_or_else(String::new, |max| format!("under +{}", time(max))),
            more_max.map_or(Verdict::Shown, |max| Verdict::of(more < max)),
        );
    }
    let [calm, moving] = stayed;
    let (calm, moving) = (calm.at(0.99), moving.at(0.99));
    let ratio = moving.as_secs_f64() / calm.as_secs_f64();
    report.row(
        format!("{proxies} proxies, append to objects that stay, p99"),
        time(moving),
        format!("without a move {}", time(calm)),
        format!("{ratio:.2}"),
        format!("at most {BYSTANDER_RATIO_MAX}"),
        Verdict::of(ratio <= BYSTANDER_RATIO_MAX),
    );
}
