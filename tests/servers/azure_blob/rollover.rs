//! Streams that go over from one blob to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use streamgate::backends::azure_blob::AzureBlobStore;
use streamgate::domain::{Event, ExpectedVersion, StreamId, Version};
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders::{append, event, events, header, object, range, stream_id};
use streamgate::testing::parallel;

use super::middle::{Fate, Middle};

pub(super) async fn read_all(store: &AzureBlobStore, stream: &StreamId) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        let page = store.read(stream, range(all.len() as u64)).await.expect("it can be read");
        let done = page.reaches_head();
        all.extend(page.events);
        if done {
            return all;
        }
    }
}

async fn append_anyhow(store: &AzureBlobStore, stream: &StreamId, event: Event) -> Version {
    loop {
        let append = append(ExpectedVersion::Any, vec![event.clone()]);
        match store.append(stream, append).await {
            Ok(appended) => return appended.first,
            Err(StoreError::Contended { .. }) => {}
            Err(error) => panic!("an append was answered by {error:?}"),
        }
    }
}

/// Four processes, each with knowledge of its own, none of which ever meets a moment in which the
/// stream cannot be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_go_over_to_the_next_blob_and_lose_nothing() {
    const WRITERS: u64 = 4;
    const EVENTS: u64 = 25;
    let middle = Middle::start().await;
    let mut options = super::small();
    let stream = stream_id("Order/1/0000000000");
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        if number == 0 {
            options.endpoint = middle.endpoint();
        }
        writers.push(Arc::new(super::open(options.clone()).await));
    }
    writers[0].create(&stream, &header(&object("1"))).await.unwrap();
    middle.seen();
    let tasks = writers.iter().cloned().zip(0..).map(|(store, writer)| {
        let stream = stream.clone();
        async move {
            let mut versions = Vec::new();
            for number in 0..EVENTS {
                let event = event(writer * EVENTS + number);
                versions.push(append_anyhow(&store, &stream, event).await);
            }
            versions
        }
    });
    let versions = parallel::all(tasks).await;
    let held = read_all(&writers[0], &stream).await;
    assert_eq!(held.len() as u64, WRITERS * EVENTS);
    for (writer, versions) in (0..).zip(versions) {
        assert!(versions.is_sorted(), "each writer's own order is kept");
        for (number, version) in (0..).zip(versions) {
            let place = usize::try_from(version.0).unwrap();
            assert_eq!(held[place], event(writer * EVENTS + number), "where its answer said");
        }
    }
    let blobs: BTreeSet<String> = middle
        .seen()
        .into_iter()
        .filter(|request| request.appends())
        .filter_map(|request| Some(request.target.split('?').next()?.to_owned()))
        .collect();
    assert!(blobs.len() > 20, "four blocks a blob, {} blobs", blobs.len());

    for store in writers {
        store.forget();
        assert_eq!(read_all(&store, &stream).await, held, "also for who knows nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_version_and_id_is_found_by_a_process_that_has_just_started() {
    const EVENTS: u64 = 40;
    let options = super::small();
    let store = super::open(options).await;
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    for first in (0..EVENTS).step_by(2) {
        let two = append(ExpectedVersion::Any, events(first..first + 2));
        store.append(&stream, two).await.unwrap();
    }
    for version in 0..EVENTS {
        store.forget();
        let page = store.read(&stream, range(version)).await.unwrap();
        assert_eq!(page.events[0], event(version));
        store.forget();
        let again = append(ExpectedVersion::NoStream, vec![event(version)]);
        let again = store.append(&stream, again).await.expect("its id is known");
        assert_eq!((again.first, again.replay), (Version(version), true));
    }
    assert_eq!(read_all(&store, &stream).await, events(0..EVENTS));
}

/// The blob that a roll-over goes to is made first, so its loss is no loss of the append.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_next_blob_that_cannot_be_made_refuses_the_append_and_nothing_else() {
    let middle = Middle::start().await;
    let options = super::small();
    let store = super::open({
        let mut through = options.clone();
        through.endpoint = middle.endpoint();
        through
    });
    let store = store.await;
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.unwrap();
    for number in 0..3 {
        append_anyhow(&store, &stream, event(number)).await;
    }
    middle.decide(|request| if request.makes_blob() { Fate::LoseRequest } else { Fate::Pass });
    let refused = store.append(&stream, append(ExpectedVersion::Any, vec![event(3)])).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    middle.decide(|_| Fate::Pass);
    assert_eq!(append_anyhow(&store, &stream, event(3)).await, Version(3));
    assert_eq!(append_anyhow(&store, &stream, event(4)).await, Version(4));
    assert_eq!(read_all(&store, &stream).await, events(0..5));
}
