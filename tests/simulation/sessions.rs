//! Clients that pipeline: each sends its events through sessions without waiting, starts again
//! with the same ids wherever a session breaks, and finds them in the order in which it sent them.

use std::collections::VecDeque;

use streamgate::domain::{Event, EventId, ExpectedVersion, ObjectKey};
use streamgate::proxy::{AppendCommand, ProxyError, Session, SessionError, SessionRequest};

use crate::actors::ask;
use crate::world::{OBJECTS, World};

pub(crate) const PIPELINERS: usize = 3;
const EVENTS_EACH: u64 = 24;

pub(crate) async fn pipeliner(world: &World, number: usize) {
    let object = world.object(number % OBJECTS);
    let mut client = Client { number, object: object.clone(), unanswered: VecDeque::new() };
    let mut sent = Vec::new();
    let mut left = EVENTS_EACH;
    while left > 0 || !client.unanswered.is_empty() {
        let through = world.process();
        let proxy = std::sync::Arc::clone(&through.process.proxy);
        let mut session = Session::new(proxy);
        for event in &client.unanswered {
            session.submit(request(&object, event.clone(), false));
        }
        loop {
            let burst = world.below(4).min(left);
            for _ in 0..burst {
                let event = world.event();
                sent.push(event.event_id);
                // Until an answer comes nobody knows.
                client.note(world, &event, &Err(ProxyError::OutcomeUnknown { cause: None }));
                client.unanswered.push_back(event.clone());
                session.submit(request(&object, event, false));
                left -= 1;
            }
            if session.is_idle() {
                break;
            }
            if ask(world, &through, session.progress()).await.is_none() {
                break;
            }
            if !client.take_answers(world, &mut session) {
                break;
            }
        }
        world.idle(30).await;
    }
    world.pipelined.borrow_mut().push((object, sent));
}

struct Client {
    number: usize,
    object: ObjectKey,
    unanswered: VecDeque<Event>,
}

impl Client {
    /// False when the session is over for this client: it starts another one with what was not
    /// answered well.
    fn take_answers(&mut self, world: &World, session: &mut Session<EventId>) -> bool {
        while let Some(answer) = session.next_answer() {
            let first = self.unanswered.front().expect("an answer is to something that was sent");
            assert_eq!(answer.tag, first.event_id, "answers come in the order of the requests");
            let told = match &answer.outcome {
                Ok(outcome) => outcome.first.to_string(),
                Err(error) => error.reason().as_str().to_owned(),
            };
            world.note(format!("pipeliner {} {} -> {told}", self.number, self.object));
            match answer.outcome {
                Ok(outcome) => {
                    let event = self.unanswered.pop_front().expect("it was looked at");
                    self.note(world, &event, &Ok(outcome));
                }
                Err(SessionError::Append(_)) => return false,
                Err(error) => panic!("nothing failed before: {error}"),
            }
        }
        true
    }

    fn note(
        &self,
        world: &World,
        event: &Event,
        answer: &Result<streamgate::proxy::AppendOutcome, ProxyError>,
    ) {
        let events = std::slice::from_ref(event);
        world.history.borrow_mut().told(&self.object, events, answer);
    }
}

fn request(object: &ObjectKey, event: Event, after_failure: bool) -> SessionRequest<EventId> {
    let tag = event.event_id;
    let command = AppendCommand {
        object: object.clone(),
        expected: ExpectedVersion::Any,
        events: vec![event],
        auto_retry_on_stream_closure: None,
        deadline: None,
    };
    SessionRequest { tag, object: Some(object.clone()), command: Some(command), after_failure }
}

/// Each client's events stand in the order in which it sent them.
pub(crate) fn check_order(world: &World, object: &ObjectKey, read: &[Event]) {
    for (_, sent) in world.pipelined.borrow().iter().filter(|(of, _)| of == object) {
        let places: Vec<usize> = sent
            .iter()
            .map(|id| read.iter().position(|event| event.event_id == *id).expect("it is there"))
            .collect();
        assert!(places.is_sorted(), "{object}: one caller's appends changed places: {places:?}");
    }
}
