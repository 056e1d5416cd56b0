//! Objects that do not move: a steady load on them, with and without a migration that runs as
//! fast as it is let.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::load::{self, Clients, Sample};
use crate::migrate::move_to;
use crate::report::{Report, Verdict, rate, time};
use crate::served::{FIRST, SECOND, Served};
use crate::{Bench, Failure};

const WRITERS: usize = 16;
/// Appends each writer sends a second, unless an answer takes longer than that.
const PER_WRITER: u32 = 100;
const P99_RATIO_MAX: f64 = 1.5;
const OBJECTS: usize = 64;
/// Turns are long enough for some thousand appends.
const TURN_FACTOR: u32 = 2;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let served = Served::start(bench.scale.stores)?;
    let scale = bench.scale;
    bench.clients.block_on(async {
        let clients = Clients::connect(served.address).await?;
        load::fill(&clients, "mover", 1, scale.long_events).await?;
        load::fill(&clients, "bystander", OBJECTS, 1).await?;
        let (mut calm, mut beside) = (Vec::new(), Vec::new());
        let (mut moves, mut moving) = (0, Duration::ZERO);
        for _ in 0..scale.turns {
            calm.push(steady(&clients, scale.turn * TURN_FACTOR).await?);
            let load = tokio::spawn({
                let (clients, time) = (clients.clone(), scale.turn * TURN_FACTOR);
                async move { steady(&clients, time).await }
            });
            let began = Instant::now();
            while !load.is_finished() {
                let target = if moves % 2 == 0 { SECOND } else { FIRST };
                move_to(&clients, load::object("mover", 0), target).await?;
                moves += 1;
            }
            moving += began.elapsed();
            beside.push(load.await??);
        }
        let (calm, beside) = (Sample::together(calm), Sample::together(beside));
        let moved = f64::from(moves) * scale.long_events as f64 / moving.as_secs_f64();
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let (calm, beside) = (calm.at(quantile), beside.at(quantile));
            let ratio = beside.as_secs_f64() / calm.as_secs_f64();
            let (bar, verdict) = match name {
                "p99" => (format!("at most {P99_RATIO_MAX}"), Verdict::of(ratio <= P99_RATIO_MAX)),
                _ => (String::new(), Verdict::Shown),
            };
            report.row(
                format!("append beside a migration of {}, {name}", rate(moved)),
                time(beside),
                format!("without it {}", time(calm)),
                format!("{ratio:.2}"),
                bar,
                verdict,
            );
        }
        Ok(())
    })
}

async fn steady(clients: &Clients, time: Duration) -> Result<Sample, Failure> {
    let mut writers = JoinSet::new();
    let began = Instant::now();
    for task in 0..WRITERS {
        let (mut client, payload) = (clients.events(task), load::payload());
        writers.spawn(async move {
            let mut latencies = load::histogram();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_WRITER);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut asked = task;
            while began.elapsed() < time {
                ticks.tick().await;
                let object = load::object("bystander", asked % OBJECTS);
                let request = load::append(object, vec![load::event(&payload)]);
                let sent = Instant::now();
                client.append(request).await?;
                load::note(&mut latencies, sent.elapsed());
                asked += WRITERS + 1;
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut latencies = load::histogram();
    while let Some(ended) = writers.join_next().await {
        latencies.add(ended??).expect("the histograms have the same bounds");
    }
    Ok(Sample::of(began.elapsed(), latencies))
}
