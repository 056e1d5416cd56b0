//! The messages of `AppendSession`.

use prost::Message as _;
use tonic::Status;

use super::Faults;
use super::event_store::{append, event_ids, to_append_response};
use crate::domain::{ObjectId, ObjectKey, ObjectName};
use crate::grpc::status::InvalidRequest;
use crate::grpc::v1;
use crate::grpc::v1::append_session_response::Outcome;
use crate::proxy::{AppendOutcome, SessionRequest};
use crate::runtime::Entropy;

/// What a request needs to be answered.
pub(crate) struct Tag {
    pub(crate) sequence: u64,
    pub(crate) event_ids: Vec<String>,
    /// Why it was not taken.
    pub(crate) invalid: Option<InvalidRequest>,
}

/// A request; what is wrong with it is answered in its turn.
pub(crate) fn request(
    request: v1::AppendSessionRequest,
    entropy: &dyn Entropy,
) -> SessionRequest<Tag> {
    let v1::AppendSessionRequest { sequence, append: sent, after_failure } = request;
    let Some(sent) = sent else {
        let mut faults = Faults::default();
        faults.note("append", "must be given");
        let invalid = faults.finish::<()>(None).err();
        let tag = Tag { sequence, event_ids: Vec::new(), invalid };
        return SessionRequest { tag, object: None, command: None, after_failure };
    };
    let named = sent.object.clone();
    match append(sent, entropy, None) {
        Ok(command) => {
            let tag = Tag { sequence, event_ids: event_ids(&command.events), invalid: None };
            let object = Some(command.object.clone());
            SessionRequest { tag, object, command: Some(command), after_failure }
        }
        Err(invalid) => {
            let invalid =
                InvalidRequest(invalid.0.into_iter().map(|fault| fault.within("append")).collect());
            let tag = Tag { sequence, event_ids: Vec::new(), invalid: Some(invalid) };
            let object = named.and_then(known_object);
            SessionRequest { tag, object, command: None, after_failure }
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
