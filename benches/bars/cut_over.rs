//! One object that 16 writers append to without pause, moved to and fro: what the writers see of
//! it beside the same load on an object that stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::{self, Clients, Sample};
use crate::migrate::move_to;
use crate::report::{Report, Verdict, time};
use crate::served::{FIRST, SECOND, Served};
use crate::{Bench, Failure};

const WRITERS: usize = 16;
const EVENTS: u64 = 5_000;
const P99_MORE_MAX: Duration = Duration::from_millis(10);
const MAX_MORE_MAX: Duration = Duration::from_millis(50);

/// One append: when it was sent, and when it was answered.
pub(crate) type Sent = (Instant, Instant);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let served = Served::start(bench.scale.stores)?;
    bench.clients.block_on(async {
        let clients = Clients::connect(served.address).await?;
        load::fill(&clients, "busy", 1, EVENTS.min(bench.scale.long_events)).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for task in 0..WRITERS {
            writers.spawn(write(clients.clone(), task, Arc::clone(&stop)));
        }
        let mut calm = Vec::new();
        let mut moving = Vec::new();
        for number in 0..bench.scale.moves {
            let from = Instant::now();
            tokio::time::sleep(bench.scale.turn).await;
            calm.push((from, Instant::now()));
            let target = if number % 2 == 0 { SECOND } else { FIRST };
            let from = Instant::now();
            move_to(&clients, load::object("busy", 0), target).await?;
            moving.push((from, Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
        let mut sent = Vec::new();
        while let Some(ended) = writers.join_next().await {
            sent.extend(ended??);
        }
        tell(&sent, &calm, &moving, report);
        Ok(())
    })
}

/// Appends one after the other; an error ends the benchmark, for a client must see none.
pub(crate) async fn write(
    clients: Clients,
    task: usize,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Sent>, Failure> {
    let (mut client, payload) = (clients.events(task), load::payload());
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let request = load::append(load::object("busy", 0), vec![load::event(&payload)]);
        let at = Instant::now();
        client.append(request).await?;
        sent.push((at, Instant::now()));
    }
    Ok(sent)
}

fn tell(sent: &[Sent], calm: &[Sent], moving: &[Sent], report: &mut Report) {
    let took: Duration = moving.iter().map(|(from, to)| *to - *from).sum();
    let (calm, moving) = (within(sent, calm), within(sent, moving));
    for (name, quantile, more_max) in [("p99", 0.99, P99_MORE_MAX), ("longest", 1.0, MAX_MORE_MAX)]
    {
        let (calm, moving) = (calm.at(quantile), moving.at(quantile));
        let more = moving.saturating_sub(calm);
        report.row(
            format!("append during the move, {WRITERS} writers, {name}"),
            time(moving),
            format!("without a move {}", time(calm)),
            format!("+{}", time(more)),
            format!("under +{}", time(more_max)),
            Verdict::of(more < more_max),
        );
    }
    let what = format!("appends while moving, {} in all", time(took));
    report.rates(what, moving.per_second, ("without a move", calm.per_second), None);
}

/// The appends that were on their way within any of the windows.
pub(crate) fn within(sent: &[Sent], windows: &[Sent]) -> Sample {
    let mut latencies = load::histogram();
    for (at, answered) in sent {
        if windows.iter().any(|(from, to)| answered > from && at < to) {
            load::note(&mut latencies, *answered - *at);
        }
    }
    Sample::of(windows.iter().map(|(from, to)| *to - *from).sum(), latencies)
}
