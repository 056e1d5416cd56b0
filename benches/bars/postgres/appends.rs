//! Unary appends on PostgreSQL at 1, 16, 64 and 256 in flight: through the proxy, beside a library
//! that inserts one event a transaction on as many connections as it has appends in flight, into a
//! table of its own kind and into one like the store's, and beside the store alone.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::plain::{Database, Library, Table};
use crate::append::{bare, bare_streams};
use crate::load::{self, Clients, Sample};
use crate::report::{Report, Verdict, bytes, time};
use crate::served::{FIRST, Served};
use crate::session::{Objects, session};
use crate::{Bench, Failure};

/// In flight, the least ratio to the library, and the ratio that is the goal.
const BARS: [(usize, Option<f64>, &str); 4] = [
    (1, Some(0.6), ", goal 0.7"),
    (16, Some(0.7), ", goal 1.0"),
    (64, Some(0.9), ", goal 1.3"),
    (256, None, ""),
];

pub(super) async fn run(
    bench: &Bench,
    database: &Arc<Database>,
    served: &Served,
    report: &mut Report,
) -> Result<(), Failure> {
    let scale = bench.scale;
    let ours = Clients::connect(served.address).await?;
    load::fill(&ours, "append", scale.objects, 1).await?;
    let store = served.store(FIRST);
    let streams = bare_streams(&*store, scale.objects).await?;
    database.copy_the_table_of(FIRST).await?;
    let versions = || Arc::new((0..scale.objects).map(|_| AtomicI64::new(0)).collect());
    let next: [Arc<Vec<AtomicI64>>; 2] = [versions(), versions()];
    for (in_flight, bar, goal) in BARS {
        let libraries = connect(database, in_flight).await?;
        let mut sides = [const { Vec::new() }; 5];
        let mut cost = Cost::default();
        for _ in 0..scale.turns {
            let before = Cost::now(database, served).await?;
            let mine = load::appends(&ours, "append", scale.objects, in_flight, scale.turn).await?;
            cost.add(&before, &Cost::now(database, served).await?, mine.count());
            sides[0].push(mine);
            sides[1].push(library(Table::Plain, &libraries, &next[0], scale.turn).await?);
            sides[2].push(library(Table::AsOurs, &libraries, &next[1], scale.turn).await?);
            sides[3].push(bare(&store, &streams, in_flight, scale.turn).await?);
            let objects = Objects { name: "append", count: scale.objects };
            sides[4].push(session(&ours, objects, in_flight, scale.turn).await?);
        }
        let [mine, library, same, bare, by_session] = sides.map(Sample::together);
        let what = format!("append on PostgreSQL, {in_flight} in flight");
        report.rates(
            format!("{what}{goal}"),
            mine.per_second,
            ("library", library.per_second),
            bar,
        );
        let on_the_same = ("library, a table like ours", same.per_second);
        report.rates(&what, mine.per_second, on_the_same, None);
        report.rates(&what, mine.per_second, ("store alone", bare.per_second), None);
        let through_one = format!("{what}, through one session");
        let others = ("library", library.per_second);
        report.rates(&through_one, by_session.per_second, others, None);
        report.rates(&through_one, by_session.per_second, on_the_same, None);
        report.row(
            format!("{what}, processor time of the clients and the proxy"),
            time(mine.cpu()),
            format!(
                "library {}, store {}, session {}",
                time(library.cpu()),
                time(bare.cpu()),
                time(by_session.cpu())
            ),
            "",
            "",
            Verdict::Shown,
        );
        report.row(
            format!("{what}, p50 and p99"),
            format!("{}, {}", time(mine.at(0.5)), time(mine.at(0.99))),
            format!(
                "library {}, {}; store {}",
                time(library.at(0.5)),
                time(library.at(0.99)),
                time(bare.at(0.5))
            ),
            "",
            "",
            Verdict::Shown,
        );
        report.row(format!("{what}, each"), cost.text(), "", "", "", Verdict::Shown);
    }
    Ok(())
}

async fn connect(database: &Database, count: usize) -> Result<Arc<Vec<Library>>, Failure> {
    let mut libraries = Vec::with_capacity(count);
    for _ in 0..count {
        libraries.push(Library::connect(database).await?);
    }
    Ok(Arc::new(libraries))
}

/// As many loops as there are connections, each on its own.
async fn library(
    table: Table,
    libraries: &Arc<Vec<Library>>,
    next: &Arc<Vec<AtomicI64>>,
    time: Duration,
) -> Result<Sample, Failure> {
    let (connections, next, payload) = (Arc::clone(libraries), Arc::clone(next), load::payload());
    let call = move |task: usize, asked: usize| {
        let (connections, next) = (Arc::clone(&connections), Arc::clone(&next));
        let payload = payload.clone();
        async move {
            let stream = (task * 7_919 + asked * 104_729) % next.len();
            connections[task].append(table, stream, &next[stream], &payload).await
        }
    };
    load::closed_loops(libraries.len(), time, call).await
}

/// What appends through the proxy asked of the server.
#[derive(Default)]
struct Cost {
    appends: u64,
    calls: u64,
    transactions: i64,
    log_bytes: i64,
}

impl Cost {
    async fn now(database: &Database, served: &Served) -> Result<Self, Failure> {
        let calls = served.store_calls()?;
        let (transactions, log_bytes) = database.written().await?;
        Ok(Self { appends: 0, calls, transactions, log_bytes })
    }

    fn add(&mut self, before: &Self, after: &Self, appends: u64) {
        self.appends += appends;
        self.calls += after.calls - before.calls;
        // One of them was the look itself.
        self.transactions += after.transactions - before.transactions - 1;
        self.log_bytes += after.log_bytes - before.log_bytes;
    }

    fn text(&self) -> String {
        let each = |number: f64| number / self.appends.max(1) as f64;
        format!(
            "{:.2} store calls, {:.2} transactions, {} of log",
            each(self.calls as f64),
            each(self.transactions as f64),
            bytes(each(self.log_bytes as f64)),
        )
    }
}
