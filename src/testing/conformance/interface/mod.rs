//! What only a whole proxy has, one case each, through its own client and over stores of any kind:
//! sessions, followers, and reads from anywhere. Cases move their objects themselves.

mod follow;
mod read;
mod session;

use std::any::Any;
use std::sync::Arc;

use tonic::Streaming;

use super::client::ThroughProxy;
use super::wire::{new_event, object_ref, recorded, refusal};
use crate::domain::{Event, ExpectedVersion, ObjectKey, Reason, Version};
use crate::grpc::v1;
use crate::grpc::v1::read_response::Message;
use crate::runtime::{Entropy, Runtime, Shutdown, SystemEntropy};
use crate::testing::builders;
use crate::testing::clock::ShiftedClock;

pub use follow::*;
pub use read::*;
pub use session::*;

/// A proxy on two stores named `hot` and `cold`. New objects live in `hot`.
#[derive(Clone)]
pub struct InterfaceSubject {
    proxy: ThroughProxy,
    clock: Arc<ShiftedClock>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl super::Finish for InterfaceSubject {
    async fn finish(&self) {}
}

impl InterfaceSubject {
    /// Over the stores `hot` and `cold` that these settings name, in this order.
    pub async fn over(settings: &str) -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let runtime = Runtime {
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            shutdown: Shutdown::new(),
        };
        Self { proxy: ThroughProxy::over(settings, runtime).await, clock, keep: None }
    }

    /// Keeps what must live as long as the proxy, as the folders of its stores.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any + Send + Sync) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// An object that no other case has.
    fn object(&self) -> TestObject {
        let key = builders::object(&SystemEntropy.uuid().to_string());
        TestObject { proxy: self.proxy.clone(), key }
    }

    /// An object that holds the first `count` events.
    async fn object_of(&self, count: u64) -> TestObject {
        let object = self.object();
        object.append(builders::events(0..count)).await;
        object
    }
}

/// An object of a subject.
#[derive(Clone)]
struct TestObject {
    proxy: ThroughProxy,
    key: ObjectKey,
}

/// Events of one append while a case prepares its object: what every kind of store takes.
const BATCH: usize = 50;

impl TestObject {
    async fn append(&self, events: Vec<Event>) {
        for batch in events.chunks(BATCH) {
            let events = batch.iter().cloned().map(new_event).collect();
            let request = v1::AppendRequest {
                object: Some(object_ref(&self.key)),
                events,
                ..v1::AppendRequest::default()
            };
            self.proxy.events().append(request).await.expect("any is met");
        }
    }

    async fn move_to(&self, store: &str) {
        self.proxy.move_to(&self.key, store, v1::MigrationKind::Copy).await;
    }

    async fn continue_in(&self, store: &str) {
        self.proxy.move_to(&self.key, store, v1::MigrationKind::Continue).await;
    }

    fn read_request(&self) -> v1::ReadRequest {
        v1::ReadRequest { object: Some(object_ref(&self.key)), ..v1::ReadRequest::default() }
    }

    async fn start(&self, request: v1::ReadRequest) -> Streaming<v1::ReadResponse> {
        let started = self.proxy.events().read(request).await;
        started.expect("the object can be read").into_inner()
    }

    /// Everything that a read tells, to its end.
    async fn read(&self, request: v1::ReadRequest) -> Told {
        let mut stream = self.start(request).await;
        let mut told = Told::default();
        while let Some(response) = stream.message().await.expect("the read goes on") {
            told.take(response);
        }
        told
    }

    async fn refused(&self, request: v1::ReadRequest) -> Reason {
        let answer = self.proxy.events().read(request).await;
        let status = match answer {
            Err(status) => status,
            Ok(stream) => loop_to_error(stream.into_inner()).await,
        };
        refusal(status).reason
    }

    /// Asserts that the history is exactly these events.
    #[track_caller]
    fn holds(&self, expected: &[Event]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let told = self.read(self.read_request()).await;
            let versions: Vec<u64> = (0..expected.len() as u64).collect();
            assert_eq!(told.versions(), versions, "asserted at {caller}");
            assert_eq!(told.ids(), ids(expected), "asserted at {caller}");
        }
    }
}

async fn loop_to_error(mut stream: Streaming<v1::ReadResponse>) -> tonic::Status {
    loop {
        match stream.message().await {
            Err(status) => return status,
            Ok(Some(_)) => {}
            Ok(None) => panic!("the read ended without an error"),
        }
    }
}

/// What a read told, in its order.
#[derive(Default)]
struct Told {
    header: Option<v1::ReadHeader>,
    events: Vec<(Version, Event)>,
    /// Behind each batch.
    tokens: Vec<bytes::Bytes>,
    checkpoints: Vec<u64>,
    close_event: Option<v1::CloseEventInfo>,
}

impl Told {
    fn take(&mut self, response: v1::ReadResponse) {
        match response.message.expect("every message says something") {
            Message::Header(header) => self.header = Some(header),
            Message::Batch(batch) => {
                self.events.extend(batch.events.into_iter().map(recorded));
                self.tokens.push(response.resume_token);
            }
            Message::Checkpoint(checkpoint) => self.checkpoints.push(checkpoint.next_version),
            Message::CloseEvent(close) => self.close_event = Some(close),
            other => panic!("only a follow tells {other:?}"),
        }
    }

    fn versions(&self) -> Vec<u64> {
        self.events.iter().map(|(version, _)| version.0).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.events.iter().map(|(_, event)| event.event_id.to_string()).collect()
    }
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.event_id.to_string()).collect()
}

fn append_of(
    object: &ObjectKey,
    expected: ExpectedVersion,
    events: Vec<Event>,
) -> v1::AppendRequest {
    v1::AppendRequest {
        object: Some(object_ref(object)),
        expected_version: Some(super::wire::expectation(expected)),
        events: events.into_iter().map(new_event).collect(),
        auto_retry_on_stream_closure: None,
    }
}

#[cfg(test)]
pub(super) const SOURCES: &[&str] =
    &[include_str!("follow.rs"), include_str!("read.rs"), include_str!("session.rs")];

super::suite! { $ interface_conformance, interface over InterfaceSubject, [
    a_session_answers_in_the_order_sent
    a_conflict_ends_no_session_and_holds_back_what_was_sent_behind_it
    an_invalid_request_is_answered_in_its_turn
    a_sequence_that_jumps_ends_the_session
    a_session_that_is_repeated_appends_nothing_twice
    a_session_keeps_its_order_while_its_object_moves
    expectations_hold_for_requests_that_go_together
    a_batch_beyond_the_limits_fails_alone

    a_follower_hears_what_was_there_and_then_what_comes
    a_follower_sees_no_gap_across_busy_moves
    a_follower_that_idles_through_moves_hears_what_comes_after
    a_follow_is_resumed_by_its_token_across_a_move
    an_idle_follower_hears_that_nothing_came
    a_follow_from_the_end_hears_only_what_comes
    a_filtered_follow_tells_how_far_it_is
    a_follow_ends_at_its_count
    a_follower_sees_no_gap_in_a_chain_of_both_kinds

    a_history_is_read_backward_from_anywhere
    large_events_are_read_backward
    a_read_starts_at_a_moment_also_when_the_clock_fell
    a_filter_passes_over_what_does_not_match
    a_read_is_resumed_by_its_token_in_both_directions
    a_token_of_another_object_is_refused
    a_raw_read_shows_the_close
    a_raw_read_of_what_is_not_there_is_refused
    a_header_tells_head_and_chain
    a_chain_of_both_kinds_is_one_history
    requests_that_make_no_sense_are_refused_by_field
    capabilities_tell_limits_and_promises
] }
