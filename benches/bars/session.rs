//! Appends through sessions, 1,024 in flight: beside an echo of the same messages, unary appends,
//! and the store alone with as many in flight under the same group commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use streamgate::grpc::v1;
use streamgate::grpc::v1::append_session_response::Outcome;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::append::{bare, bare_streams};
use crate::echo::Echo;
use crate::load::{self, Clients, Sample};
use crate::report::{Report, Verdict, time};
use crate::served::{FIRST, Served};
use crate::{Bench, Failure};

const IN_FLIGHT: usize = 1_024;
/// The bar: of the store alone.
const OF_STORE: f64 = 0.7;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let scale = bench.scale;
    let served = Served::start(scale.stores)?;
    let echo = Echo::start(Vec::new())?;
    let store = served.store(FIRST);
    bench.clients.block_on(async {
        let ours = Clients::connect(served.address).await?;
        let theirs = Clients::connect(echo.address).await?;
        load::fill(&ours, "session", scale.objects, 1).await?;
        let streams = bare_streams(&*store, scale.objects).await?;
        let objects = Objects { name: "session", count: scale.objects };
        let mut sides = [const { Vec::new() }; 4];
        for _ in 0..scale.turns {
            sides[0].push(session(&ours, objects, IN_FLIGHT, scale.turn).await?);
            sides[1].push(session(&theirs, objects, IN_FLIGHT, scale.turn).await?);
            sides[2].push(bare(&store, &streams, IN_FLIGHT, scale.turn).await?);
            let unary = load::appends(&ours, "session", scale.objects, 256, scale.turn);
            sides[3].push(unary.await?);
        }
        let [mine, echo, bare, unary] = sides.map(Sample::together);
        let what = format!("session, {IN_FLIGHT} in flight over {} objects", scale.objects);
        report.rates(&what, mine.per_second, ("store alone", bare.per_second), Some(OF_STORE));
        report.rates(&what, mine.per_second, ("echo", echo.per_second), None);
        report.rates(&what, mine.per_second, ("unary, 256", unary.per_second), None);
        report.row(
            format!("{what}, p50 and p99"),
            format!("{}, {}", time(mine.at(0.5)), time(mine.at(0.99))),
            format!("unary, 256 {}, {}", time(unary.at(0.5)), time(unary.at(0.99))),
            "",
            "",
            Verdict::Shown,
        );
        // One busy object: its requests go together, one store call for many.
        let one = Objects { name: "busy", count: 1 };
        let mut sides = [Vec::new(), Vec::new()];
        for _ in 0..scale.turns {
            sides[0].push(session(&ours, one, IN_FLIGHT, scale.turn).await?);
            sides[1].push(load::appends(&ours, "busy", 1, 256, scale.turn).await?);
        }
        let [mine, unary] = sides.map(Sample::together);
        let what = format!("session, {IN_FLIGHT} in flight on one object");
        report.rates(what, mine.per_second, ("unary, 256", unary.per_second), None);
        Ok(())
    })
}

/// Whom appends go to, in turn.
#[derive(Clone, Copy)]
pub(crate) struct Objects {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
}

/// One session that keeps `in_flight` requests on their way until `time` has passed.
pub(crate) async fn session(
    clients: &Clients,
    objects: Objects,
    in_flight: usize,
    time: Duration,
) -> Result<Sample, Failure> {
    let (requests, outgoing) = mpsc::channel(in_flight);
    let (sent, mut times) = mpsc::unbounded_channel();
    let places = Arc::new(Semaphore::new(in_flight));
    let mut client = clients.events(0);
    let began = Instant::now();
    let cpu = load::cpu_time()?;
    let sender = {
        let (places, payload) = (Arc::clone(&places), load::payload());
        tokio::spawn(async move {
            for sequence in 0_u64.. {
                if began.elapsed() >= time {
                    return;
                }
                let Ok(place) = places.acquire().await else { return };
                place.forget();
                let number = (sequence as usize * 104_729) % objects.count;
                let object = load::object(objects.name, number);
                let append = Some(load::append(object, vec![load::event(&payload)]));
                let request = v1::AppendSessionRequest { sequence, append, after_failure: false };
                let _ = sent.send(Instant::now());
                if requests.send(request).await.is_err() {
                    return;
                }
            }
        })
    };
    let mut latencies = load::histogram();
    let mut answers = client.append_session(ReceiverStream::new(outgoing)).await?.into_inner();
    let mut expected = 0;
    while let Some(answer) = answers.message().await? {
        match answer.outcome {
            Some(Outcome::Appended(_)) if answer.sequence == expected => expected += 1,
            other => return Err(format!("answer {}: {other:?}", answer.sequence).into()),
        }
        let sent = times.try_recv()?;
        load::note(&mut latencies, sent.elapsed());
        places.add_permits(1);
    }
    sender.await?;
    let sample = Sample::of(began.elapsed(), latencies);
    Ok(Sample { cpu: load::cpu_time()? - cpu, ..sample })
}
