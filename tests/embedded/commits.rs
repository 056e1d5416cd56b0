//! How writes share commits, and wait for them.

use std::sync::Arc;

use bytes::Bytes;
use streamgate::backends::embedded::{EmbeddedOptions, EmbeddedStore};
use streamgate::domain::{Event, Head, Version};
use streamgate::store::{EventStore, ReadRange};

use crate::kit::{ALL, append, event, filled, header, open, stream};

#[tokio::test]
async fn fewer_heads_in_memory_than_streams_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { heads_max: 4, ..EmbeddedOptions::at(folder.path()) };
    let store = Arc::new(EmbeddedStore::open(options).unwrap());
    for name in 0..100 {
        let name = name.to_string();
        store.create(&stream(&name), &header(&name)).await.unwrap();
    }
    // Every stream is appended to by several writers at once, round after round.
    let writers = (0..8_u128).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..5_u128 {
                for name in 0..100_u128 {
                    let id = event((writer * 5 + round) * 100 + name);
                    let stream = stream(&name.to_string());
                    store.append(&stream, append(vec![id])).await.unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for name in 0..100 {
        let page = store.read(&stream(&name.to_string()), ALL).await.unwrap();
        assert_eq!((page.events.len(), page.head), (40, Head::at(Version(39))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_together_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let stream = filled(&store, "a", 0..0).await;
    let before = store.stats();
    let writers = (0..1_000_u128).map(|id| {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        tokio::spawn(async move { store.append(&stream, append(vec![event(id)])).await.unwrap() })
    });
    let mut versions = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        versions.push(writer.await.unwrap().first.0);
    }
    versions.sort_unstable();
    assert_eq!(versions, (0..1_000).collect::<Vec<_>>());
    let after = store.stats();
    assert_eq!(after.events - before.events, 1_000);
    let commits = after.commits - before.commits;
    assert!(commits <= 250, "{commits} commits for 1,000 appends at once");
}

#[tokio::test]
async fn appends_one_after_the_other_are_synced_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let stream = filled(&store, "a", 0..0).await;
    for id in 0..1_000 {
        let before = store.stats().commits;
        store.append(&stream, append(vec![event(id)])).await.unwrap();
        assert_eq!(store.stats().commits, before + 1, "an answer came before its commit");
    }
}

#[tokio::test]
async fn an_answer_before_the_sync_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        EmbeddedOptions { answer_before_sync: true, ..EmbeddedOptions::at(folder.path()) };
    let store = EmbeddedStore::open(options).unwrap();
    let stream = stream("a");
    store.create(&stream, &header("a")).await.unwrap();
    let mut early = 0;
    for id in 0..200 {
        let before = store.stats().commits;
        // With the bug a stream may not even be there when its creation was answered.
        if store.append(&stream, append(vec![event(id)])).await.is_err()
            || store.stats().commits == before
        {
            early += 1;
        }
    }
    assert!(early > 0, "the planted bug was not noticed");
}

#[tokio::test]
async fn small_bounds_make_writers_wait_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions {
        queue_requests_max: 1,
        queue_bytes_max: 1 << 20,
        commit_requests_max: 2,
        commit_bytes_max: 1,
        ..EmbeddedOptions::at(folder.path())
    };
    let store = Arc::new(EmbeddedStore::open(options).unwrap());
    let stream = filled(&store, "a", 0..0).await;
    let large = |id| Event { payload: Bytes::from(vec![1; 700_000]), ..event(id) };
    let writers = (0..8).map(|id| {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        let events = vec![large(id)];
        tokio::spawn(async move { store.append(&stream, append(events)).await.unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(store.tail(&stream).await.unwrap().head, Head::at(Version(7)));
    let page = store.read(&stream, ReadRange { bytes_max: 1_000_000, ..ALL }).await.unwrap();
    assert_eq!(page.events.len(), 1);
}
