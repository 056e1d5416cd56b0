//! Migrations between the two stores: one long stream, and many small objects at a time. Beside
//! them a plain loop over the same stores that copies pages and checks nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use streamgate::domain::{ExpectedVersion, Head, StreamId, Version};
use streamgate::grpc::v1;
use streamgate::store::{Append, EventStore, ReadRange};
use tokio::task::JoinSet;

use crate::load::{self, Clients};
use crate::report::{Report, Verdict, rate};
use crate::served::{FIRST, SECOND, Served};
use crate::{Bench, Failure};

const SMALL_EVENTS: u64 = 6;
const SMALL_AT_A_TIME: usize = 64;
pub(crate) const LONG_PER_SECOND: f64 = 100_000.0;
const SMALL_PER_SECOND: f64 = 2_000.0;
/// Streams that are copied by the plain loop, and by migrations.
const REPEATS: usize = 3;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let served = Served::start(bench.scale.stores)?;
    bench.clients.block_on(async {
        let clients = Clients::connect(served.address).await?;
        long(bench, &served, &clients, report).await?;
        small(bench, &served, &clients, report).await
    })
}

async fn long(
    bench: &Bench,
    served: &Served,
    clients: &Clients,
    report: &mut Report,
) -> Result<(), Failure> {
    let events = bench.scale.long_events;
    load::fill(clients, "long", REPEATS, events).await?;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for number in 0..REPEATS {
        let began = Instant::now();
        let streams = plain_streams("long", number)?;
        plain_copy(&*served.store(FIRST), &*served.store(SECOND), &streams).await?;
        plain.push(events as f64 / began.elapsed().as_secs_f64());
        let began = Instant::now();
        move_to(clients, load::object("long", number), SECOND).await?;
        ours.push(events as f64 / began.elapsed().as_secs_f64());
    }
    ours.sort_by(f64::total_cmp);
    plain.sort_by(f64::total_cmp);
    let (ours, plain) = (ours[REPEATS / 2], plain[REPEATS / 2]);
    let what = format!("migration of {events} events");
    report.rates(&what, ours, ("plain copy loop", plain), None);
    let verdict = Verdict::of(ours >= LONG_PER_SECOND);
    report.row(what, rate(ours), "", "", rate(LONG_PER_SECOND), verdict);
    Ok(())
}

async fn small(
    bench: &Bench,
    served: &Served,
    clients: &Clients,
    report: &mut Report,
) -> Result<(), Failure> {
    let objects = bench.scale.small_objects;
    load::fill(clients, "small", objects, SMALL_EVENTS).await?;
    let (first, second) = (served.store(FIRST), served.store(SECOND));
    let plain = at_a_time(objects, move |_, number| {
        let (first, second) = (Arc::clone(&first), Arc::clone(&second));
        async move { plain_copy(&*first, &*second, &plain_streams("small", number)?).await }
    })
    .await?;
    let clients = clients.clone();
    let ours = at_a_time(objects, move |task, number| {
        let clients = clients.clone();
        async move { move_by(&clients, task, load::object("small", number), SECOND).await }
    })
    .await?;
    let what = format!("migration of objects of {SMALL_EVENTS} events");
    report.rates(&what, ours, ("plain copy loop", plain), None);
    let verdict = Verdict::of(ours >= SMALL_PER_SECOND);
    report.row(what, rate(ours), "", "", rate(SMALL_PER_SECOND), verdict);
    Ok(())
}

/// Objects per second.
async fn at_a_time<W, F>(objects: usize, work: W) -> Result<f64, Failure>
where
    W: Fn(usize, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..SMALL_AT_A_TIME {
        let (next, work) = (Arc::clone(&next), work.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects {
                    return Ok::<_, Failure>(());
                }
                work(task, number).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(objects as f64 / began.elapsed().as_secs_f64())
}

/// Migrates an object and waits for the end, which must be a success.
pub(crate) async fn move_to(
    clients: &Clients,
    object: v1::ObjectRef,
    target_store: &str,
) -> Result<(), Failure> {
    move_by(clients, 0, object, target_store).await
}

async fn move_by(
    clients: &Clients,
    task: usize,
    object: v1::ObjectRef,
    target_store: &str,
) -> Result<(), Failure> {
    let mut client = clients.migrations(task);
    let request = v1::MigrateRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        object: Some(object),
        kind: v1::MigrationKind::Copy.into(),
        target_store: target_store.into(),
        ..v1::MigrateRequest::default()
    };
    let started = client.migrate(request).await?.into_inner().migration;
    let migration_id = started.ok_or("a migration without a name")?.migration_id;
    let watch = v1::WatchMigrationRequest { migration_id };
    let mut states = client.watch_migration(watch).await?.into_inner();
    let mut last = None;
    while let Some(state) = states.message().await? {
        last = state.migration;
    }
    let last = last.ok_or("a migration that showed nothing")?;
    match last.phase() {
        v1::MigrationPhase::Succeeded => Ok(()),
        other => Err(format!("a migration ended as {}", other.as_str_name()).into()),
    }
}

/// The first stream of an object, and where the plain loop copies it.
pub(crate) fn plain_streams(name: &str, number: usize) -> Result<[StreamId; 2], Failure> {
    let source = StreamId::new(format!("{name}/{number:07}/0000000000"))?;
    Ok([source, StreamId::new(format!("plain/{name}/{number:07}"))?])
}

/// Copies a stream page by page, as a script would: no record, no checksum, no cut-over.
pub(crate) async fn plain_copy(
    from: &dyn EventStore,
    to: &dyn EventStore,
    [source, target]: &[StreamId; 2],
) -> Result<(), Failure> {
    to.create(target, &from.tail(source).await?.header).await?;
    let mut next = Version::FIRST;
    loop {
        let range = ReadRange { from: next, events_max: 1_000, bytes_max: 4 * 1024 * 1024 };
        let page = from.read(source, range).await?;
        let (after, is_last) = (page.next(), page.reaches_head());
        let append = Append {
            made_by: None,
            base: Version::FIRST,
            expected: ExpectedVersion::exactly(Head::before(next)),
            events: page.events,
        };
        to.append(target, append).await?;
        if is_last {
            return Ok(());
        }
        next = after;
    }
}
