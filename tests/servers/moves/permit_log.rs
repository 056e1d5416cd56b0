//! Real events, written through one proxy while another moves every object of them: from each kind
//! of store to each other kind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use streamgate::runtime::SystemClock;

use super::Kind;
use super::client::Client;
use super::import::{Import, InFlight, check};
use super::in_process::InProcess;
use super::permits;

/// Objects that are written and moved at once.
const OBJECTS_AT_ONCE: usize = 32;
const CONNECTIONS: usize = 2;

/// How much of the log is moved, and what the move must have met at the least.
struct Share {
    lines_and_objects: (usize, usize),
    lines_at_first: usize,
    events_per_second_max: u64,
    acknowledged_by_sources_min: usize,
    redirected_min: u64,
    in_flight_min: usize,
}

const FIRST_LINES: Share = Share {
    lines_and_objects: (600, 103),
    lines_at_first: 1,
    events_per_second_max: 4,
    acknowledged_by_sources_min: 60,
    redirected_min: 60,
    in_flight_min: 8,
};

const ALL_LINES: Share = Share {
    lines_and_objects: permits::WHOLE,
    lines_at_first: 10,
    events_per_second_max: 20,
    acknowledged_by_sources_min: 800,
    redirected_min: 800,
    in_flight_min: 8,
};

/// Writes and moves the share, and compares what is there with every byte of the log.
async fn moves_unharmed(from: Kind, to: Kind, share: Share) {
    let Some(permits) = permits::first(share.lines_and_objects) else { return };

    // What the documents cost is no part of the move; other tests keep them in these stores.
    let documents = Kind::Memory.settings("documents").await + "[documents]\nstore = 'documents'\n";
    let settings = from.settings("hot").await + &to.settings("cold").await + &documents;
    let mover = InProcess::over(&settings, Arc::new(SystemClock)).await;
    // Its routes grow old, for it is not told of what the other does.
    let front = mover.another().await;
    let operator = mover.client();
    let writers: Vec<Client> = (0..CONNECTIONS).map(|_| front.client()).collect();
    let in_flight = InFlight::default();
    let import = Import {
        writers: &writers,
        operator: &operator,
        lines_at_first: share.lines_at_first,
        events_per_second_max: share.events_per_second_max,
        in_flight: &in_flight,
    };
    let imports = futures::stream::iter(permits.iter().map(|permit| import.run(permit)));
    let imported: Vec<_> = imports.buffered(OBJECTS_AT_ONCE).collect().await;

    let checks = permits.iter().zip(&imported);
    let checks = checks.map(|(permit, moved)| check(permit, moved, &operator));
    let checks = futures::stream::iter(checks).buffered(OBJECTS_AT_ONCE);
    let by_sources = checks.fold(0, async |sum, count| sum + count).await;
    let in_flight = in_flight.peak.load(Ordering::SeqCst);
    let redirected = front.counter("streamgate_appends_redirected_total").await;
    println!(
        "{} to {}: {:?} events and objects; at most {in_flight} appends in flight, \
         {by_sources} acknowledged by a source after its catch-up began, {redirected} redirected",
        from.word(),
        to.word(),
        share.lines_and_objects,
    );
    assert!(in_flight >= share.in_flight_min, "{in_flight} appends in flight");
    let by_sources_min = share.acknowledged_by_sources_min;
    assert!(by_sources >= by_sources_min, "{by_sources} acknowledged by sources");
    assert!(redirected >= share.redirected_min, "{redirected} appends redirected");
    front.stop().await;
    mover.stop().await;
}

macro_rules! pairs {
    ($($name:ident: $from:ident, $to:ident;)*) => {
        const PAIRS: &[(&str, Kind, Kind)] =
            &[$((stringify!($name), Kind::$from, Kind::$to)),*];

        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                moves_unharmed(Kind::$from, Kind::$to, FIRST_LINES).await;
            }
        )*
    };
}

pairs! {
    memory_to_embedded: Memory, Embedded;
    memory_to_postgres: Memory, Postgres;
    memory_to_azure_blob: Memory, AzureBlob;
    memory_to_cosmos: Memory, Cosmos;
    memory_to_s3: Memory, S3;
    embedded_to_memory: Embedded, Memory;
    embedded_to_postgres: Embedded, Postgres;
    embedded_to_azure_blob: Embedded, AzureBlob;
    embedded_to_cosmos: Embedded, Cosmos;
    embedded_to_s3: Embedded, S3;
    postgres_to_memory: Postgres, Memory;
    postgres_to_embedded: Postgres, Embedded;
    postgres_to_azure_blob: Postgres, AzureBlob;
    postgres_to_cosmos: Postgres, Cosmos;
    postgres_to_s3: Postgres, S3;
    azure_blob_to_memory: AzureBlob, Memory;
    azure_blob_to_embedded: AzureBlob, Embedded;
    azure_blob_to_postgres: AzureBlob, Postgres;
    azure_blob_to_cosmos: AzureBlob, Cosmos;
    azure_blob_to_s3: AzureBlob, S3;
    cosmos_to_memory: Cosmos, Memory;
    cosmos_to_embedded: Cosmos, Embedded;
    cosmos_to_postgres: Cosmos, Postgres;
    cosmos_to_azure_blob: Cosmos, AzureBlob;
    cosmos_to_s3: Cosmos, S3;
    s3_to_memory: S3, Memory;
    s3_to_embedded: S3, Embedded;
    s3_to_postgres: S3, Postgres;
    s3_to_azure_blob: S3, AzureBlob;
    s3_to_cosmos: S3, Cosmos;
}

#[test]
fn every_kind_moves_to_every_other() {
    let listed: BTreeSet<String> = PAIRS
        .iter()
        .map(|(name, from, to)| {
            assert_eq!(*name, format!("{}_to_{}", from.word(), to.word()));
            (*name).to_owned()
        })
        .collect();
    let all = Kind::ALL.iter().flat_map(|from| Kind::ALL.iter().map(move |to| (from, to)));
    let others = all.filter(|(from, to)| from != to);
    let every: BTreeSet<String> =
        others.map(|(from, to)| format!("{}_to_{}", from.word(), to.word())).collect();
    assert_eq!((listed.len(), &listed), (30, &every));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_from_azure_blob_to_cosmos() {
    moves_unharmed(Kind::AzureBlob, Kind::Cosmos, ALL_LINES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_from_cosmos_to_postgres() {
    moves_unharmed(Kind::Cosmos, Kind::Postgres, ALL_LINES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_from_embedded_to_postgres() {
    moves_unharmed(Kind::Embedded, Kind::Postgres, ALL_LINES).await;
}
