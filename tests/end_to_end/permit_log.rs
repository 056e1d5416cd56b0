//! A log of real events, imported while every object of it moves to a second store and then to a
//! third.
//!
//! The log is no part of the repository: `STREAMGATE_PERMIT_LOG` names it, else it lies beside the
//! repository. Without it the test fails, unless `STREAMGATE_WITHOUT_PERMIT_LOG=1` says that this
//! is known.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::read::GzDecoder;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use streamgate::grpc::v1;
use streamgate::runtime::SystemClock;

use crate::client::{Client, assert_same};
use crate::in_process::{InProcess, STORES};
use crate::moving::Move;

const LOG_VARIABLE: &str = "STREAMGATE_PERMIT_LOG";
const WITHOUT_VARIABLE: &str = "STREAMGATE_WITHOUT_PERMIT_LOG";

/// Objects that are written and moved at once: enough that 32 appends are in flight although most
/// of them wait for their migration.
const OBJECTS_AT_ONCE: usize = 256;
const CONNECTIONS: usize = 4;
/// A copy of a few events then takes about a second, whatever the machine: time to pause it in.
const EVENTS_PER_SECOND_MAX: u64 = 4;

const IN_FLIGHT_MIN: usize = 32;
const ACKNOWLEDGED_BY_SOURCES_MIN: usize = 1_000;
const REDIRECTED_MIN: u64 = 200;

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
struct Permit {
    object: v1::ObjectRef,
    events: Vec<v1::NewEvent>,
}

/// None only if the one who runs this said so.
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

fn permits(log: &str) -> Vec<Permit> {
    let mut permits: Vec<Permit> = Vec::new();
    let mut places = HashMap::new();
    for text in log.lines() {
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
struct Tally {
    in_flight: AtomicUsize,
    in_flight_peak: AtomicUsize,
    /// Of the migrations' own progress.
    redirected: AtomicU64,
}

impl Tally {
    async fn append(
        &self,
        client: &Client,
        object: &v1::ObjectRef,
        batch: Vec<v1::NewEvent>,
    ) -> v1::AppendResponse {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_peak.fetch_max(now, Ordering::SeqCst);
        let answer = client.append(object, None, batch).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        answer.unwrap_or_else(|status| panic!("an append to {object:?} was answered {status:?}"))
    }
}

impl Permit {
    /// Writes and moves; gives, for each move, what was acknowledged after its catch-up began.
    async fn import(&self, client: &Client, tally: &Tally) -> Vec<Vec<u64>> {
        let object = &self.object;
        let append = async |batch| tally.append(client, object, batch).await;
        let lines: Vec<Vec<v1::NewEvent>> =
            self.events.iter().map(|event| vec![event.clone()]).collect();
        let (first, held) = lines.split_at(lines.len().div_ceil(3));
        let (second, third) = held.split_at(held.len().div_ceil(2));
        for line in first {
            append(line.clone()).await;
        }
        let mut acknowledged = Vec::new();
        for (target, held) in STORES[1..].iter().zip([second, third]) {
            let events_per_second_max = Some(EVENTS_PER_SECOND_MAX);
            let moved = Move { object, target, events_per_second_max, held };
            let moved = moved.run(client, append).await;
            let progress = moved.migration.progress.expect("a migration has progress");
            tally.redirected.fetch_add(progress.appends_redirected, Ordering::SeqCst);
            acknowledged.push(moved.acknowledged);
        }
        acknowledged
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

#[tokio::test(flavor = "multi_thread")]
async fn the_permit_log_is_imported_while_every_object_moves_twice() {
    let Some(log) = read_log() else { return };
    let permits = permits(&log);
    let lines: usize = permits.iter().map(|permit| permit.events.len()).sum();
    assert_eq!((lines, permits.len()), (8_577, 1_434), "events and objects of the log");

    let server = InProcess::start(Arc::new(SystemClock)).await;
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| server.client()).collect();
    let tally = Tally::default();
    let imports = permits.iter().enumerate().map(|(index, permit)| {
        let client = &clients[index % CONNECTIONS];
        permit.import(client, &tally)
    });
    let imported: Vec<_> = futures::stream::iter(imports).buffered(OBJECTS_AT_ONCE).collect().await;

    let checks = permits.iter().zip(&imported).enumerate();
    let checks = checks.map(|(index, (permit, acknowledged))| {
        permit.check(&clients[index % CONNECTIONS], acknowledged)
    });
    let by_sources: usize = futures::stream::iter(checks)
        .buffered(IN_FLIGHT_MIN)
        .collect::<Vec<_>>()
        .await
        .iter()
        .sum();
    let in_flight = tally.in_flight_peak.into_inner();
    let redirected = server.counter("streamgate_appends_redirected_total").await;
    println!(
        "{lines} events of {} objects, each moved twice; at most {in_flight} appends in flight, \
         {by_sources} acknowledged by a source after its catch-up began, {redirected} redirected \
         ({} of them before their migration ended)",
        permits.len(),
        tally.redirected.into_inner(),
    );
    assert!(in_flight >= IN_FLIGHT_MIN, "{in_flight} appends in flight");
    assert!(by_sources >= ACKNOWLEDGED_BY_SOURCES_MIN, "{by_sources} acknowledged by sources");
    assert!(redirected >= REDIRECTED_MIN, "{redirected} appends redirected");
    server.stop().await;
}
