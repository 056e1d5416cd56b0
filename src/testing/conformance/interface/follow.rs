//! What a follower is promised: everything once, in order, wherever the object goes meanwhile.

use std::time::Duration;

use tonic::Streaming;

use super::{InterfaceSubject, TestObject, ids};
use crate::domain::Event;
use crate::grpc::v1;
use crate::grpc::v1::read_request::Start;
use crate::grpc::v1::read_response::Message;
use crate::testing::builders::{EventBuilder, event, events};
use crate::testing::conformance::wire::recorded;

/// The longest that anything that must come is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Appends the events behind the first, one after the other.
async fn write_one_by_one(object: &TestObject, events: u64) {
    for number in 1..events {
        object.append(vec![event(number)]).await;
    }
}

/// A follow that is listened to.
struct Follower {
    stream: Streaming<v1::ReadResponse>,
    /// Behind the last message.
    token: bytes::Bytes,
}

impl Follower {
    async fn start(object: &TestObject, start: Option<Start>) -> Self {
        Self::with(object, v1::ReadRequest { start, ..object.read_request() }).await
    }

    /// A request that follows beside what else it asks for.
    async fn with(object: &TestObject, request: v1::ReadRequest) -> Self {
        let follow = Some(request.follow.unwrap_or_default());
        let mut stream = object.start(v1::ReadRequest { follow, ..request }).await;
        let header = stream.message().await.expect("the header comes").expect("it is there");
        assert!(matches!(header.message, Some(Message::Header(_))), "{header:?}");
        Self { stream, token: header.resume_token }
    }

    /// The next message; none at the end.
    async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.stream.message()).await;
        let next = next.expect("a follower hears in time").expect("the follow goes on")?;
        assert!(!next.resume_token.is_empty(), "every message of a follow has a token");
        self.token = next.resume_token;
        next.message
    }

    /// The next `count` events, whatever marks come between. Asserts their places.
    async fn events(&mut self, first: u64, count: u64) -> Vec<Event> {
        let mut heard = Vec::new();
        while (heard.len() as u64) < count {
            let Some(message) = self.next().await else { panic!("the follow ended") };
            let Message::Batch(batch) = message else { continue };
            for (version, event) in batch.events.into_iter().map(recorded) {
                assert_eq!(version.0, first + heard.len() as u64, "a gap or a repeat");
                heard.push(event);
            }
        }
        assert_eq!(heard.len() as u64, count, "more than was appended");
        heard
    }

    async fn until_caught_up(&mut self) -> v1::CaughtUp {
        loop {
            match self.next().await.expect("the follow goes on") {
                Message::CaughtUp(caught_up) => return caught_up,
                Message::Batch(batch) => panic!("unexpected events: {batch:?}"),
                _ => {}
            }
        }
    }
}

pub async fn a_follower_hears_what_was_there_and_then_what_comes(subject: InterfaceSubject) {
    let object = subject.object_of(120).await;
    let mut follower = Follower::start(&object, None).await;
    assert_eq!(ids(&follower.events(0, 120).await), ids(&events(0..120)));
    assert_eq!(follower.until_caught_up().await.head_version, Some(119));
    for number in 120..130 {
        object.append(vec![event(number)]).await;
        assert_eq!(ids(&follower.events(number, 1).await), ids(&[event(number)]));
    }
}

pub async fn a_follower_sees_no_gap_across_busy_moves(subject: InterfaceSubject) {
    const EVENTS: u64 = 150;
    let object = subject.object_of(1).await;
    let mut follower = Follower::start(&object, None).await;
    let writer = write_one_by_one(&object, EVENTS);
    let mover = {
        let object = object.clone();
        async move {
            for store in ["cold", "hot", "cold", "hot"] {
                object.move_to(store).await;
            }
        }
    };
    let (heard, (), ()) = tokio::join!(follower.events(0, EVENTS), writer, mover);
    assert_eq!(ids(&heard), ids(&events(0..EVENTS)));
}

pub async fn a_follower_that_idles_through_moves_hears_what_comes_after(subject: InterfaceSubject) {
    let object = subject.object_of(3).await;
    let mut follower = Follower::start(&object, None).await;
    follower.events(0, 3).await;
    follower.until_caught_up().await;
    for store in ["cold", "hot", "cold"] {
        object.move_to(store).await;
    }
    object.append(vec![event(3)]).await;
    assert_eq!(ids(&follower.events(3, 1).await), ids(&[event(3)]));
}

pub async fn a_follow_is_resumed_by_its_token_across_a_move(subject: InterfaceSubject) {
    let object = subject.object_of(5).await;
    let mut follower = Follower::start(&object, None).await;
    follower.events(0, 5).await;
    let token = follower.token.clone();
    drop(follower);
    object.append(vec![event(5)]).await;
    object.move_to("cold").await;
    object.append(vec![event(6)]).await;
    let mut again = Follower::start(&object, Some(Start::ResumeToken(token))).await;
    assert_eq!(ids(&again.events(5, 2).await), ids(&events(5..7)));
}

pub async fn an_idle_follower_hears_that_nothing_came(subject: InterfaceSubject) {
    let object = subject.object_of(2).await;
    let interval = Duration::from_millis(100);
    let follow = v1::FollowOptions { heartbeat_interval: interval.try_into().ok() };
    let request = v1::ReadRequest { follow: Some(follow), ..object.read_request() };
    let mut follower = Follower::with(&object, request).await;
    follower.events(0, 2).await;
    follower.until_caught_up().await;
    for _ in 0..3 {
        let next = follower.next().await;
        let Some(Message::Heartbeat(heartbeat)) = next else { panic!("{next:?}") };
        assert_eq!(heartbeat.head_version, Some(1));
    }
}

pub async fn a_follow_from_the_end_hears_only_what_comes(subject: InterfaceSubject) {
    let object = subject.object_of(4).await;
    let mut follower = Follower::start(&object, Some(Start::FromEnd(()))).await;
    assert_eq!(follower.until_caught_up().await.head_version, Some(3));
    object.append(vec![event(4)]).await;
    assert_eq!(ids(&follower.events(4, 1).await), ids(&[event(4)]));
}

pub async fn a_filtered_follow_tells_how_far_it_is(subject: InterfaceSubject) {
    let object = subject.object_of(3).await;
    let filter = v1::EventFilter { event_types: vec!["Wanted".into()], ..Default::default() };
    let request = v1::ReadRequest { filter: Some(filter), ..object.read_request() };
    let mut follower = Follower::with(&object, request).await;
    let next = follower.next().await;
    assert_eq!(next, Some(Message::Checkpoint(v1::Checkpoint { next_version: 3 })));
    follower.until_caught_up().await;
    let wanted = EventBuilder::new(9).event_type("Wanted").build();
    object.append(vec![event(3), event(4), wanted.clone()]).await;
    loop {
        match follower.next().await.expect("the follow goes on") {
            Message::Batch(batch) => {
                let heard: Vec<_> = batch.events.into_iter().map(recorded).collect();
                assert_eq!(heard.len(), 1);
                assert_eq!((heard[0].0.0, heard[0].1.event_id), (5, wanted.event_id));
                return;
            }
            Message::Checkpoint(_) | Message::FellBehind(_) | Message::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub async fn a_follow_ends_at_its_count(subject: InterfaceSubject) {
    let object = subject.object_of(2).await;
    let request = v1::ReadRequest { events_max: 4, ..object.read_request() };
    let mut follower = Follower::with(&object, request).await;
    follower.events(0, 2).await;
    follower.until_caught_up().await;
    object.append(events(2..6)).await;
    assert_eq!(ids(&follower.events(2, 2).await), ids(&events(2..4)));
    assert_eq!(follower.next().await, None);
}

pub async fn a_follower_sees_no_gap_in_a_chain_of_both_kinds(subject: InterfaceSubject) {
    const EVENTS: u64 = 100;
    let object = subject.object_of(1).await;
    let mut follower = Follower::start(&object, None).await;
    let writer = write_one_by_one(&object, EVENTS);
    let mover = {
        let object = object.clone();
        async move {
            object.continue_in("cold").await;
            object.continue_in("hot").await;
            object.move_to("cold").await;
            object.continue_in("hot").await;
        }
    };
    let (heard, (), ()) = tokio::join!(follower.events(0, EVENTS), writer, mover);
    assert_eq!(ids(&heard), ids(&events(0..EVENTS)));
    // Idle through one more of each.
    object.continue_in("cold").await;
    object.move_to("hot").await;
    object.append(vec![event(EVENTS)]).await;
    assert_eq!(ids(&follower.events(EVENTS, 1).await), ids(&[event(EVENTS)]));
}
