//! Streams come from their header alone, once.

use super::StoreSubject;
use super::subject::refused;
use crate::domain::{ExpectedVersion, Head, StreamHeader, Version};
use crate::store::StoreError;
use crate::testing::builders::{event, head, header, migration, range};
use crate::testing::parallel;

pub async fn create_again_with_the_same_header_is_no_error(subject: StoreSubject) {
    let stream = subject.stream_of(2).await;
    stream.create().await.expect("the header is the same");
    assert_eq!(stream.tail().await.head, head(1), "nothing was changed");
}

pub async fn create_with_another_header_is_refused(subject: StoreSubject) {
    let stream = subject.stream().await;
    let other_maker = StreamHeader { made_by: Some(migration(1)), ..stream.header.clone() };
    let other_base = StreamHeader { base: Some(Version(7)), ..stream.header.clone() };
    let no_base = StreamHeader { base: None, ..stream.header.clone() };
    let other_object = header(&subject.object());
    for other in [other_maker, other_base, no_base, other_object] {
        refused!(subject.store.create(&stream.id, &other).await, StoreError::AlreadyExists);
    }
    assert_eq!(stream.tail().await.header, stream.header);
}

pub async fn concurrent_creates_leave_one_header(subject: StoreSubject) {
    let stream = subject.absent(None, 0);
    let creates = (0..8).map(|number| {
        let made_by = Some(migration(number));
        let header = StreamHeader { made_by, ..stream.header.clone() };
        let (store, id) = (subject.store.clone(), stream.id.clone());
        async move { store.create(&id, &header).await.map(|()| header) }
    });
    let answers = parallel::all(creates).await;
    let winners: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    assert_eq!(stream.tail().await.header, *winners[0]);
}

pub async fn a_stream_that_was_never_created_is_not_found(subject: StoreSubject) {
    let stream = subject.absent(None, 0);
    let store = &subject.store;
    refused!(stream.append(ExpectedVersion::Any, vec![event(0)]).await, StoreError::NotFound);
    refused!(store.read(&stream.id, range(0)).await, StoreError::NotFound);
    refused!(store.tail(&stream.id).await, StoreError::NotFound);
    refused!(store.find(&stream.id, &[event(0).event_id]).await, StoreError::NotFound);
    refused!(stream.close(1, Head::NONE).await, StoreError::NotFound);
    refused!(store.remove(&stream.id).await, StoreError::NotFound);
}

pub async fn append_never_creates_a_stream(subject: StoreSubject) {
    let stream = subject.absent(None, 0);
    for expected in [ExpectedVersion::Any, ExpectedVersion::NoStream] {
        refused!(stream.append(expected, vec![event(0)]).await, StoreError::NotFound);
    }
    refused!(subject.store.tail(&stream.id).await, StoreError::NotFound);
    stream.create().await.expect("the id is still free");
    stream.holds(&[]).await;
}

pub async fn a_new_stream_ends_before_its_base(subject: StoreSubject) {
    for (base, head) in [(Some(0), Head::NONE), (Some(5), head(4)), (None, Head::NONE)] {
        let mut stream = subject.absent(Some(migration(1)), 0);
        stream.header.base = base.map(Version);
        stream.create().await.expect("the id is new");
        let tail = stream.tail().await;
        assert_eq!((tail.base, tail.head), (base.map(Version), head));
        assert_eq!((tail.recorded_at, tail.closed, tail.removed), (None, None, false));
        assert_eq!(tail.header, stream.header);
    }
}
