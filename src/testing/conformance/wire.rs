//! Our values as the messages of the interface, and back.

use tonic::Status;
use tonic_types::StatusExt;

use super::client::Refusal;
use crate::domain::{
    Digest, Event, EventId, ExpectedVersion, Head, ObjectKey, Reason, Timestamp, Version,
};
use crate::grpc::v1;
use crate::grpc::v1::expected_version::Kind;

pub(in crate::testing) fn object_ref(object: &ObjectKey) -> v1::ObjectRef {
    v1::ObjectRef { object_name: object.name.to_string(), object_id: object.id.to_string() }
}

pub(in crate::testing) fn expectation(expected: ExpectedVersion) -> v1::ExpectedVersion {
    let kind = match expected {
        ExpectedVersion::Any => Kind::Any(()),
        ExpectedVersion::NoStream => Kind::NoStream(()),
        ExpectedVersion::StreamExists => Kind::StreamExists(()),
        ExpectedVersion::Exact(version) => Kind::Exact(version.0),
    };
    v1::ExpectedVersion { kind: Some(kind) }
}

pub(in crate::testing) fn wire_time(moment: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = moment.parts();
    prost_types::Timestamp { seconds, nanos }
}

pub(in crate::testing) fn new_event(event: Event) -> v1::NewEvent {
    v1::NewEvent {
        event_id: event.event_id.to_string(),
        event_type: event.event_type,
        schema_version: event.schema_version,
        content_type: event.content_type,
        payload: event.payload,
        metadata: event.metadata.into_iter().collect(),
        occurred_at: event.occurred_at.map(wire_time),
    }
}

pub(in crate::testing) fn recorded(event: v1::RecordedEvent) -> (Version, Event) {
    let time = |wire: prost_types::Timestamp| {
        Timestamp::from_parts(wire.seconds, wire.nanos).expect("times come back in reach")
    };
    let event_id = event.event_id.parse().expect("ids come back as UUIDs");
    let version = Version(event.version);
    let event = Event {
        event_id: EventId(event_id),
        event_type: event.event_type,
        schema_version: event.schema_version,
        content_type: event.content_type,
        payload: event.payload,
        metadata: event.metadata.into_iter().collect(),
        occurred_at: event.occurred_at.map(time),
        recorded_at: time(event.recorded_at.expect("every event has it")),
        digest: Digest::from_bytes([0; 32]),
    };
    (version, event)
}

pub(in crate::testing) fn refusal(status: Status) -> Refusal {
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("an error without ErrorInfo: {status:?}"));
    let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == info.reason);
    let reason = reason.unwrap_or_else(|| panic!("an unknown reason: {}", info.reason));
    let actual = info.metadata.get("actual").map(|actual| match actual.parse() {
        Ok(version) => Head::at(Version(version)),
        Err(_) => Head::NONE,
    });
    Refusal { reason, actual, detail: status.message().to_owned() }
}
