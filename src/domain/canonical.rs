//! The one canonical form of an event: what digests and checksums are taken of, and what the
//! embedded store keeps. Fields in the order of the interface, lengths before contents, metadata
//! sorted by key, times as nanoseconds. `docs/decisions/0002-stored-formats.md` fixes it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Digest, Event, EventId, Timestamp};

/// Bytes that are not the canonical form of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event in canonical form: {0}")]
pub struct NotCanonical(&'static str);

/// Appends what the client sent: everything but `recorded_at` and the digest.
pub fn write_sent(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(event.event_id.as_bytes());
    write_bytes(event.event_type.as_bytes(), out);
    out.extend_from_slice(&event.schema_version.to_be_bytes());
    write_bytes(event.content_type.as_bytes(), out);
    write_bytes(&event.payload, out);
    out.extend_from_slice(&length(event.metadata.len()).to_be_bytes());
    for (key, value) in &event.metadata {
        write_bytes(key.as_bytes(), out);
        write_bytes(value.as_bytes(), out);
    }
    match event.occurred_at {
        None => out.push(0),
        Some(moment) => {
            out.push(1);
            out.extend_from_slice(&moment.nanos().to_be_bytes());
        }
    }
}

/// Appends the whole stored event.
pub fn write_event(event: &Event, out: &mut Vec<u8>) {
    write_sent(event, out);
    out.extend_from_slice(&event.recorded_at.nanos().to_be_bytes());
    out.extend_from_slice(event.digest.as_bytes());
}

/// An upper bound of the bytes that [`write_event`] appends.
pub fn size_hint(event: &Event) -> usize {
    event.size() + 8 * event.metadata.len() + 96
}

/// Reads back exactly what [`write_event`] wrote; the payload shares the memory of `bytes`.
pub fn read_event(bytes: &Bytes) -> Result<Event, NotCanonical> {
    let mut rest = Reader { bytes, at: 0 };
    let event_id = EventId::from_bytes(rest.array()?);
    let event_type = rest.text()?;
    let schema_version = u32::from_be_bytes(rest.array()?);
    let content_type = rest.text()?;
    let payload = rest.field()?;
    let entries = u32::from_be_bytes(rest.array()?);
    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let key = rest.text()?;
        metadata.insert(key, rest.text()?);
    }
    let occurred_at = match rest.array::<1>()? {
        [0] => None,
        [1] => Some(Timestamp::from_nanos(i64::from_be_bytes(rest.array()?))),
        _ => return Err(NotCanonical("unknown mark before occurred_at")),
    };
    let recorded_at = Timestamp::from_nanos(i64::from_be_bytes(rest.array()?));
    let digest = Digest::from_bytes(rest.array()?);
    if rest.at != bytes.len() {
        return Err(NotCanonical("bytes after the end"));
    }
    Ok(Event {
        event_id,
        event_type,
        schema_version,
        content_type,
        payload,
        metadata,
        occurred_at,
        recorded_at,
        digest,
    })
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("limits keep every field far below 4 GiB")
}

fn write_bytes(field: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(field.len()).to_be_bytes());
    out.extend_from_slice(field);
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<std::ops::Range<usize>, NotCanonical> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(NotCanonical("ends early"))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotCanonical> {
        let range = self.take(N)?;
        Ok(self.bytes[range].try_into().expect("the range has N bytes"))
    }

    fn field(&mut self) -> Result<Bytes, NotCanonical> {
        let count = u32::from_be_bytes(self.array()?);
        let range = self.take(count as usize)?;
        Ok(self.bytes.slice(range))
    }

    fn text(&mut self) -> Result<String, NotCanonical> {
        let count = u32::from_be_bytes(self.array()?);
        let range = self.take(count as usize)?;
        let text = std::str::from_utf8(&self.bytes[range]);
        text.map(str::to_owned).map_err(|_| NotCanonical("text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn sample() -> Event {
        Event {
            event_id: EventId(Uuid::from_u128(7)),
            event_type: "Shipped".into(),
            schema_version: 3,
            content_type: "application/json".into(),
            payload: Bytes::from_static(b"{\"a\": 1}"),
            metadata: [("b".into(), "2".into()), ("a".into(), String::new())].into(),
            occurred_at: Some(Timestamp::from_nanos(-5)),
            recorded_at: Timestamp::from_nanos(i64::MAX),
            digest: Digest::from_bytes([9; 32]),
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        for event in [sample(), Event { occurred_at: None, ..sample() }] {
            let mut bytes = Vec::new();
            write_event(&event, &mut bytes);
            assert!(bytes.len() <= size_hint(&event));
            assert_eq!(read_event(&bytes.into()), Ok(event));
        }
    }

    #[test]
    fn no_prefix_and_no_extension_is_an_event() {
        let mut bytes = Vec::new();
        write_event(&sample(), &mut bytes);
        for end in 0..bytes.len() {
            assert!(read_event(&Bytes::copy_from_slice(&bytes[..end])).is_err());
        }
        bytes.push(0);
        assert!(read_event(&bytes.into()).is_err());
    }
}
