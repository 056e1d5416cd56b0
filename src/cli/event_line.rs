//! An event as a line of JSON: what `read` prints and `import` takes.
//!
//! The payload stands in exactly one of three places, so that nothing is claimed that is not so:
//! `payload` holds JSON with exactly the characters that were stored, `payload_text` holds other
//! UTF-8 text, and `payload_base64` any other bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::values::{moment_text, parse_moment};
use crate::grpc::v1;

/// The members of a line, in their order.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventLine<'a> {
    #[serde(borrow)]
    pub(crate) object_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) object_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    #[serde(borrow)]
    pub(crate) event_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) event_type: Cow<'a, str>,
    #[serde(default = "first_schema")]
    pub(crate) schema_version: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) occurred_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recorded_at: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(borrow, default, deserialize_with = "present")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_text: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_base64: Option<Cow<'a, str>>,
}

const fn first_schema() -> u32 {
    1
}

/// A payload of `null` is a payload.
fn present<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

const JSON: &str = "application/json";

impl<'a> EventLine<'a> {
    /// A line of a recorded event.
    pub(crate) fn of(object: &'a v1::ObjectRef, event: &'a v1::RecordedEvent) -> Self {
        let mut line = Self {
            object_name: Cow::Borrowed(&object.object_name),
            object_id: Cow::Borrowed(&object.object_id),
            version: Some(event.version),
            event_id: Cow::Borrowed(&event.event_id),
            event_type: Cow::Borrowed(&event.event_type),
            schema_version: event.schema_version,
            content_type: Some(Cow::Borrowed(&event.content_type)),
            occurred_at: event.occurred_at.as_ref().map(moment_text),
            recorded_at: event.recorded_at.as_ref().map(moment_text),
            metadata: event.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            ..Self::default()
        };
        line.set_payload(&event.payload, &event.content_type);
        line
    }

    fn set_payload(&mut self, payload: &'a [u8], content_type: &str) {
        match json_as_it_stands(payload) {
            Some(raw) if says_json(content_type) => self.payload = Some(raw),
            Some(_) | None => match std::str::from_utf8(payload) {
                Ok(text) => self.payload_text = Some(Cow::Borrowed(text)),
                Err(_) => self.payload_base64 = Some(BASE64.encode(payload).into()),
            },
        }
    }

    /// The event that a line asks to append.
    pub(crate) fn into_event(self) -> Result<(v1::ObjectRef, v1::NewEvent), String> {
        let (payload, usual_type) = match (self.payload, self.payload_text, self.payload_base64) {
            (Some(raw), None, None) => (Bytes::from(raw.get().to_owned()), JSON),
            (None, Some(text), None) => (Bytes::from(text.into_owned()), "text/plain"),
            (None, None, Some(base64)) => {
                let decoded = BASE64
                    .decode(base64.as_bytes())
                    .map_err(|error| format!("payload_base64: {error}"))?;
                (Bytes::from(decoded), "application/octet-stream")
            }
            (None, None, None) => return Err("payload is missing".into()),
            _ => return Err("payload stands in more than one place".into()),
        };
        if self.event_id.is_empty() {
            return Err("event_id is empty; ids are what makes an import repeatable".into());
        }
        let occurred_at = match self.occurred_at {
            Some(text) => {
                Some(parse_moment(&text).map_err(|problem| format!("occurred_at: {problem}"))?)
            }
            None => None,
        };
        let content_type = self.content_type.unwrap_or(Cow::Borrowed(usual_type)).into_owned();
        let event = v1::NewEvent {
            event_id: self.event_id.into_owned(),
            event_type: self.event_type.into_owned(),
            schema_version: self.schema_version,
            content_type,
            payload,
            metadata: self.metadata.into_iter().collect(),
            occurred_at,
        };
        let object = v1::ObjectRef {
            object_name: self.object_name.into_owned(),
            object_id: self.object_id.into_owned(),
        };
        Ok((object, event))
    }
}

fn says_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.is_empty() || kind.eq_ignore_ascii_case(JSON) || kind.ends_with("+json")
}

/// The payload, if it is one JSON value that fills it and fits on a line.
pub(crate) fn json_as_it_stands(payload: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(payload).ok()?;
    let fills_it = raw.get().len() == payload.len();
    let fits = !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    (fills_it && fits).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(payload: &'static [u8], content_type: &str) -> v1::RecordedEvent {
        v1::RecordedEvent {
            event_id: "e0207dfa-194c-528d-98be-05e261dc4c84".into(),
            event_type: "Placed".into(),
            schema_version: 3,
            content_type: content_type.into(),
            payload: Bytes::from_static(payload),
            metadata: [("k".to_owned(), "v\"".to_owned())].into_iter().collect(),
            occurred_at: Some(prost_types::Timestamp { seconds: -1, nanos: 1 }),
            version: 7,
            recorded_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        }
    }

    fn object() -> v1::ObjectRef {
        v1::ObjectRef { object_name: "order".into(), object_id: "a\"/🦀".into() }
    }

    /// Printed by `read`, taken by `import`.
    fn there_and_back(event: &v1::RecordedEvent) -> (String, v1::NewEvent) {
        let object = object();
        let text = serde_json::to_string(&EventLine::of(&object, event)).unwrap();
        let line: EventLine<'_> = serde_json::from_str(&text).unwrap();
        let (back, event) = line.into_event().unwrap();
        assert_eq!(back, object);
        (text, event)
    }

    #[test]
    fn json_keeps_its_very_characters() {
        let payload = br#"{ "a" : 1.0e2,"a":"\u00e4\/", "b":[ ] }"#;
        let event = recorded(payload, "application/json");
        let (text, back) = there_and_back(&event);
        assert!(
            text.ends_with(&format!(",\"payload\":{}}}", std::str::from_utf8(payload).unwrap()))
        );
        assert_eq!(&back.payload[..], payload);
        assert_eq!(back.content_type, "application/json");
        assert_eq!(back.schema_version, 3);
        assert_eq!(back.occurred_at, event.occurred_at);
        assert_eq!(back.event_id, event.event_id);
    }

    #[test]
    fn every_payload_comes_back_byte_for_byte() {
        let payloads: [&'static [u8]; 9] = [
            b"",
            b" {}",
            b"{}\n",
            b"{\r\n}",
            b"{\"a\":",
            b"null",
            b"plain \"text\"\n\x00",
            b"\xff\xfe",
            b"\xef\xbb\xbf{}",
        ];
        for content_type in ["", "application/json", "text/plain", "application/x+json; q=1"] {
            for payload in payloads {
                let (text, back) = there_and_back(&recorded(payload, content_type));
                assert_eq!(&back.payload[..], payload, "{text}");
                assert_eq!(back.content_type, content_type);
                assert!(!text.contains('\n'), "{text}");
            }
        }
    }

    #[test]
    fn only_json_is_shown_as_json() {
        let shown = |payload, content_type| {
            let event = recorded(payload, content_type);
            let object = object();
            let line = EventLine::of(&object, &event);
            (line.payload.is_some(), line.payload_text.is_some(), line.payload_base64.is_some())
        };
        assert_eq!(shown(b"42", "application/json"), (true, false, false));
        assert_eq!(shown(b"42", "text/plain"), (false, true, false));
        assert_eq!(shown(b"{", "application/json"), (false, true, false));
        assert_eq!(shown(b"\xff", "application/json"), (false, false, true));
    }

    #[test]
    fn lines_that_say_too_little_or_too_much_are_refused() {
        let head = r#""object_name":"a","object_id":"1","event_type":"T""#;
        let id = r#""event_id":"e0207dfa-194c-528d-98be-05e261dc4c84""#;
        let bad = [
            format!("{{{head},{id}}}"),
            format!("{{{head},\"payload\":1}}"),
            format!("{{{head},\"event_id\":\"\",\"payload\":1}}"),
            format!("{{{head},{id},\"payload\":1,\"payload_text\":\"1\"}}"),
            format!("{{{head},{id},\"payload_base64\":\"*\"}}"),
            format!("{{{head},{id},\"payload\":1,\"occurred_at\":\"soon\"}}"),
            format!("{{{head},{id},\"payload\":1,\"surprise\":1}}"),
            format!("{{{head},{id},\"payload\":1,\"payload\":2}}"),
            format!("{{{head},{id},\"payload\":{{}}"),
        ];
        for text in bad {
            let taken = serde_json::from_str::<EventLine<'_>>(&text)
                .map_err(|error| error.to_string())
                .and_then(EventLine::into_event);
            assert!(taken.is_err(), "{text}");
        }
    }
}
