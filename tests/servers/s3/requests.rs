//! What each call costs in requests: counted, printed, and held against the page that says so.

use std::sync::Arc;

use bytes::Bytes;
use streamgate::backends::s3::{RequestCounts, S3Store};
use streamgate::documents::{DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{Head, StreamId, Version};
use streamgate::store::EventStore;
use streamgate::testing::builders;

use super::kit::{Place, append, new_stream};

const PAGE: &str = include_str!("../../../docs/stores/s3.md");

/// Counts what is asked between two looks.
struct Meter {
    counts: Arc<RequestCounts>,
    seen: [u64; 4],
    rows: Vec<String>,
}

impl Meter {
    fn of(store: &S3Store) -> Self {
        let counts = store.requests();
        let seen = now(&counts);
        Self { counts, seen, rows: Vec::new() }
    }

    fn row(&mut self, call: &str) {
        let now = now(&self.counts);
        let kinds = ["GET", "PUT", "LIST", "DELETE"].into_iter();
        let made = kinds.zip(now.iter().zip(self.seen)).filter(|(_, (now, seen))| *now > seen);
        let made = made.map(|(kind, (now, seen))| format!("{} {kind}", now - seen));
        self.rows.push(format!("| {call} | {} |", made.collect::<Vec<_>>().join(", ")));
        self.seen = now;
    }
}

fn now(counts: &RequestCounts) -> [u64; 4] {
    [counts.gets(), counts.puts(), counts.lists(), counts.deletes()]
}

/// A stream of one chunk of 100 events, and a tail of 100 more.
async fn long_stream(store: &S3Store) -> StreamId {
    let stream = new_stream(store).await;
    append(store, &stream, 0..100).await.unwrap();
    append(store, &stream, 100..200).await.unwrap();
    stream
}

#[tokio::test]
async fn every_call_costs_what_the_page_says() {
    let place = Place::new().await.with(|options| options.tail_bytes_max = 24 * 1024);
    let store = place.open().await;
    let long = long_stream(&store).await;
    let mut meter = Meter::of(&store);

    let stream = new_stream(&store).await;
    meter.row("create a stream");
    append(&store, &stream, 0..100).await.unwrap();
    meter.row("append, the tail in memory");
    append(&store, &stream, 0..100).await.unwrap();
    meter.row("append that is a replay");
    append(&store, &stream, 100..200).await.unwrap();
    meter.row("append that makes a chunk");
    store.tail(&stream).await.unwrap();
    meter.row("tail");
    let close = builders::close(builders::migration(1), Head::at(Version(199)));
    store.close(&stream, close).await.unwrap();
    meter.row("close");
    store.remove(&stream).await.unwrap();
    meter.row("remove, one chunk");
    let key = DocumentKey::from_raw("a/1");
    let etag = store.put(&key, Bytes::new(), Precondition::Absent).await.unwrap();
    meter.row("put a document");
    store.get(&key).await.unwrap();
    meter.row("get a document");
    store.list(&DocumentKey::from_raw("a/"), None, 100).await.unwrap();
    meter.row("list, one document found");
    store.delete(&key, &etag).await.unwrap();
    meter.row("delete a document, on condition");
    let mut rows = meter.rows;

    for (call, from) in
        [("read 100 events of the tail", 100), ("read 100 events of a chunk, cold", 0)]
    {
        let reader = place.open().await;
        let mut meter = Meter::of(&reader);
        let mut range = builders::range(from);
        range.events_max = 100;
        assert_eq!(reader.read(&long, range).await.unwrap().events.len(), 100);
        meter.row(call);
        rows.extend(meter.rows);
    }
    let short = new_stream(&store).await;
    let writer = place.open().await;
    let mut meter = Meter::of(&writer);
    append(&writer, &short, 0..1).await.unwrap();
    meter.row("append, the tail not in memory");
    rows.extend(meter.rows);
    let writer = place.open().await;
    let mut meter = Meter::of(&writer);
    append(&writer, &long, 200..201).await.unwrap();
    meter.row("append, the tail not in memory, behind one chunk");
    rows.extend(meter.rows);

    let opened = place.open().await;
    rows.push(format!("opening the store: {} requests", opened.requests().all()));
    println!("{}", rows.join("\n"));
    for row in &rows {
        assert!(PAGE.contains(row.as_str()), "docs/stores/s3.md does not say: {row}");
    }
}
