//! Hints as one message: who tells, a space, and the hints as JSON. A kind of hint that a newer
//! release tells is passed over.

use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::lock::Hint;

/// Who tells: one process, which does not listen to itself.
pub(super) struct Sender(String);

impl Sender {
    pub(super) fn new(id: Uuid) -> Self {
        Self(id.simple().to_string())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Known(Hint),
    Unknown(IgnoredAny),
}

pub(super) fn encode(sender: &Sender, hints: &[Hint]) -> String {
    let hints = serde_json::to_string(hints).expect("hints have string keys and no failing parts");
    format!("{} {hints}", sender.0)
}

/// What somebody else told; none for our own words and for what is none of ours.
pub(super) fn decode(listener: &Sender, message: &[u8]) -> Option<Vec<Hint>> {
    let (sender, hints) = std::str::from_utf8(message).ok()?.split_once(' ')?;
    if sender == listener.0 {
        return None;
    }
    let told: Vec<Told> = serde_json::from_str(hints).ok()?;
    let known = told.into_iter().filter_map(|told| match told {
        Told::Known(hint) => Some(hint),
        Told::Unknown(IgnoredAny) => None,
    });
    Some(known.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::close_event::MigrationKind;
    use crate::domain::{
        Checksum, CloseEvent, Continuation, Head, MigrationId, ObjectDocument, ObjectKey,
        StoreName, StreamAddress, StreamId, StreamRef, Timestamp, Version,
    };
    use crate::lock::PauseId;

    fn one_of_each() -> Vec<Hint> {
        let object = ObjectKey::new("order", "a \"b\"/é 1").unwrap();
        let stream = StreamAddress {
            store: StoreName::new("hot").unwrap(),
            stream_id: StreamId::new("order/1/0000000000").unwrap(),
        };
        let (pause, migration) = (PauseId(Uuid::nil()), MigrationId(Uuid::nil()));
        let mut document =
            ObjectDocument::new(object.clone(), stream.store.clone(), Timestamp::EPOCH);
        let close = CloseEvent {
            migration,
            kind: MigrationKind::Copy,
            continuation: Some(Continuation(StreamRef {
                address: stream.clone(),
                base: Version(0),
                made_by: Some(migration),
            })),
            head: Head::before(Version(3)),
            checksum: Some(Checksum::START),
            closed_at: Timestamp::EPOCH,
        };
        let source = document.active.address.clone();
        document.reroute(&source, &close).unwrap();
        vec![
            Hint::RouteChanged { object: object.clone(), revision: 7, document: None },
            Hint::rerouted(&document),
            Hint::StreamChanged { stream },
            Hint::paused(object.clone(), pause, Duration::from_millis(500)),
            Hint::Resumed { object, pause },
            Hint::MigrationWanted { migration },
            Hint::OrdersChanged { migration },
        ]
    }

    #[test]
    fn others_hear_what_was_told_and_the_teller_does_not() {
        let (one, other) = (Sender::new(Uuid::nil()), Sender::new(Uuid::max()));
        let message = encode(&one, &one_of_each());
        assert_eq!(decode(&other, message.as_bytes()), Some(one_of_each()));
        assert_eq!(decode(&one, message.as_bytes()), None);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let listener = Sender::new(Uuid::nil());
        let nil = Uuid::nil();
        let newer = format!(
            r#"x [{{"hint":"to_come","what":[1]}},
                  {{"hint":"orders_changed","migration":"{nil}","more":1}}]"#
        );
        let orders = Hint::OrdersChanged { migration: MigrationId(Uuid::nil()) };
        assert_eq!(decode(&listener, newer.as_bytes()), Some(vec![orders]));
        for broken in [&b""[..], b"x", b"x {", b"\xff \xff", b"x 1"] {
            assert_eq!(decode(&listener, broken), None);
        }
    }
}
