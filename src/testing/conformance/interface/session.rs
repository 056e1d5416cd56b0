//! What a session promises: order, one answer a request, and that an error ends nothing else.

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use super::{InterfaceSubject, TestObject, append_of};
use crate::domain::{Event, ExpectedVersion, ObjectKey, Reason, Version};
use crate::grpc::v1;
use crate::grpc::v1::append_session_response::Outcome;
use crate::testing::builders::{EventBuilder, event, events};

use ExpectedVersion::{Any, Exact, NoStream};

/// A session, and what is sent next.
struct TestSession {
    requests: mpsc::UnboundedSender<v1::AppendSessionRequest>,
    answers: Streaming<v1::AppendSessionResponse>,
    sent: u64,
}

/// One answer: the versions, or the reason.
type Answer = Result<(u64, u64), Reason>;

impl TestSession {
    async fn start(subject: &InterfaceSubject) -> Self {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let answers = subject.proxy.events().append_session(outgoing).await;
        let answers = answers.expect("a session begins").into_inner();
        Self { requests, answers, sent: 0 }
    }

    fn send(&mut self, object: &ObjectKey, expected: ExpectedVersion, events: Vec<Event>) {
        self.send_request(append_of(object, expected, events), false);
    }

    fn send_request(&mut self, append: v1::AppendRequest, after_failure: bool) {
        let (sequence, append) = (self.sent, Some(append));
        let request = v1::AppendSessionRequest { sequence, append, after_failure };
        self.requests.send(request).expect("the session goes on");
        self.sent += 1;
    }

    /// The answers to everything that was sent, checked to come in their order.
    async fn finish(mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for sequence in 0..self.sent {
            answers.push(self.answer(sequence).await);
        }
        drop(self.requests);
        let more = self.answers.message().await.expect("the session ends well");
        assert!(more.is_none(), "an answer to nothing: {more:?}");
        answers
    }

    async fn answer(&mut self, sequence: u64) -> Answer {
        let answer = self.answers.message().await.expect("the session goes on");
        let answer = answer.expect("every request is answered");
        assert_eq!(answer.sequence, sequence, "answers come in the order of the requests");
        match answer.outcome.expect("every answer says what became of it") {
            Outcome::Appended(appended) => Ok((appended.first_version, appended.last_version)),
            Outcome::Error(error) => {
                let code = Code::from_i32(error.code);
                let details = prost::Message::encode_to_vec(&error);
                let status = tonic::Status::with_details(code, error.message, details.into());
                let info = status.get_details_error_info().expect("an error says why");
                Err(Reason::parse(&info.reason).expect("the reason is one of ours"))
            }
        }
    }
}

pub async fn a_session_answers_in_the_order_sent(subject: InterfaceSubject) {
    const OBJECTS: usize = 5;
    const ROUNDS: u64 = 40;
    let objects: Vec<TestObject> = (0..OBJECTS).map(|_| subject.object()).collect();
    let mut session = TestSession::start(&subject).await;
    for round in 0..ROUNDS {
        for object in &objects {
            session.send(&object.key, Any, vec![event(round)]);
        }
    }
    let answers = session.finish().await;
    for (place, answer) in (0_u64..).zip(answers) {
        let version = place / OBJECTS as u64;
        assert_eq!(answer, Ok((version, version)), "request {place}");
    }
    for object in objects {
        object.holds(&events(0..ROUNDS)).await;
    }
}

pub async fn a_conflict_ends_no_session_and_holds_back_what_was_sent_behind_it(
    subject: InterfaceSubject,
) {
    let (object, other) = (subject.object_of(1).await, subject.object());
    let mut session = TestSession::start(&subject).await;
    session.send(&object.key, Exact(Version(7)), vec![event(10)]);
    session.send(&object.key, Any, vec![event(11)]);
    session.send(&other.key, Any, vec![event(0)]);
    session.send(&object.key, Exact(Version(0)), vec![event(12)]);
    session.send_request(append_of(&object.key, Exact(Version(0)), vec![event(1)]), true);
    session.send(&object.key, Any, vec![event(2)]);
    let answers = session.finish().await;
    let expected = [
        Err(Reason::WrongExpectedVersion),
        Err(Reason::PredecessorFailed),
        Ok((0, 0)),
        Err(Reason::PredecessorFailed),
        Ok((1, 1)),
        Ok((2, 2)),
    ];
    assert_eq!(answers, expected);
    object.holds(&events(0..3)).await;
    other.holds(&events(0..1)).await;
}

pub async fn an_invalid_request_is_answered_in_its_turn(subject: InterfaceSubject) {
    let object = subject.object();
    let mut session = TestSession::start(&subject).await;
    session.send(&object.key, Any, vec![event(0)]);
    session.send(&object.key, Any, vec![]);
    session.send(&object.key, Any, vec![event(1)]);
    session.send_request(v1::AppendRequest::default(), false);
    session.send_request(append_of(&object.key, Any, vec![event(1)]), true);
    let answers = session.finish().await;
    let expected = [
        Ok((0, 0)),
        Err(Reason::InvalidArgument),
        Err(Reason::PredecessorFailed),
        Err(Reason::InvalidArgument),
        Ok((1, 1)),
    ];
    assert_eq!(answers, expected);
    object.holds(&events(0..2)).await;
}

pub async fn a_sequence_that_jumps_ends_the_session(subject: InterfaceSubject) {
    let object = subject.object();
    let mut session = TestSession::start(&subject).await;
    session.send(&object.key, Any, vec![event(0)]);
    session.sent += 1;
    session.send(&object.key, Any, vec![event(1)]);
    assert_eq!(session.answer(0).await, Ok((0, 0)), "what came before is answered");
    let status = session.answers.message().await.expect_err("the session ends");
    assert_eq!(status.code(), Code::InvalidArgument);
    object.holds(&events(0..1)).await;
}

pub async fn a_session_that_is_repeated_appends_nothing_twice(subject: InterfaceSubject) {
    const EVENTS: u64 = 60;
    let object = subject.object();
    let mut broken = TestSession::start(&subject).await;
    for number in 0..EVENTS {
        broken.send(&object.key, Any, vec![event(number)]);
    }
    // It breaks while the most of it is on its way.
    let _ = broken.answer(0).await;
    drop(broken);
    let mut again = TestSession::start(&subject).await;
    for number in 0..EVENTS {
        again.send(&object.key, Any, vec![event(number)]);
    }
    let answers = again.finish().await;
    let expected: Vec<Answer> = (0..EVENTS).map(|version| Ok((version, version))).collect();
    assert_eq!(answers, expected);
    object.holds(&events(0..EVENTS)).await;
}

pub async fn a_session_keeps_its_order_while_its_object_moves(subject: InterfaceSubject) {
    const EVENTS: u64 = 400;
    let object = subject.object_of(1).await;
    let mover = {
        let object = object.clone();
        async move {
            for store in ["cold", "hot", "cold", "hot"] {
                object.move_to(store).await;
            }
        }
    };
    let mut session = TestSession::start(&subject).await;
    let writer = async {
        for number in 1..EVENTS {
            session.send(&object.key, Any, vec![event(number)]);
            // Others come in between, and the object has time to move.
            tokio::task::yield_now().await;
        }
        session.finish().await
    };
    let (answers, ()) = tokio::join!(writer, mover);
    let expected: Vec<Answer> = (1..EVENTS).map(|version| Ok((version, version))).collect();
    assert_eq!(answers, expected);
    object.holds(&events(0..EVENTS)).await;
}

pub async fn expectations_hold_for_requests_that_go_together(subject: InterfaceSubject) {
    const GOOD: u64 = 30;
    let object = subject.object();
    let mut session = TestSession::start(&subject).await;
    session.send(&object.key, NoStream, vec![event(0)]);
    for number in 1..GOOD {
        session.send(&object.key, Exact(Version(number - 1)), vec![event(number)]);
    }
    session.send(&object.key, Exact(Version(GOOD)), vec![event(GOOD)]);
    session.send(&object.key, Any, vec![event(GOOD + 1)]);
    let mut answers = session.finish().await;
    let behind = answers.split_off(usize::try_from(GOOD).expect("it is small"));
    assert_eq!(behind, [Err(Reason::WrongExpectedVersion), Err(Reason::PredecessorFailed)]);
    let expected: Vec<Answer> = (0..GOOD).map(|version| Ok((version, version))).collect();
    assert_eq!(answers, expected);
    object.holds(&events(0..GOOD)).await;
}

pub async fn a_batch_beyond_the_limits_fails_alone(subject: InterfaceSubject) {
    let object = subject.object_of(1).await;
    let limits = subject.proxy.events().get_capabilities(v1::GetCapabilitiesRequest {}).await;
    let limits = limits.expect("it is told").into_inner().stores[0].limits.expect("it has some");
    let too_large = usize::try_from(limits.event_bytes_max).expect("it fits") + 1;
    let mut session = TestSession::start(&subject).await;
    session.send(&object.key, Any, vec![event(1)]);
    let large = EventBuilder::new(9).payload(vec![7; too_large]).build();
    session.send(&object.key, Any, vec![large]);
    session.send_request(append_of(&object.key, Any, vec![event(2)]), true);
    let answers = session.finish().await;
    assert_eq!(answers, [Ok((1, 1)), Err(Reason::EventTooLarge), Ok((2, 2))]);
    object.holds(&events(0..3)).await;
}
