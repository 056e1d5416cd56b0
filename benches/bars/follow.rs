//! Followers: how long an event is on its way from the append to whoever follows its object, with
//! 1, 100 and 10,000 followers on one proxy, and what the idle ones cost in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamgate::grpc::v1;
use streamgate::grpc::v1::read_response::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::load::{self, Clients, Sample};
use crate::report::{Report, Verdict, bytes, time};
use crate::served::Served;
use crate::{Bench, Failure};

/// Appends a second while followers listen: far below what the proxy can do, so that what is
/// measured is the way and not the queue.
const PER_SECOND: u64 = 500;
/// Followers of one connection: within `open_streams_per_connection_max`, which holds for all.
const PER_CONNECTION: usize = 1_000;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let scale = bench.scale;
    let mut counts = vec![1, 100, scale.followers];
    counts.dedup();
    for followers in counts {
        let served = Served::start(scale.stores)?;
        let (sample, memory) = bench.clients.block_on(async {
            let connections = followers.div_ceil(PER_CONNECTION).max(4);
            let clients = Clients::over(served.address, connections).await?;
            load::fill(&clients, "followed", followers, 1).await?;
            let rounds = u64::from(u32::try_from(scale.turns)?) * 200;
            measure(&clients, followers, rounds).await
        })?;
        report.row(
            format!("followers: {followers}, append to delivery, p50 and p99"),
            format!("{}, {}", time(sample.at(0.5)), time(sample.at(0.99))),
            format!("{} events delivered", sample.count()),
            "",
            "",
            Verdict::Shown,
        );
        if followers > 1 {
            let what = format!("followers: {followers}, memory of each with its client");
            report.row(what, bytes(memory / followers as f64), "", "", "", Verdict::Shown);
        }
    }
    Ok(())
}

/// Each follower has an object of its own; events go to one after the other. Also the memory that
/// all of them together take while they are idle.
async fn measure(
    clients: &Clients,
    followers: usize,
    rounds: u64,
) -> Result<(Sample, f64), Failure> {
    let before = load::memory()?;
    let base = Instant::now();
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..followers).map(|_| AtomicU64::new(0)).collect());
    let (ready, mut readies) = mpsc::unbounded_channel();
    let (delivered, mut deliveries) = mpsc::unbounded_channel();
    let mut tasks: JoinSet<Result<(), Failure>> = JoinSet::new();
    for number in 0..followers {
        let (mut client, sent) = (clients.events(number), Arc::clone(&sent));
        let (ready, delivered) = (ready.clone(), delivered.clone());
        tasks.spawn(async move {
            let request = v1::ReadRequest {
                object: Some(load::object("followed", number)),
                start: Some(v1::read_request::Start::FromEnd(())),
                follow: Some(v1::FollowOptions::default()),
                ..v1::ReadRequest::default()
            };
            let mut answers = client.read(request).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                match answer.message {
                    Some(Message::CaughtUp(_)) => {
                        let _ = ready.send(());
                    }
                    Some(Message::Batch(batch)) => {
                        let began = sent[number].load(Ordering::Acquire);
                        let took = base.elapsed().saturating_sub(Duration::from_nanos(began));
                        for _ in batch.events {
                            // Nobody listens once the last round is over.
                            let _ = delivered.send(took);
                        }
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        // No more start at once than a server takes (`in_flight_max`).
        if (number + 1) % PER_CONNECTION == 0 || number + 1 == followers {
            for _ in 0..(number % PER_CONNECTION) + 1 {
                heard(&mut readies, &mut tasks).await?;
            }
        }
    }
    let memory = load::memory()? - before;
    let payload = load::payload();
    let mut latencies = load::histogram();
    let began = Instant::now();
    for round in 0..rounds {
        let number = (usize::try_from(round)? * 7_919) % followers;
        let now = u64::try_from(base.elapsed().as_nanos())?;
        sent[number].store(now, Ordering::Release);
        let append = load::append(load::object("followed", number), vec![load::event(&payload)]);
        clients.events(number).append(append).await?;
        let took = heard(&mut deliveries, &mut tasks).await?;
        load::note(&mut latencies, took);
        let due = Duration::from_secs(round + 1) / u32::try_from(PER_SECOND)?;
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
    tasks.abort_all();
    Ok((Sample::of(began.elapsed(), latencies), memory))
}

/// What a follower says next; none of them ends by itself.
async fn heard<T>(
    said: &mut mpsc::UnboundedReceiver<T>,
    followers: &mut JoinSet<Result<(), Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        Some(said) = said.recv() => Ok(said),
        Some(ended) = followers.join_next() => {
            ended??;
            Err("a follower ended".into())
        }
        else => Err("there are no followers".into()),
    }
}
