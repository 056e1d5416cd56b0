//! A log of real events, and its import while every object of it moves to a second store and then
//! to a third.
//!
//! The log is no part of the repository: `STREAMGATE_PERMIT_LOG` names it, else it lies beside the
//! repository. Without it a test fails, unless `STREAMGATE_WITHOUT_PERMIT_LOG=1` says that this is
//! known.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use flate2::read::GzDecoder;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use streamgate::grpc::v1;
use streamgate::runtime::{Clock as _, SystemClock};

use super::client::{Client, assert_same};
use super::moving::Move;

/// New objects begin in the first one.
pub(crate) const STORES: [&str; 3] = ["hot", "cold", "archive"];

const LOG_VARIABLE: &str = "STREAMGATE_PERMIT_LOG";
const WITHOUT_VARIABLE: &str = "STREAMGATE_WITHOUT_PERMIT_LOG";

/// Objects that are written and moved at once: enough that 32 appends are in flight although most
/// of them wait for their migration.
pub(crate) const OBJECTS_AT_ONCE: usize = 256;
/// A copy of a few events then takes about a second, whatever the machine: time to pause it in.
const EVENTS_PER_SECOND_MAX: u64 = 4;

const IN_FLIGHT_MIN: usize = 32;
const ACKNOWLEDGED_BY_SOURCES_MIN: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    object_name: &'a str,
    object_id: &'a str,
    event_id: &'a str,
    event_type: &'a str,
    occurred_at: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// An object with its own lines, in their order.
pub(crate) struct Permit {
    pub(crate) object: v1::ObjectRef,
    pub(crate) events: Vec<v1::NewEvent>,
}

/// How many events and objects the log holds.
pub(crate) const WHOLE: (usize, usize) = (8_577, 1_434);

/// The objects of the log; none only if the one who runs this said so.
pub(crate) fn permits() -> Option<Vec<Permit>> {
    first(WHOLE)
}

/// The objects of so many first lines, which must be as many as said.
pub(crate) fn first((lines, objects): (usize, usize)) -> Option<Vec<Permit>> {
    let permits = parse(&read_log()?, lines);
    let events: usize = permits.iter().map(|permit| permit.events.len()).sum();
    assert_eq!((events, permits.len()), (lines, objects), "events and objects of the log");
    Some(permits)
}

fn read_log() -> Option<String> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/permits.jsonl.gz");
    let named = std::env::var_os(LOG_VARIABLE).filter(|path| !path.is_empty());
    let path = named.map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if !path.exists() {
        let without = std::env::var(WITHOUT_VARIABLE).is_ok_and(|word| word == "1");
        assert!(
            without,
            "the permit log is not at {}; name it by {LOG_VARIABLE}, or say \
             {WITHOUT_VARIABLE}=1 to leave this test out",
            path.display()
        );
        eprintln!("NOT RUN: the import of real events; there is no log at {}", path.display());
        return None;
    }
    let mut text = String::new();
    let file = std::fs::File::open(&path).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}

fn parse(log: &str, lines: usize) -> Vec<Permit> {
    let mut permits: Vec<Permit> = Vec::new();
    let mut places = HashMap::new();
    for text in log.lines().take(lines) {
        let line: Line<'_> = serde_json::from_str(text).unwrap();
        let payload = line.payload.get();
        assert!(text.ends_with(&format!("\"payload\":{payload}}}")), "the characters of the line");
        let occurred_at: jiff::Timestamp = line.occurred_at.parse().unwrap();
        let event = v1::NewEvent {
            event_id: line.event_id.to_owned(),
            event_type: line.event_type.to_owned(),
            content_type: "application/json".into(),
            payload: payload.to_owned().into(),
            occurred_at: Some(prost_types::Timestamp {
                seconds: occurred_at.as_second(),
                nanos: occurred_at.subsec_nanosecond(),
            }),
            ..Default::default()
        };
        let place = *places.entry((line.object_name, line.object_id)).or_insert(permits.len());
        if place == permits.len() {
            let object_name = line.object_name.to_owned();
            let object = v1::ObjectRef { object_name, object_id: line.object_id.to_owned() };
            permits.push(Permit { object, events: Vec::new() });
        }
        permits[place].events.push(event);
    }
    permits
}

/// What all clients together saw.
#[derive(Default)]
pub(crate) struct Tally {
    in_flight: AtomicUsize,
    in_flight_peak: AtomicUsize,
    /// Of the migrations' own progress.
    redirected: AtomicU64,
    longest_append: Mutex<Duration>,
    longest_stall: Mutex<Duration>,
}

impl Tally {
    /// Counts and times an append until it is answered.
    pub(crate) async fn watch<T>(&self, append: impl Future<Output = T>) -> T {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_peak.fetch_max(now, Ordering::SeqCst);
        let sent = SystemClock.monotonic();
        let answer = append.await;
        grow(&self.longest_append, SystemClock.monotonic() - sent);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    fn note(&self, migration: &v1::Migration) {
        let progress = migration.progress.as_ref().expect("a migration has progress");
        self.redirected.fetch_add(progress.appends_redirected, Ordering::SeqCst);
        let stall = progress.write_stall.as_ref().and_then(|stall| stall.max);
        let stall = stall.map(|stall| Duration::try_from(stall).expect("no stall is negative"));
        grow(&self.longest_stall, stall.unwrap_or_default());
    }
}

fn grow(longest: &Mutex<Duration>, one: Duration) {
    let mut longest = longest.lock().unwrap();
    *longest = one.max(*longest);
}

impl Permit {
    /// What is written before the object moves, and during each of two moves, line by line.
    pub(crate) fn parts(&self) -> (Vec<Vec<v1::NewEvent>>, [Vec<Vec<v1::NewEvent>>; 2]) {
        let lines: Vec<_> = self.events.iter().map(|event| vec![event.clone()]).collect();
        let (first, held) = lines.split_at(lines.len().div_ceil(3));
        let (second, third) = held.split_at(held.len().div_ceil(2));
        (first.to_vec(), [second.to_vec(), third.to_vec()])
    }

    /// Moves twice while one part after the other is written; gives, for each move, what was
    /// acknowledged after its catch-up began.
    pub(crate) async fn move_twice<'a>(
        &self,
        operator: impl Fn() -> &'a Client,
        tally: &Tally,
        parts: &[Vec<Vec<v1::NewEvent>>; 2],
        append: impl AsyncFn(Vec<v1::NewEvent>) -> v1::AppendResponse,
    ) -> Vec<Vec<u64>> {
        let object = &self.object;
        let mut acknowledged = Vec::new();
        for (target, held) in STORES[1..].iter().zip(parts) {
            let events_per_second_max = Some(EVENTS_PER_SECOND_MAX);
            let moved = Move { object, target, events_per_second_max, held };
            let moved = moved.run(operator(), &append).await;
            tally.note(&moved.migration);
            acknowledged.push(moved.acknowledged);
        }
        acknowledged
    }

    /// Each append goes through another client than the one before it.
    async fn import(&self, clients: &[Client], first: usize, tally: &Tally) -> Vec<Vec<u64>> {
        let object = &self.object;
        let turn = AtomicUsize::new(first);
        let next = || &clients[turn.fetch_add(1, Ordering::SeqCst) % clients.len()];
        let append = async |batch| {
            let answer = tally.watch(next().append(object, None, batch)).await;
            answer
                .unwrap_or_else(|status| panic!("an append to {object:?} was answered {status:?}"))
        };
        let (first, held) = self.parts();
        for line in first {
            append(line).await;
        }
        self.move_twice(next, tally, &held, append).await
    }

    /// Checks the history; counts what each source of a move acknowledged in time.
    async fn check(&self, client: &Client, acknowledged: &[Vec<u64>]) -> usize {
        let history = client.read(&self.object).await.expect("every object can be read");
        assert_same(&self.object, &history, &self.events);
        let chain = &history.header.chain;
        let stores: Vec<&str> = chain.iter().map(|stream| stream.store.as_str()).collect();
        assert_eq!(stores, STORES, "the chain of {:?}", self.object);
        let by_source = |(source, versions): (&v1::StreamInfo, &Vec<u64>)| {
            let last = source.last_version.expect("a source is closed");
            versions.iter().filter(|version| **version <= last).count()
        };
        chain.iter().zip(acknowledged).map(by_source).sum()
    }
}

/// What an import was, for the one who reads the output of a test.
pub(crate) struct Imported {
    lines: usize,
    objects: usize,
    in_flight: usize,
    by_sources: usize,
    redirected_early: u64,
    longest_append: Duration,
    longest_stall: Duration,
}

/// Imports all objects through all clients, each moved twice while it is written, and checks every
/// history through every client. No append may see an error.
pub(crate) async fn import(permits: &[Permit], clients: &[Client]) -> Imported {
    let tally = Tally::default();
    let imports = permits.iter().enumerate();
    let imports = imports.map(|(index, permit)| permit.import(clients, index, &tally));
    let imported: Vec<_> = futures::stream::iter(imports).buffered(OBJECTS_AT_ONCE).collect().await;

    conclude(permits, &imported, clients, tally).await
}

/// Checks every history through every client, and that writing and moving went on at the same
/// time. For each object is given what each of its moves acknowledged.
pub(crate) async fn conclude(
    permits: &[Permit],
    imported: &[Vec<Vec<u64>>],
    clients: &[Client],
    tally: Tally,
) -> Imported {
    let checks = permits.iter().zip(imported).enumerate();
    let checks = checks.map(|(index, (permit, acknowledged))| {
        permit.check(&clients[index % clients.len()], acknowledged)
    });
    let checks = futures::stream::iter(checks).buffered(IN_FLIGHT_MIN);
    let by_sources = checks.fold(0, async |sum, count| sum + count).await;
    let in_flight = tally.in_flight_peak.into_inner();
    assert!(in_flight >= IN_FLIGHT_MIN, "{in_flight} appends in flight");
    assert!(by_sources >= ACKNOWLEDGED_BY_SOURCES_MIN, "{by_sources} acknowledged by sources");
    Imported {
        lines: permits.iter().map(|permit| permit.events.len()).sum(),
        objects: permits.len(),
        in_flight,
        by_sources,
        redirected_early: tally.redirected.into_inner(),
        longest_append: tally.longest_append.into_inner().unwrap(),
        longest_stall: tally.longest_stall.into_inner().unwrap(),
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} events of {} objects, each moved twice; at most {} appends in flight, {} \
             acknowledged by a source after its catch-up began, {} redirected before their \
             migration ended; the longest append took {:?}, the longest stall that a migration \
             saw {:?}",
            self.lines,
            self.objects,
            self.in_flight,
            self.by_sources,
            self.redirected_early,
            self.longest_append,
            self.longest_stall,
        )
    }
}
