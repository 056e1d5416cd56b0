//! What each call costs in requests, as the page of the store says it.

use streamgate::documents::{DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{ExpectedVersion, StreamId, Version};
use streamgate::store::{Close, EventStore};
use streamgate::testing::builders::{self, close_event, event, events, head, migration, range};

use super::kit::{Account, Requests};

const PAGE: &str = include_str!("../../../docs/stores/cosmos.md");

/// The rows that the page shows, and whether each of them was counted.
struct Rows(Vec<String>);

impl Rows {
    fn count(&mut self, call: &str, asked: &Requests) {
        let asked: Vec<String> =
            asked.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let row = format!("| {call} | {} |", asked.join(", "));
        println!("{row}");
        self.0.push(row);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_costs_the_requests_that_the_page_says() {
    let account = Account::new();
    let (store, other) = (account.open().await, account.open().await);
    let object = builders::object("1");
    let stream = StreamId::numbered(&object, 0);
    let header = builders::header(&object);
    let exactly = |version| ExpectedVersion::Exact(Version(version));
    let mut rows = Rows(Vec::new());

    let (asked, done) = account.counted(store.create(&stream, &header)).await;
    done.unwrap();
    rows.count("create a stream", &asked);

    let first = builders::append(ExpectedVersion::NoStream, events(0..1));
    let (asked, done) = account.counted(store.append(&stream, first.clone())).await;
    done.unwrap();
    rows.count("append 1 event, head known", &asked);

    let batch = builders::append(exactly(0), events(1..100));
    let (asked, done) = account.counted(store.append(&stream, batch)).await;
    done.unwrap();
    rows.count("append 99 events, head known", &asked);

    let new = builders::append(exactly(99), events(100..101));
    let (asked, done) = account.counted(other.append(&stream, new)).await;
    done.unwrap();
    rows.count("append, head not known", &asked);

    let next = builders::append(ExpectedVersion::Any, events(101..102));
    let (asked, done) = account.counted(store.append(&stream, next)).await;
    done.unwrap();
    rows.count("append with `any`, another process came first", &asked);

    let (asked, done) = account.counted(store.append(&stream, first)).await;
    assert!(done.unwrap().replay);
    rows.count("append again what is there", &asked);

    let stale = builders::append(exactly(3), events(200..201));
    let (asked, done) = account.counted(store.append(&stream, stale)).await;
    done.unwrap_err();
    rows.count("append at a wrong version", &asked);

    let (asked, done) = account.counted(store.tail(&stream)).await;
    done.unwrap();
    rows.count("tail", &asked);

    let (asked, done) = account.counted(store.read(&stream, range(90))).await;
    assert_eq!(done.unwrap().events, events(90..102));
    rows.count("read from any version", &asked);

    // The service answered with all that was wanted, the head and a hundred events; the store
    // asked once more all the same, to see that the next event would not fit.
    let mut hundred = range(0);
    hundred.events_max = 100;
    let (asked, done) = account.counted(store.read(&stream, hundred)).await;
    assert_eq!(done.unwrap().events, events(0..100));
    rows.count("read 100 events", &asked);

    let ids: Vec<_> = (0..99).map(|number| event(number).event_id).collect();
    let (asked, done) = account.counted(store.find(&stream, &ids)).await;
    assert_eq!(done.unwrap().iter().flatten().count(), 99);
    rows.count("find up to 99 ids", &asked);

    let close = Close { made_by: None, event: close_event(migration(1), head(101)) };
    let (asked, done) = account.counted(store.close(&stream, close)).await;
    done.unwrap();
    rows.count("close, head known", &asked);

    let (asked, done) = account.counted(store.remove(&stream)).await;
    done.unwrap();
    rows.count("remove a stream of 102 events", &asked);

    let key = DocumentKey::deployment();
    let put = store.put(&key, "1".into(), Precondition::Absent);
    let (asked, done) = account.counted(put).await;
    let etag = done.unwrap();
    rows.count("put a document", &asked);
    let (asked, done) = account.counted(store.get(&key)).await;
    done.unwrap();
    rows.count("get a document", &asked);
    let prefix = DocumentKey::from_raw("dep");
    let (asked, done) = account.counted(store.list(&prefix, None, 100)).await;
    assert_eq!(done.unwrap().documents.len(), 1);
    rows.count("list a page of documents", &asked);
    let (asked, done) = account.counted(store.delete(&key, &etag)).await;
    done.unwrap();
    rows.count("delete a document", &asked);

    println!("{}", account.metrics());
    let missing: Vec<&String> = rows.0.iter().filter(|row| !PAGE.contains(*row)).collect();
    assert!(missing.is_empty(), "the page says otherwise: {missing:#?}");
    let said = PAGE.lines().filter(|line| rows.0.iter().any(|row| row == line)).count();
    assert_eq!(said, rows.0.len());
}
