//! What calls cost: requests, as the page of this store says them, and bytes.

use bytes::Bytes;
use streamgate::backends::azure_blob::{AzureBlobOptions, AzureBlobStore};
use streamgate::domain::{ExpectedVersion, Version};
use streamgate::store::{EventStore, ReadRange};
use streamgate::testing::builders::{
    EventBuilder, append, close, event, head, header, migration, object, stream_id,
};

use super::middle::Middle;

const PAGE: &str = include_str!("../../../docs/stores/azure_blob.md");

/// Asserts that the page says what was counted.
fn costs(what: &str, counted: u64) {
    println!("{what}: {counted}");
    let row = PAGE.lines().find(|line| line.starts_with(&format!("| {what} |")));
    let row = row.unwrap_or_else(|| panic!("the page has no row for {what}"));
    let said = row.split('|').nth(2).map(str::trim);
    assert_eq!(said, Some(counted.to_string().as_str()), "{what}");
}

struct Counter<'a>(&'a AzureBlobStore);

impl Counter<'_> {
    async fn count<T>(&self, call: impl Future<Output = T>) -> (T, u64) {
        let before = self.0.requests();
        let answer = call.await;
        (answer, self.0.requests() - before)
    }
}

fn hundred(from: u64) -> ReadRange {
    ReadRange { from: Version(from), events_max: 100, bytes_max: usize::MAX }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_cost_the_requests_that_the_page_says() {
    let store = super::open(super::options()).await;
    let counter = Counter(&store);
    let stream = stream_id("Order/1/0000000000");
    let large = |number: u64| EventBuilder::new(number).payload(vec![b'x'; 1_000]).build();

    let (created, requests) = counter.count(store.create(&stream, &header(&object("1")))).await;
    created.unwrap();
    costs("create a stream", requests);
    for number in 0..200 {
        let one = append(ExpectedVersion::Any, vec![large(number)]);
        let (appended, requests) = counter.count(store.append(&stream, one)).await;
        appended.unwrap();
        assert_eq!(requests, 1, "append {number}");
    }
    costs("append", 1);
    let ten = append(ExpectedVersion::Any, (200..210).map(large).collect());
    let (_, requests) = counter.count(store.append(&stream, ten)).await;
    assert_eq!(requests, 1, "a batch is one block");
    let (tail, requests) = counter.count(store.tail(&stream)).await;
    assert_eq!(tail.unwrap().head, head(209));
    costs("find head and close", requests);
    let (page, requests) = counter.count(store.read(&stream, hundred(50))).await;
    assert_eq!(page.unwrap().events, (50..150).map(large).collect::<Vec<_>>());
    costs("read 100 events", requests);
    let stale = append(ExpectedVersion::Exact(Version(3)), vec![large(900)]);
    let (_, requests) = counter.count(store.append(&stream, stale)).await;
    costs("refuse an append", requests);

    store.forget();
    let (tail, requests) = counter.count(store.tail(&stream)).await;
    assert_eq!(tail.unwrap().head, head(209));
    costs("find head and close, of a stream that is not in memory", requests);
    store.forget();
    let (page, requests) = counter.count(store.read(&stream, hundred(50))).await;
    assert_eq!(page.unwrap().events.len(), 100);
    costs("read 100 events, of a stream that is not in memory", requests);
    store.forget();
    let one = append(ExpectedVersion::Any, vec![large(210)]);
    let (appended, requests) = counter.count(store.append(&stream, one)).await;
    assert_eq!(appended.unwrap().first, Version(210));
    costs("append, to a stream that is not in memory", requests);
    let end = close(migration(1), head(210));
    let (closed, requests) = counter.count(store.close(&stream, end)).await;
    closed.unwrap();
    costs("close", requests);
    let (removed, requests) = counter.count(store.remove(&stream)).await;
    assert_eq!(removed.unwrap().events, 211);
    costs("remove a stream of one blob", requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn going_over_to_the_next_blob_costs_what_the_page_says() {
    let store = super::open(super::small()).await;
    let counter = Counter(&store);
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    let mut counted = Vec::new();
    for number in 0..9 {
        let one = append(ExpectedVersion::Any, vec![event(number)]);
        counted.push(counter.count(store.append(&stream, one)).await.1);
    }
    assert_eq!(counted, [1, 1, 1, 2, 1, 1, 1, 2, 1]);
    costs("append that fills a blob", 2);
    store.forget();
    let (tail, requests) = counter.count(store.tail(&stream)).await;
    assert_eq!(tail.unwrap().head, head(8));
    assert_eq!(requests, 2, "however many blobs there are");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_from_a_version_downloads_its_segment_and_nothing_before() {
    const EVENTS: u64 = 400;
    const EVENT_BYTES: u64 = 8 * 1024;
    const INDEX_BYTES: u64 = 128 * 1024;
    let middle = Middle::start().await;
    let options = AzureBlobOptions {
        endpoint: middle.endpoint(),
        index_bytes: INDEX_BYTES,
        blob_blocks_max: 150,
        ..super::options()
    };
    let store = super::open(options).await;
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    let payload = Bytes::from(vec![7; EVENT_BYTES as usize]);
    let large = |number| EventBuilder::new(number).payload(payload.clone()).build();
    for number in 0..EVENTS {
        store.append(&stream, append(ExpectedVersion::Any, vec![large(number)])).await.unwrap();
    }
    for from in [0, 77, 149, 150, 251, 299, 300, 390, 399] {
        store.forget();
        middle.answered();
        let range = ReadRange { from: Version(from), events_max: 1, bytes_max: usize::MAX };
        let page = store.read(&stream, range).await.unwrap();
        assert_eq!(page.events, [large(from)]);
        let answered = middle.answered();
        println!("version {from} of {EVENTS}: {answered} bytes");
        // A segment, the sight of the end, indexes and answers' heads.
        assert!(answered < 2 * INDEX_BYTES + 128 * 1024, "version {from}: {answered} bytes");
    }
    assert_eq!(store.read(&stream, hundred(300)).await.unwrap().events.len(), 100);
    let page = store.read(&stream, hundred(0)).await.unwrap();
    assert_eq!(page.events, (0..100).map(large).collect::<Vec<_>>());
    let known = store.find(&stream, &[event(5).event_id, event(900).event_id]).await.unwrap();
    assert_eq!(known[0].unwrap().version, Version(5));
    assert_eq!(known[1], None);
}
