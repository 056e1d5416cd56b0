//! What is there after the store was closed and opened again.

use std::sync::Arc;

use bytes::Bytes;
use streamgate::backends::embedded::{EmbeddedOptions, EmbeddedStore, OpenError};
use streamgate::documents::{DocumentError, DocumentKey, DocumentStore, Precondition};
use streamgate::domain::{Digest, Event, ExpectedVersion, Head, StreamHeader, Timestamp, Version};
use streamgate::store::{Append, EventStore, StoreError};

use crate::kit::{ALL, append, close_at, engine, event, filled, header, open, stream};

#[tokio::test]
async fn reopening_finds_streams_documents_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let key = DocumentKey::from_raw("objects/x/1");
    let (stream, tail, page) = {
        let store = open(folder.path());
        let stream = filled(&store, "a", 0..10).await;
        let early = Event { recorded_at: Timestamp::from_nanos(3), ..event(10) };
        store.append(&stream, append(vec![early])).await.unwrap();
        store.put(&key, Bytes::from_static(b"{}"), Precondition::Absent).await.unwrap();
        let page = store.read(&stream, ALL).await.unwrap();
        assert_eq!(page.events.len(), 11);
        assert_eq!(page.events[10].recorded_at, Timestamp::from_nanos(1_000));
        (stream.clone(), store.tail(&stream).await.unwrap(), page)
    };
    let store = open(folder.path());
    assert_eq!(store.tail(&stream).await.unwrap(), tail);
    assert_eq!(store.read(&stream, ALL).await.unwrap().events, page.events);
    assert_eq!(store.get(&key).await.unwrap().unwrap().body, Bytes::from_static(b"{}"));
    let appended = store.append(&stream, append(vec![event(11)])).await.unwrap();
    assert_eq!(appended.first, Version(11));
}

#[tokio::test]
async fn a_retry_after_reopening_meets_its_first_answer() {
    let folder = tempfile::tempdir().unwrap();
    let stream = filled(&open(folder.path()), "a", 0..5).await;
    let store = open(folder.path());
    let again = store.append(&stream, append(vec![event(2), event(3)])).await.unwrap();
    assert_eq!((again.first, again.last, again.replay), (Version(2), Version(3), true));
    let mixed = store.append(&stream, append(vec![event(4), event(9)])).await;
    let Err(StoreError::DuplicateEventId { event_id }) = mixed else { panic!("{mixed:?}") };
    assert_eq!(event_id, event(4).event_id);
    let changed = Event { digest: Digest::from_bytes([1; 32]), ..event(4) };
    let changed = store.append(&stream, append(vec![changed])).await;
    assert!(matches!(changed, Err(StoreError::DuplicateEventId { .. })));
    let found = store.find(&stream, &[event(4).event_id, event(9).event_id]).await.unwrap();
    assert_eq!(found[0].unwrap().version, Version(4));
    assert_eq!(found[0].unwrap().digest, event(4).digest);
    assert_eq!(found[1], None);
}

#[tokio::test]
async fn a_base_taken_with_the_first_event_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let stream = stream("a");
    {
        let store = open(folder.path());
        store.create(&stream, &StreamHeader { base: None, ..header("a") }).await.unwrap();
        assert_eq!(store.tail(&stream).await.unwrap().base, None);
        let first = Append { base: Version(7), ..append(vec![event(1), event(2)]) };
        assert_eq!(store.append(&stream, first).await.unwrap().first, Version(7));
    }
    let store = open(folder.path());
    let tail = store.tail(&stream).await.unwrap();
    assert_eq!((tail.base, tail.head), (Some(Version(7)), Head::at(Version(8))));
}

#[tokio::test]
async fn closed_and_removed_stay_so_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (closed, removed) = {
        let store = open(folder.path());
        let closed = filled(&store, "closed", 0..3).await;
        let stored = store.close(&closed, close_at(2)).await.unwrap();
        assert_eq!(stored.closed_at, Timestamp::from_nanos(1_000), "raised to the last event's");
        let removed = filled(&store, "removed", 10..13).await;
        store.close(&removed, close_at(2)).await.unwrap();
        assert_eq!(store.remove(&removed).await.unwrap().events, 3);
        (closed, removed)
    };
    let store = open(folder.path());
    for stream in [&closed, &removed] {
        for expected in [ExpectedVersion::Any, ExpectedVersion::Exact(Version(2))] {
            let refused = Append { expected, ..append(vec![event(99)]) };
            let refused = store.append(stream, refused).await;
            assert!(matches!(refused, Err(StoreError::Closed { .. })), "{refused:?}");
        }
        let tail = store.tail(stream).await.unwrap();
        assert_eq!((tail.head, tail.base), (Head::at(Version(2)), Some(Version(0))));
        assert_eq!(tail.recorded_at, Some(Timestamp::from_nanos(1_000)));
        assert_eq!(store.close(stream, close_at(2)).await.unwrap(), tail.closed.unwrap());
    }
    assert_eq!(store.read(&closed, ALL).await.unwrap().events.len(), 3);
    assert!(matches!(store.read(&removed, ALL).await, Err(StoreError::Gone { .. })));
    assert_eq!(store.remove(&removed).await.unwrap().events, 0);
    assert!(matches!(
        store.create(&removed, &header("other")).await,
        Err(StoreError::AlreadyExists)
    ));
}

#[tokio::test]
async fn a_long_removal_leaves_no_record_and_no_one_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let long = stream("long");
    store.create(&long, &header("long")).await.unwrap();
    for first in (0..5_000).step_by(500) {
        store.append(&long, append((first..first + 500).map(event).collect())).await.unwrap();
    }
    store.close(&long, close_at(4_999)).await.unwrap();
    let other = filled(&store, "other", 0..1).await;
    let removal = tokio::spawn({
        let (store, long) = (Arc::clone(&store), long.clone());
        async move { store.remove(&long).await.unwrap().events }
    });
    for id in 1..50 {
        store.append(&other, append(vec![event(id)])).await.unwrap();
    }
    assert_eq!(removal.await.unwrap(), 5_000);
    drop(store);
    let database = fjall::Database::builder(engine(folder.path())).open().unwrap();
    let records = database.keyspace("records", Default::default).unwrap();
    // The long stream was the first: its number is 1. Kinds: 4 events, 5 ids, 7 purges.
    for kind in [4, 5] {
        let prefix = [&[kind][..], &1_u64.to_be_bytes()].concat();
        assert_eq!(records.prefix(prefix).count(), 0, "kind {kind}");
    }
    assert_eq!(records.prefix([7]).count(), 0);
}

#[tokio::test]
async fn etags_are_not_used_again_after_a_delete_or_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let key = DocumentKey::from_raw("objects/x/1");
    let mut etags = Vec::new();
    for _ in 0..3 {
        let store = open(folder.path());
        let body = Bytes::from_static(b"{}");
        let first = store.put(&key, body.clone(), Precondition::Absent).await.unwrap();
        let stale = store.put(&key, body.clone(), Precondition::Absent).await;
        assert!(matches!(stale, Err(DocumentError::Conflict)));
        let matches = Precondition::Matches(first.clone());
        let second = store.put(&key, body.clone(), matches.clone()).await.unwrap();
        assert!(matches!(store.put(&key, body, matches).await, Err(DocumentError::Conflict)));
        assert!(matches!(store.delete(&key, &first).await, Err(DocumentError::Conflict)));
        store.delete(&key, &second).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), None);
        etags.extend([first, second]);
    }
    let distinct: std::collections::HashSet<_> = etags.iter().collect();
    assert_eq!(distinct.len(), 6);
}

#[tokio::test]
async fn listings_page_in_the_order_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for name in ["objects/b", "objects/a", "other/x", "objects/c", "objectz"] {
        let key = DocumentKey::from_raw(name);
        store.put(&key, Bytes::from_static(b"{}"), Precondition::Absent).await.unwrap();
    }
    let prefix = DocumentKey::objects();
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = store.list(&prefix, after.as_ref(), 2).await.unwrap();
        pages.push(page.documents.iter().map(|found| found.key.to_string()).collect::<Vec<_>>());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec!["objects/a", "objects/b"], vec!["objects/c"]]);
}

#[tokio::test]
async fn dropping_the_store_answers_what_waits_and_frees_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let stream = filled(&store, "a", 0..1).await;
    let locked = EmbeddedStore::open(EmbeddedOptions::at(folder.path()));
    assert!(matches!(locked, Err(OpenError::Locked { .. })));
    assert_eq!(store.append(&stream, append(vec![event(1)])).await.unwrap().first, Version(1));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.read(&stream, ALL).await.unwrap().events.len(), 2);
}
