//! The messages of `AppendSession`.

use prost::Message as _;
use tonic::Status;

use super::event_store::{append, event_ids, to_append_response};
use crate::domain::{InvalidValue, ObjectId, ObjectKey, ObjectName};
use crate::grpc::load::{Exceeded, Taken};
use crate::grpc::status::{InvalidRequest, Refusal, ServerRefusal};
use crate::grpc::v1;
use crate::grpc::v1::append_session_response::Outcome;
use crate::proxy::{AppendOutcome, SessionRequest};
use crate::runtime::Entropy;

/// What a request needs to be answered.
pub(crate) struct Tag {
    pub(crate) sequence: u64,
    pub(crate) event_ids: Vec<String>,
    /// Why it was not taken.
    pub(crate) refused: Option<Box<dyn Refusal + Send + Sync>>,
    /// Room for its bytes until it is answered.
    #[expect(dead_code, reason = "dropped, not read")]
    room: Option<Taken>,
}

/// A request; what is wrong with it is answered in its turn, and so is that there is no room.
pub(crate) fn request(
    request: v1::AppendSessionRequest,
    room: Result<Taken, Exceeded>,
    entropy: &dyn Entropy,
) -> SessionRequest<Tag> {
    let v1::AppendSessionRequest { sequence, append: sent, after_failure } = request;
    let refused = |object, refused: Box<dyn Refusal + Send + Sync>| {
        let tag = Tag { sequence, event_ids: Vec::new(), refused: Some(refused), room: None };
        SessionRequest { tag, object, command: None, after_failure }
    };
    let Some(sent) = sent else {
        let missing = InvalidValue::new("append", "must be given");
        return refused(None, Box::new(InvalidRequest(vec![missing])));
    };
    let named = sent.object.clone();
    let room = match room {
        Ok(room) => room,
        Err(exceeded) => {
            let refusal = ServerRefusal::TooManyInFlight(exceeded);
            return refused(named.and_then(known_object), Box::new(refusal));
        }
    };
    match append(sent, entropy, None) {
        Ok(command) => {
            let event_ids = event_ids(&command.events);
            let tag = Tag { sequence, event_ids, refused: None, room: Some(room) };
            let object = Some(command.object.clone());
            SessionRequest { tag, object, command: Some(command), after_failure }
        }
        Err(InvalidRequest(faults)) => {
            let faults = faults.into_iter().map(|fault| fault.within("append")).collect();
            refused(named.and_then(known_object), Box::new(InvalidRequest(faults)))
        }
    }
}

/// The object, if its name can be made out.
fn known_object(object: v1::ObjectRef) -> Option<ObjectKey> {
    let name = ObjectName::new(object.object_name).ok()?;
    Some(ObjectKey { name, id: ObjectId::new(object.object_id).ok()? })
}

pub(crate) fn to_appended(tag: Tag, outcome: AppendOutcome) -> v1::AppendSessionResponse {
    let appended = to_append_response(outcome, tag.event_ids);
    v1::AppendSessionResponse { sequence: tag.sequence, outcome: Some(Outcome::Appended(appended)) }
}

/// The status that `Append` would have ended with.
pub(crate) fn to_error(sequence: u64, status: &Status) -> v1::AppendSessionResponse {
    let error = tonic_types::Status::decode(status.details());
    let error = error.expect("details are an encoded status");
    v1::AppendSessionResponse { sequence, outcome: Some(Outcome::Error(error)) }
}
