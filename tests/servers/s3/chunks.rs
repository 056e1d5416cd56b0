//! Events that left the tail: nothing of a history is lost, doubled or moved while it is cut.

use std::sync::Arc;

use streamgate::domain::{Head, StreamId, Version};
use streamgate::store::EventStore;
use streamgate::testing::{builders, parallel};

use super::kit::{Place, append, new_stream, numbers};

/// Three processes append to one stream that is cut into chunks and indexes all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chunking_under_concurrent_writers_keeps_every_event_once() {
    const WRITERS: u64 = 3;
    const EACH: u64 = 40;
    let place = Place::new().await.in_pieces();
    let stream = new_stream(&place.open().await).await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (store, stream) = (place.open().await, stream.clone());
        writers.push(async move {
            let mut places = Vec::new();
            for number in 0..EACH {
                let number = writer * EACH + number;
                let appended = loop {
                    match append(&store, &stream, number..number + 1).await {
                        Err(streamgate::store::StoreError::Contended { .. }) => {}
                        answer => break answer.expect("nothing else is in the way"),
                    }
                };
                places.push((appended.first.0, number));
            }
            places
        });
    }
    let mut told: Vec<(u64, u64)> = parallel::all(writers).await.into_iter().flatten().collect();
    told.sort_unstable();
    let held = numbers(&place.open().await, &stream).await;
    let held: Vec<(u64, u64)> = (0..).zip(held).collect();
    assert_eq!(told, held, "every event stands once, where its writer was told");
}

#[tokio::test]
async fn a_read_from_the_middle_asks_for_no_chunk_before_it() {
    let place = Place::new().await.in_pieces();
    let writer = place.open().await;
    let stream = new_stream(&writer).await;
    for number in 0..60 {
        append(&writer, &stream, number..number + 1).await.unwrap();
    }
    let reader = place.open().await;
    let before = reader.requests().gets();
    let page = reader.read(&stream, builders::range(55)).await.unwrap();
    assert_eq!((page.first, page.events.len()), (Version(55), 5));
    assert!(reader.requests().gets() - before <= 3, "the tail, and a chunk or two");
}

/// Ids that left the tail are found by a process that never saw them.
#[tokio::test]
async fn ids_in_chunks_are_known_to_a_process_that_just_began() {
    let place = Place::new().await.in_pieces();
    let writer = place.open().await;
    let stream = new_stream(&writer).await;
    for number in 0..40 {
        append(&writer, &stream, number..number + 1).await.unwrap();
    }
    let late = place.open().await;
    for number in [0, 7, 39] {
        let again = append(&late, &stream, number..number + 1).await.unwrap();
        assert_eq!((again.first.0, again.replay), (number, true));
    }
    let ids: Vec<_> = builders::events(3..5).iter().map(|event| event.event_id).collect();
    let found = late.find(&stream, &ids).await.unwrap();
    assert_eq!(found.iter().map(|found| found.unwrap().version.0).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test]
async fn a_removal_takes_the_chunks_along_and_may_be_repeated() {
    let place = Place::new().await.in_pieces();
    let store = place.open().await;
    let stream = new_stream(&store).await;
    for number in 0..40 {
        append(&store, &stream, number..number + 1).await.unwrap();
    }
    let close = builders::close(builders::migration(1), Head::at(Version(39)));
    store.close(&stream, close).await.unwrap();
    assert_eq!(store.remove(&stream).await.unwrap().events, 40);
    assert_eq!(place.open().await.remove(&stream).await.unwrap().events, 0);
    let bucket = &place.options.bucket;
    let left = super::kit::ask(&format!("GET /{bucket}?list-type=2 HTTP/1.1")).await;
    assert_eq!(left.matches("<Key>").count(), 1, "the tail alone: {left}");
    assert!(left.contains("<Key>tails/"));
}

/// Ids of streams may be longer than keys of S3.
#[tokio::test]
async fn long_stream_ids_that_differ_at_their_ends_stay_apart() {
    let store = Arc::new(Place::new().await.in_pieces().open().await);
    let ids = ["a", "b"].map(|end| StreamId::new("🦀".repeat(127) + end).unwrap());
    for (number, id) in (0..).zip(&ids) {
        store.create(id, &builders::header(&builders::object("long"))).await.unwrap();
        for more in 0..20 {
            let number = number * 100 + more;
            append(&store, id, number..number + 1).await.unwrap();
        }
    }
    assert_eq!(numbers(&store, &ids[0]).await, (0..20).collect::<Vec<_>>());
    assert_eq!(numbers(&store, &ids[1]).await, (100..120).collect::<Vec<_>>());
}
