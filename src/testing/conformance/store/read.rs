//! Reads return whole events in order and tell the end of the stream as it was then.

use super::StoreSubject;
use crate::domain::{ExpectedVersion, Head, Version};
use crate::store::ReadRange;
use crate::testing::builders::{EventBuilder, event, events, head, migration, range};

pub async fn a_read_starts_where_asked_and_tells_the_end(subject: StoreSubject) {
    let stream = subject.stream_of(5).await;
    for from in 0..5 {
        let page = subject.store.read(&stream.id, range(from)).await.expect("it exists");
        assert_eq!((page.first, page.head, page.closed), (Version(from), head(4), None));
        assert!(!page.events.is_empty());
        assert_eq!(page.events[0], event(from));
    }
}

pub async fn a_read_stops_at_the_count(subject: StoreSubject) {
    let stream = subject.stream_of(5).await;
    for count in 1..5 {
        let range = ReadRange { from: Version(1), events_max: count, bytes_max: usize::MAX };
        let page = subject.store.read(&stream.id, range).await.expect("it exists");
        assert!(!page.events.is_empty() && page.events.len() <= count);
        let taken = events(1..page.next().0);
        assert_eq!(page.events, taken);
        assert_eq!(page.head, head(4), "the end of the stream, not of the page");
    }
}

pub async fn a_read_stops_at_the_bytes_but_returns_one_event(subject: StoreSubject) {
    let stream = subject.stream().await;
    let large = |number| EventBuilder::new(number).payload(vec![b'x'; 1_000]).build();
    let all: Vec<_> = (0..6).map(large).collect();
    stream.append(ExpectedVersion::Any, all.clone()).await.expect("any is met");
    for bytes_max in [0, 1, 1_500, 2_500] {
        let range = ReadRange { from: Version(0), events_max: usize::MAX, bytes_max };
        let page = subject.store.read(&stream.id, range).await.expect("it exists");
        let most = (bytes_max / 1_000).max(1);
        assert!((1..=most).contains(&page.events.len()), "{bytes_max}: {}", page.events.len());
        assert_eq!(page.events[..], all[..page.events.len()]);
        assert!(!page.reaches_head());
    }
}

pub async fn a_read_from_beyond_the_head_is_empty(subject: StoreSubject) {
    let stream = subject.stream_of(3).await;
    for from in [3, 4, 1_000] {
        let page = subject.store.read(&stream.id, range(from)).await.expect("it exists");
        assert_eq!((page.first, page.events.len()), (Version(from), 0));
        assert_eq!(page.head, head(2));
        assert!(page.reaches_head());
    }
    let empty = subject.stream().await;
    let page = subject.store.read(&empty.id, range(0)).await.expect("it exists");
    assert_eq!((page.head, page.events.len()), (Head::NONE, 0));
}

pub async fn a_read_from_below_the_base_starts_at_the_base(subject: StoreSubject) {
    let mut stream = subject.absent(Some(migration(1)), 5);
    stream.header.base = Some(Version(5));
    stream.create().await.expect("the id is new");
    stream.append(ExpectedVersion::Any, events(5..8)).await.expect("any is met");
    for from in [0, 4, 5] {
        let page = subject.store.read(&stream.id, range(from)).await.expect("it exists");
        assert_eq!(page.first, Version(5));
        assert_eq!(page.events[0], event(5));
    }
}

pub async fn a_closed_stream_is_read_to_its_end(subject: StoreSubject) {
    let (stream, close) = subject.closed_stream_of(3).await;
    stream.holds(&events(0..3)).await;
    for from in [0, 2, 3, 1_000] {
        let page = subject.store.read(&stream.id, range(from)).await.expect("it exists");
        assert_eq!((page.head, page.closed), (head(2), Some(close.clone())));
        assert!(page.events.len() as u64 <= 3 - from.min(3), "the CloseEvent is no event");
    }
}

pub async fn reads_beside_appends_see_a_growing_prefix(subject: StoreSubject) {
    const EVENTS: u64 = 60;
    let stream = subject.stream().await;
    let writer = {
        let stream = stream.clone();
        async move {
            for number in 0..EVENTS {
                stream.append_anyhow(vec![event(number)]).await.expect("any is met");
                let seen = stream.tail().await.head;
                assert_eq!(seen, head(number), "an append is seen once it was answered");
            }
        }
    };
    let reader = {
        let stream = stream.clone();
        async move {
            let mut seen = 0;
            while seen < EVENTS {
                let page = stream.store.read(&stream.id, range(0)).await.expect("it exists");
                assert_eq!(page.events, events(0..page.next().0), "no gap, no change of place");
                assert!(page.head.next() >= page.next(), "no event beyond the head");
                assert!(page.head.next().0 >= seen, "the head never falls");
                seen = page.head.next().0;
                tokio::task::yield_now().await;
            }
        }
    };
    let both: [futures::future::BoxFuture<'static, ()>; 2] = [Box::pin(writer), Box::pin(reader)];
    crate::testing::parallel::all(both).await;
    stream.holds(&events(0..EVENTS)).await;
}
