//! What an application is promised, one case each, in the words of a client: an object, what it
//! expects, events. The same cases hold for a store under a thin adapter, for a proxy through its
//! own client, and for a proxy while the case's object is moved underneath.

mod append;
mod history;
mod in_store;
mod through_proxy;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::limits::Limits;
use crate::domain::{Event, ExpectedVersion, Head, ObjectKey, Reason, Version};
use crate::runtime::{Entropy, SystemEntropy};
use crate::store::Appended;
use crate::testing::builders;

pub use append::*;
pub use history::*;
pub use in_store::InStore;
pub use through_proxy::{ThroughProxy, UnderMigration};

/// An append or a read that was refused, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// The head that a conflict told.
    pub actual: Option<Head>,
    /// For the reader of a failed test.
    pub detail: String,
}

/// Whatever serves clients.
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    /// Appends as a client would; digest and `recorded_at` of the events are not sent.
    async fn append(
        &self,
        object: &ObjectKey,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<Appended, Refusal>;

    /// The logical history from a version on, to its end or until `events_max` are read. The
    /// digest of the events means nothing.
    async fn read(
        &self,
        object: &ObjectKey,
        from: Version,
        events_max: Option<u64>,
    ) -> Result<Vec<(Version, Event)>, Refusal>;

    fn limits(&self) -> Limits;

    /// Called when a case is over. A subject that promised to do something meanwhile, as moving
    /// the object, fails here if it did not.
    async fn finish(&self);
}

/// A subject with what must live as long.
#[derive(Clone)]
pub struct ClientSubject {
    subject: Arc<dyn Subject>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl super::Finish for ClientSubject {
    async fn finish(&self) {
        self.subject.finish().await;
    }
}

impl ClientSubject {
    pub fn new(subject: impl Subject) -> Self {
        Self { subject: Arc::new(subject), keep: None }
    }

    /// Keeps what must live as long as the subject, as a server or a folder.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any + Send + Sync) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// An object that no other case has.
    fn object(&self) -> TestObject {
        let key = builders::object(&SystemEntropy.uuid().to_string());
        TestObject { subject: Arc::clone(&self.subject), key }
    }

    /// An object that holds the first `count` events.
    async fn object_of(&self, count: u64) -> TestObject {
        let object = self.object();
        let first = object.append(ExpectedVersion::NoStream, builders::events(0..count)).await;
        first.expect("the object is new");
        object
    }
}

/// An object of a subject.
#[derive(Clone)]
struct TestObject {
    subject: Arc<dyn Subject>,
    key: ObjectKey,
}

impl TestObject {
    async fn append(
        &self,
        expected: ExpectedVersion,
        events: Vec<Event>,
    ) -> Result<Appended, Refusal> {
        self.subject.append(&self.key, expected, events).await
    }

    /// An `any` append, again as often as it certainly was not done.
    async fn append_anyhow(&self, events: Vec<Event>) -> Result<Appended, Refusal> {
        loop {
            match self.append(ExpectedVersion::Any, events.clone()).await {
                Err(Refusal { reason: Reason::Contended, .. }) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    }

    async fn read(&self, from: u64, events_max: Option<u64>) -> Vec<(Version, Event)> {
        let read = self.subject.read(&self.key, Version(from), events_max).await;
        read.expect("the object can be read")
    }

    /// Asserts that the history is exactly these events, as far as a client sent them.
    #[track_caller]
    fn holds(&self, expected: &[Event]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            assert_history(&self.read(0, None).await, 0, expected, caller);
        }
    }
}

/// Asserts that a stretch of history starts at a version and is exactly these events.
fn assert_history(
    history: &[(Version, Event)],
    first: u64,
    expected: &[Event],
    caller: &std::panic::Location<'_>,
) {
    let versions: Vec<u64> = history.iter().map(|(version, _)| version.0).collect();
    let places: Vec<u64> = (first..first + expected.len() as u64).collect();
    assert_eq!(versions, places, "asserted at {caller}");
    for ((version, event), expected) in history.iter().zip(expected) {
        assert_eq!(event.event_id, expected.event_id, "at {version}, asserted at {caller}");
        let same = builders::sent(event) == builders::sent(expected);
        assert!(same, "{event:?} at {version} is not what was sent, asserted at {caller}");
    }
    let in_time = history.is_sorted_by_key(|(_, event)| event.recorded_at);
    assert!(in_time, "recorded_at falls, asserted at {caller}");
}

/// Asserts that an answer is a refusal for the named reason.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Refusal>, reason: Reason) -> Refusal {
    match answer {
        Err(refusal) if refusal.reason == reason => refusal,
        other => panic!("expected {reason}, got {other:?}"),
    }
}

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[include_str!("append.rs"), include_str!("history.rs")];

super::suite! { $ client_conformance, client over ClientSubject, [
    append_lands_behind_the_head_and_says_where
    append_with_stale_version_is_a_conflict
    append_ahead_of_the_head_is_a_conflict
    no_stream_is_met_before_the_first_event_only
    an_object_without_events_meets_no_expectation_of_events
    a_refused_batch_leaves_nothing
    a_batch_beyond_the_limits_is_refused_whole
    a_repeated_append_answers_as_the_first_did_in_every_mode
    known_events_in_another_arrangement_are_duplicates
    a_known_id_with_another_content_is_a_duplicate
    concurrent_any_appends_are_contiguous
    concurrent_exact_appends_have_one_winner
    concurrent_repeats_of_one_append_land_once
    appends_each_sent_after_the_answer_keep_their_order

    an_object_that_never_was_is_not_found
    a_read_starts_where_asked
    a_read_stops_at_the_count
    a_read_from_beyond_the_head_is_empty
    reads_beside_appends_see_a_growing_prefix
    a_long_history_is_read_in_order
    what_was_read_once_is_read_the_same_again
    payloads_come_back_byte_for_byte
    the_largest_payload_comes_back
    text_metadata_and_times_come_back_as_they_were
    object_ids_that_look_alike_stay_apart
] }
