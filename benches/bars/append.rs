//! Unary appends at 1, 16, 64 and 256 in flight: beside the echo of the same messages, and beside
//! the store alone under the same group commit. Also what each costs in bytes written.

use std::sync::Arc;
use std::time::Duration;

use streamgate::domain::{
    Digest, Event, EventId, ExpectedVersion, ObjectId, ObjectKey, ObjectName, StreamHeader,
    StreamId, Timestamp, Version,
};
use streamgate::store::{Append, EventStore};
use uuid::Uuid;

use crate::echo::Echo;
use crate::load::{self, Clients, Sample};
use crate::report::{Report, Verdict, bytes, time};
use crate::served::{FIRST, Served, StoreKind};
use crate::{Bench, Failure};

/// What the proxy may add to the echo and the store, one append at a time.
const ADDED_MAX: Duration = Duration::from_micros(100);
/// UmaDB's bytes written per event at one in flight, measured once, and our share of them.
const UMADB_BYTES: f64 = 29.0 * 1024.0;
const UMADB_SHARE: f64 = 0.3;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let scale = bench.scale;
    let served = Served::start(scale.stores)?;
    let echo = Echo::start(Vec::new())?;
    let store = served.store(FIRST);
    bench.clients.block_on(async {
        let ours = Clients::connect(served.address).await?;
        let theirs = Clients::connect(echo.address).await?;
        load::fill(&ours, "append", scale.objects, 1).await?;
        let streams = bare_streams(&*store, scale.objects).await?;
        for in_flight in [1, 16, 64, 256] {
            let mut sides = Sides::default();
            for _ in 0..scale.turns {
                let before = bytes_written()?;
                let appends = |clients| {
                    load::appends(clients, "append", scale.objects, in_flight, scale.turn)
                };
                let mine = appends(&ours).await?;
                sides.bytes += bytes_written()? - before;
                sides.ours.push(mine);
                sides.echo.push(appends(&theirs).await?);
                sides.bare.push(bare(&store, &streams, in_flight, scale.turn).await?);
            }
            sides.tell(in_flight, scale.stores, report);
        }
        Ok(())
    })
}

#[derive(Default)]
struct Sides {
    ours: Vec<Sample>,
    echo: Vec<Sample>,
    bare: Vec<Sample>,
    bytes: u64,
}

impl Sides {
    fn tell(self, in_flight: usize, stores: StoreKind, report: &mut Report) {
        let appended: u64 = self.ours.iter().map(Sample::count).sum();
        let (ours, echo) = (Sample::together(self.ours), Sample::together(self.echo));
        let bare = Sample::together(self.bare);
        let what = format!("append, {in_flight} in flight");
        let bar = (in_flight >= 64).then_some(0.55);
        report.rates(&what, ours.per_second, ("echo", echo.per_second), bar);
        report.rates(&what, ours.per_second, ("store alone", bare.per_second), None);
        report.row(
            format!("{what}, p50 and p99"),
            format!("{}, {}", time(ours.at(0.5)), time(ours.at(0.99))),
            format!("echo {}, store {}", time(echo.at(0.5)), time(bare.at(0.5))),
            "",
            "",
            Verdict::Shown,
        );
        report.row(
            format!("{what}, processor time each"),
            time(ours.cpu()),
            format!("echo {}, store {}", time(echo.cpu()), time(bare.cpu())),
            format!("{:.2}", ours.cpu().as_secs_f64() / echo.cpu().as_secs_f64()),
            "",
            Verdict::Shown,
        );
        if in_flight == 1 {
            let added = ours.at(0.5).saturating_sub(echo.at(0.5) + bare.at(0.5));
            report.row(
                "what the proxy adds to echo and store, p50",
                time(added),
                format!("echo {} + store {}", time(echo.at(0.5)), time(bare.at(0.5))),
                "",
                format!("under {}", time(ADDED_MAX)),
                Verdict::of(added < ADDED_MAX),
            );
        }
        if stores == StoreKind::Embedded && [1, 64].contains(&in_flight) {
            let each = self.bytes as f64 / appended as f64;
            let (ratio, bar, verdict) = if in_flight == 1 {
                let share = each / UMADB_BYTES;
                (format!("{share:.2}"), format!("at most {UMADB_SHARE}"), share <= UMADB_SHARE)
            } else {
                (String::new(), String::new(), true)
            };
            let verdict = if in_flight == 1 { Verdict::of(verdict) } else { Verdict::Shown };
            let other = if in_flight == 1 { "UmaDB, an earlier run: 29.0 KiB" } else { "" };
            let what = format!("bytes written an event, {in_flight} in flight");
            report.row(what, bytes(each), other, ratio, bar, verdict);
        }
    }
}

/// Bytes that this process caused to be written to the disk.
fn bytes_written() -> Result<u64, Failure> {
    let counters = std::fs::read_to_string("/proc/self/io")?;
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("/proc/self/io does not count written bytes")?.parse()?)
}

/// Streams that no object has, for the store alone.
pub(crate) async fn bare_streams(
    store: &dyn EventStore,
    count: usize,
) -> Result<Arc<Vec<StreamId>>, Failure> {
    let mut streams = Vec::new();
    for number in 0..count {
        let stream = StreamId::new(format!("bare/{number}/0000000000"))?;
        let header = StreamHeader {
            object: ObjectKey {
                name: ObjectName::new("bare")?,
                id: ObjectId::new(number.to_string())?,
            },
            predecessor: None,
            made_by: None,
            base: Some(Version::FIRST),
        };
        store.create(&stream, &header).await?;
        streams.push(stream);
    }
    Ok(Arc::new(streams))
}

pub(crate) async fn bare(
    store: &Arc<dyn EventStore>,
    streams: &Arc<Vec<StreamId>>,
    in_flight: usize,
    time: Duration,
) -> Result<Sample, Failure> {
    let (store, streams, payload) = (Arc::clone(store), Arc::clone(streams), load::payload());
    let call = move |task: usize, asked: usize| {
        let (store, streams) = (Arc::clone(&store), Arc::clone(&streams));
        let append = Append {
            made_by: None,
            base: Version::FIRST,
            expected: ExpectedVersion::Any,
            events: vec![bare_event(&payload)],
        };
        async move {
            let stream = &streams[(task * 7_919 + asked * 104_729) % streams.len()];
            store.append(stream, append).await?;
            Ok(())
        }
    };
    load::closed_loops(in_flight, time, call).await
}

fn bare_event(payload: &bytes::Bytes) -> Event {
    let mut event = Event {
        event_id: EventId(Uuid::new_v4()),
        event_type: "SomethingHappened".into(),
        schema_version: 0,
        content_type: "application/octet-stream".into(),
        payload: payload.clone(),
        metadata: std::collections::BTreeMap::new(),
        occurred_at: None,
        recorded_at: Timestamp::EPOCH,
        digest: Digest::from_bytes([0; 32]),
    };
    event.digest = Digest::of(&event);
    event
}
