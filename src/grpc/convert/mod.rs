//! Messages into our own values, once, and back. Every fault of a request is found and named by
//! the path of its field.
//!
//! Reading order: this file (what all requests share), [`event_store`], [`session`], [`read`],
//! [`capabilities`], [`migration`].

pub(crate) mod capabilities;
pub(crate) mod event_store;
pub(crate) mod migration;
pub(crate) mod read;
pub(crate) mod session;

use super::status::InvalidRequest;
use super::v1;
use crate::domain::{
    Head, InvalidValue, ObjectDocument, ObjectId, ObjectKey, ObjectName, StreamAddress, StreamRef,
    Timestamp, Version,
};

/// The greatest version that a request may name. No history gets there, and counting on from it
/// stays within 64 bits.
const VERSION_MAX: u64 = i64::MAX as u64;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: u32 = 1_000;
const PAGE_TOKEN_BYTES_MAX: usize = 4_096;

/// The faults found so far in one request.
#[derive(Default)]
struct Faults(Vec<InvalidValue>);

impl Faults {
    fn note(&mut self, field: &str, problem: impl Into<String>) {
        self.0.push(InvalidValue::new(field, problem));
    }

    /// The value, or its fault noted.
    fn take<T>(&mut self, parsed: Result<T, InvalidValue>) -> Option<T> {
        parsed.map_err(|fault| self.0.push(fault)).ok()
    }

    /// The value if there is one and nothing was wrong.
    fn finish<T>(self, value: Option<T>) -> Result<T, InvalidRequest> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => Err(InvalidRequest(self.0)),
        }
    }
}

fn object(faults: &mut Faults, object: Option<v1::ObjectRef>) -> Option<ObjectKey> {
    let Some(object) = object else {
        faults.note("object", "must be given");
        return None;
    };
    let within = |fault: InvalidValue| fault.within("object");
    let name = faults.take(ObjectName::new(object.object_name).map_err(within));
    let id = faults.take(ObjectId::new(object.object_id).map_err(within));
    Some(ObjectKey { name: name?, id: id? })
}

pub(crate) fn object_key(object: Option<v1::ObjectRef>) -> Result<ObjectKey, InvalidRequest> {
    let mut faults = Faults::default();
    let key = self::object(&mut faults, object);
    faults.finish(key)
}

fn version(faults: &mut Faults, field: &str, version: u64) -> Option<Version> {
    if version > VERSION_MAX {
        faults.note(field, format!("must be at most {VERSION_MAX}"));
        return None;
    }
    Some(Version(version))
}

fn page_size(faults: &mut Faults, size: u32) -> usize {
    if size > PAGE_SIZE_MAX {
        faults.note("page_size", format!("must be at most {PAGE_SIZE_MAX}, is {size}"));
    }
    if size == 0 { PAGE_SIZE_DEFAULT } else { size as usize }
}

fn page_token(faults: &mut Faults, token: String) -> Option<String> {
    if token.len() > PAGE_TOKEN_BYTES_MAX {
        faults.note("page_token", "must be one that a page of the same listing gave");
    }
    (!token.is_empty()).then_some(token)
}

fn timestamp(moment: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::from_parts(moment.seconds, moment.nanos)
}

fn to_timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = moment.parts();
    prost_types::Timestamp { seconds, nanos }
}

fn to_object(object: ObjectKey) -> v1::ObjectRef {
    v1::ObjectRef { object_name: object.name.into(), object_id: object.id.into() }
}

fn to_version(head: Head) -> Option<u64> {
    head.version().map(|version| version.0)
}

fn to_stream(stream: &StreamRef) -> v1::StreamInfo {
    let StreamRef { address: StreamAddress { store, stream_id }, base, made_by } = stream;
    v1::StreamInfo {
        store: store.to_string(),
        stream_id: stream_id.to_string(),
        base_version: base.0,
        last_version: None,
        made_by: made_by.map(|migration| migration.to_string()).unwrap_or_default(),
        removed: false,
        closed_at: None,
    }
}

/// The streams of an object, oldest first, the active one last.
fn to_chain(document: &ObjectDocument) -> Vec<v1::StreamInfo> {
    let terminated = document.terminated_streams.iter().map(|terminated| v1::StreamInfo {
        last_version: to_version(terminated.head),
        removed: terminated.removed,
        closed_at: Some(to_timestamp(terminated.closed_at)),
        ..to_stream(&terminated.stream)
    });
    terminated.chain([to_stream(&document.active)]).collect()
}
