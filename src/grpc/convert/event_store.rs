//! The messages of `EventStoreService`.

use uuid::Uuid;

use super::{
    Faults, object, page_size, page_token, timestamp, to_chain, to_object, to_timestamp,
    to_version, version,
};
use crate::domain::limits::{check_metadata, check_text};
use crate::domain::{
    CloseEvent, Digest, Event, EventId, ExpectedVersion, InvalidValue, ObjectDocument, ObjectName,
    StoreName, Timestamp,
};
use crate::grpc::status::InvalidRequest;
use crate::grpc::v1;
use crate::grpc::v1::expected_version::Kind;
use crate::proxy::{AppendCommand, AppendOutcome, ListCommand, ListedObjectsPage, ObjectView};
use crate::runtime::{Deadline, Entropy};

/// Events without an id get one from `entropy`.
pub(crate) fn append(
    request: v1::AppendRequest,
    entropy: &dyn Entropy,
    deadline: Option<Deadline>,
) -> Result<AppendCommand, InvalidRequest> {
    let mut faults = Faults::default();
    let object = object(&mut faults, request.object);
    let expected = expected_version(&mut faults, request.expected_version);
    if request.events.is_empty() {
        faults.note("events", "must hold at least one event");
    }
    let mut events = Vec::with_capacity(request.events.len());
    for (index, sent) in request.events.into_iter().enumerate() {
        let known = faults.0.len();
        events.extend(event(&mut faults, sent, entropy));
        for fault in &mut faults.0[known..] {
            *fault = fault.clone().within(&format!("events[{index}]"));
        }
    }
    let command = object.zip(expected).map(|(object, expected)| AppendCommand {
        object,
        expected,
        events,
        auto_retry_on_stream_closure: request.auto_retry_on_stream_closure,
        deadline,
    });
    faults.finish(command)
}

fn expected_version(
    faults: &mut Faults,
    expected: Option<v1::ExpectedVersion>,
) -> Option<ExpectedVersion> {
    match expected.and_then(|expected| expected.kind) {
        None | Some(Kind::Any(())) => Some(ExpectedVersion::Any),
        Some(Kind::NoStream(())) => Some(ExpectedVersion::NoStream),
        Some(Kind::StreamExists(())) => Some(ExpectedVersion::StreamExists),
        Some(Kind::Exact(exact)) => {
            version(faults, "expected_version.exact", exact).map(ExpectedVersion::Exact)
        }
    }
}

fn event(faults: &mut Faults, sent: v1::NewEvent, entropy: &dyn Entropy) -> Option<Event> {
    let known = faults.0.len();
    let event_id = faults.take(event_id(&sent.event_id, entropy));
    faults.take(event_type(&sent.event_type));
    faults.take(check_text("content_type", &sent.content_type, true));
    let metadata = sent.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    faults.take(check_metadata("metadata", metadata));
    let occurred_at = sent.occurred_at.and_then(|moment| {
        let parsed = timestamp(moment);
        if parsed.is_none() {
            faults.note("occurred_at", "must lie within the years 1677 to 2262");
        }
        parsed
    });
    if faults.0.len() > known {
        return None;
    }
    let mut event = Event {
        event_id: event_id?,
        event_type: sent.event_type,
        schema_version: sent.schema_version,
        content_type: sent.content_type,
        payload: sent.payload,
        metadata: sent.metadata,
        occurred_at,
        recorded_at: Timestamp::EPOCH,
        digest: Digest::from_bytes([0; 32]),
    };
    event.digest = Digest::of(&event);
    Some(event)
}

fn event_id(text: &str, entropy: &dyn Entropy) -> Result<EventId, InvalidValue> {
    if text.is_empty() {
        return Ok(EventId(entropy.uuid()));
    }
    match Uuid::parse_str(text) {
        // All clients that forgot to set an id would share this one.
        Ok(id) if id.is_nil() => Err(InvalidValue::new("event_id", "must not be the nil UUID")),
        Ok(id) => Ok(EventId(id)),
        Err(_) => Err(InvalidValue::new("event_id", "must be a UUID, or empty")),
    }
}

fn event_type(text: &str) -> Result<(), InvalidValue> {
    if text == CloseEvent::EVENT_TYPE {
        return Err(InvalidValue::new("event_type", "is the type of the event that ends a stream"));
    }
    check_text("event_type", text, false)
}

/// The ids of a command's events, for its answer.
pub(crate) fn event_ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| to_event_id(event.event_id)).collect()
}

pub(super) fn to_event_id(id: EventId) -> String {
    let mut buffer = Uuid::encode_buffer();
    id.0.as_hyphenated().encode_lower(&mut buffer).to_owned()
}

pub(crate) fn to_append_response(
    outcome: AppendOutcome,
    event_ids: Vec<String>,
) -> v1::AppendResponse {
    v1::AppendResponse {
        first_version: outcome.first.0,
        last_version: outcome.last.0,
        replay: outcome.replay,
        event_ids,
    }
}

pub(crate) fn list(request: v1::ListObjectsRequest) -> Result<ListCommand, InvalidRequest> {
    let mut faults = Faults::default();
    let given = |text: String| (!text.is_empty()).then_some(text);
    let name = given(request.object_name).and_then(|name| faults.take(ObjectName::new(name)));
    let store = given(request.store).and_then(|store| faults.take(StoreName::new(store)));
    let page_size = page_size(&mut faults, request.page_size);
    let page_token = page_token(&mut faults, request.page_token);
    faults.finish(Some(ListCommand { name, store, page_size, page_token }))
}

pub(crate) fn to_object_response(view: ObjectView) -> v1::GetObjectResponse {
    let info = to_object_info(&view.document);
    let object = v1::ObjectInfo { head_version: to_version(view.head), ..info };
    v1::GetObjectResponse { object: Some(object) }
}

pub(crate) fn to_list_response(page: ListedObjectsPage) -> v1::ListObjectsResponse {
    v1::ListObjectsResponse {
        objects: page.objects.iter().map(to_object_info).collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
    }
}

fn to_object_info(document: &ObjectDocument) -> v1::ObjectInfo {
    let running = document.running_migration.as_ref();
    v1::ObjectInfo {
        object: Some(to_object(document.object.clone())),
        head_version: None,
        chain: to_chain(document),
        running_migration: running.map(|it| it.migration.to_string()).unwrap_or_default(),
        created_at: Some(to_timestamp(document.created_at)),
    }
}
