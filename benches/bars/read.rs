//! Reading: one long history, and whole objects of 100 events by one reader and by 16. Beside
//! them a tonic server that streams the same messages from memory, and the scan of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use streamgate::domain::{StreamId, Version};
use streamgate::grpc::v1;
use streamgate::grpc::v1::read_response::Message;
use streamgate::store::{EventStore, ReadRange};

use crate::echo::Echo;
use crate::load::{self, Clients};
use crate::report::{Report, Verdict, rate};
use crate::served::{FIRST, Served};
use crate::{Bench, Failure};

const SHORT_EVENTS: u64 = 100;
/// The bars: of the stream of the same bytes, and absolute on the machine they were set on.
const OF_ECHO: f64 = 1.0 / 3.0;
const LONG_PER_SECOND: f64 = 1_500_000.0;
/// UmaDB by tag with 1 and 16 readers, measured once; three times as much is asked for.
const UMADB: [(usize, f64); 2] = [(1, 110_000.0), (16, 231_000.0)];
const TIMES_UMADB: f64 = 3.0;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let served = Served::start(bench.scale.stores)?;
    let ours = bench.clients.block_on(async {
        let ours = Clients::connect(served.address).await?;
        load::fill(&ours, "long", 1, bench.scale.long_events).await?;
        load::fill(&ours, "short", bench.scale.short_objects, SHORT_EVENTS).await?;
        Ok::<_, Failure>(ours)
    })?;
    long(bench, &served, &ours, report)?;
    short(bench, &ours, report)
}

fn long(
    bench: &Bench,
    served: &Served,
    ours: &Clients,
    report: &mut Report,
) -> Result<(), Failure> {
    let history = bench.clients.block_on(recorded(ours, load::object("long", 0)))?;
    let echo = Echo::start(history)?;
    let store = served.store(FIRST);
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    bench.clients.block_on(async {
        let theirs = Clients::connect(echo.address).await?;
        for _ in 0..bench.scale.turns {
            rates[0].push(pass(ours).await?);
            rates[1].push(pass(&theirs).await?);
            rates[2].push(scan(&*store).await?);
        }
        Ok::<_, Failure>(())
    })?;
    let [ours, echo, scan] = rates.map(middle);
    let what = format!("read of {} events", bench.scale.long_events);
    report.rates(&what, ours, ("echo stream", echo), Some(OF_ECHO));
    report.rates(&what, ours, ("scan of the store", scan), None);
    let verdict = Verdict::of(ours >= LONG_PER_SECOND);
    report.row(what, rate(ours), "", "", rate(LONG_PER_SECOND), verdict);
    Ok(())
}

fn short(bench: &Bench, ours: &Clients, report: &mut Report) -> Result<(), Failure> {
    let history = bench.clients.block_on(recorded(ours, load::object("short", 0)))?;
    let echo = Echo::start(history)?;
    let theirs = bench.clients.block_on(Clients::connect(echo.address))?;
    for (readers, umadb) in UMADB {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..bench.scale.turns {
            for (clients, rates) in [ours, &theirs].into_iter().zip(&mut rates) {
                let objects = bench.scale.short_objects;
                let turn = bench.scale.turn;
                rates.push(bench.clients.block_on(whole_objects(clients, readers, objects, turn))?);
            }
        }
        let [ours, echo] = rates.map(middle);
        let what = format!("read of objects of {SHORT_EVENTS} events, readers: {readers}");
        report.rates(&what, ours, ("echo stream", echo), None);
        let ratio = ours / umadb;
        let verdict = Verdict::of(ratio >= TIMES_UMADB);
        let other = format!("UmaDB, an earlier run: {}", rate(umadb));
        report.row(what, rate(ours), other, format!("{ratio:.2}"), "at least 3.00", verdict);
    }
    Ok(())
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// The answers to one read, to be repeated by the echo.
async fn recorded(
    clients: &Clients,
    object: v1::ObjectRef,
) -> Result<Vec<v1::ReadResponse>, Failure> {
    let mut answers = Vec::new();
    let mut stream = clients.events(0).read(whole(object)).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

fn whole(object: v1::ObjectRef) -> v1::ReadRequest {
    v1::ReadRequest { object: Some(object), ..v1::ReadRequest::default() }
}

/// Events that one read delivered.
async fn count(clients: &Clients, task: usize, object: v1::ObjectRef) -> Result<u64, Failure> {
    let mut events = 0;
    let mut stream = clients.events(task).read(whole(object)).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        if let Some(Message::Batch(batch)) = answer.message {
            events += batch.events.len() as u64;
        }
    }
    Ok(events)
}

async fn pass(clients: &Clients) -> Result<f64, Failure> {
    let began = Instant::now();
    let events = count(clients, 0, load::object("long", 0)).await?;
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

async fn scan(store: &dyn EventStore) -> Result<f64, Failure> {
    let stream = StreamId::new("long/0000000/0000000000")?;
    let (began, mut from) = (Instant::now(), Version::FIRST);
    loop {
        let range = ReadRange { from, events_max: 1_000, bytes_max: 4 * 1024 * 1024 };
        let page = store.read(&stream, range).await?;
        from = page.next();
        if page.reaches_head() {
            return Ok(from.0 as f64 / began.elapsed().as_secs_f64());
        }
    }
}

async fn whole_objects(
    clients: &Clients,
    readers: usize,
    objects: usize,
    turn: Duration,
) -> Result<f64, Failure> {
    let clients = Arc::new(clients.clone());
    let call = move |task: usize, asked: usize| {
        let clients = Arc::clone(&clients);
        let object = load::object("short", (task * 7_919 + asked * 104_729) % objects);
        async move {
            let events = count(&clients, task, object).await?;
            if events == SHORT_EVENTS {
                return Ok(());
            }
            Err(format!("read {events} events of {SHORT_EVENTS}").into())
        }
    };
    let sample = load::closed_loops(readers, turn, call).await?;
    Ok(sample.per_second * SHORT_EVENTS as f64)
}
