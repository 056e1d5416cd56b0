//! Migrations of one long stream within PostgreSQL, out of it and into it. Beside them a script as
//! people write it, `COPY` in a pipe, and for other pairs a plain loop over the same two stores.

use std::time::Instant;

use super::ON_DISK;
use super::plain::{self, Database};
use crate::load::{self, Clients};
use crate::migrate::{move_to, plain_copy, plain_streams};
use crate::report::{Report, Verdict, rate};
use crate::served::{FIRST, SECOND, Served};
use crate::{Bench, Failure};

/// Streams that each side copies; the middle one counts.
const REPEATS: usize = 3;
const OF_COPY: f64 = 0.8;

pub(super) async fn run(
    bench: &Bench,
    database: &Database,
    served: &Served,
    report: &mut Report,
) -> Result<(), Failure> {
    let events = bench.scale.long_events;
    let clients = Clients::connect(served.address).await?;
    load::fill(&clients, "long", REPEATS, events).await?;
    load::fill(&clients, "other", REPEATS, events).await?;
    plain::fill(database, REPEATS, events).await?;
    let mut sides: [Vec<f64>; 7] = std::array::from_fn(|_| Vec::new());
    for number in 0..REPEATS {
        let [within, script, copy, out, out_plain, back, back_plain] = &mut sides;
        let long = || load::object("long", number);
        script.push(copied(events, plain::script(database, number)).await?);
        within.push(timed(events, move_to(&clients, long(), SECOND)).await?);
        copy.push(copied(events, plain::copy(database, number)).await?);
        let (hot, cold, disk) = (served.store(FIRST), served.store(SECOND), served.store(ON_DISK));
        let other = || load::object("other", number);
        let streams = plain_streams("other", number)?;
        out_plain.push(timed(events, plain_copy(&*hot, &*disk, &streams)).await?);
        out.push(timed(events, move_to(&clients, other(), ON_DISK)).await?);
        // What the plain loop copied out it copies back.
        let copy = streams[1].clone();
        let streams = [copy.clone(), copy];
        back_plain.push(timed(events, plain_copy(&*disk, &*cold, &streams)).await?);
        back.push(timed(events, move_to(&clients, other(), SECOND)).await?);
    }
    let [within, script, copy, out, out_plain, back, back_plain] = sides.map(middle);
    let what = format!("{events} events, PostgreSQL to PostgreSQL");
    report.rates(&what, within, ("script", script), Some(1.0));
    report.rates(format!("{what}, goal {OF_COPY}"), within, ("COPY", copy), None);
    let what = format!("{events} events, PostgreSQL to embedded");
    report.rates(&what, out, ("plain copy loop", out_plain), None);
    report.row(what, rate(out), "", "", "", Verdict::Shown);
    let what = format!("{events} events, embedded to PostgreSQL");
    report.rates(&what, back, ("plain copy loop", back_plain), None);
    report.rates(&what, back, ("script", script), None);
    Ok(())
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn timed(
    events: u64,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<f64, Failure> {
    let began = Instant::now();
    work.await?;
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

/// The same for work that says how many events it copied, which must be all.
async fn copied(
    events: u64,
    work: impl Future<Output = Result<u64, Failure>>,
) -> Result<f64, Failure> {
    let all = async {
        match work.await? {
            copied if copied == events => Ok(()),
            copied => Err(format!("{copied} of {events} events were copied").into()),
        }
    };
    timed(events, all).await
}
