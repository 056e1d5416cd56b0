//! The proof from the outside: every object is read and held against the ledger.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt as _, stream};

use super::TARGET;
use super::ledger::{Acknowledged, Ledger, ObjectLedger, digest_of};
use crate::cli::connection::Connection;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::verdict::{Effect, Verdict};
use crate::grpc::v1;
use crate::grpc::v1::read_response::Message;

const READERS: usize = 8;

/// What was read and found equal.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) objects: u64,
    pub(super) events: u64,
}

/// Differences end up in the ledger's faults, errors of reading in its client errors.
pub(super) async fn prove(
    session: &Session,
    server: &str,
    ledger: &Ledger,
) -> Result<Proof, Failure> {
    let connection = Connection::to(server, session)?;
    let mut checks = stream::iter(&ledger.objects)
        .map(|object| check(&connection, ledger, object))
        .buffer_unordered(READERS);
    let mut proof = Proof::default();
    while let Some(verified) = checks.next().await {
        let Some(events) = verified else { continue };
        proof.objects += 1;
        proof.events += events;
    }
    Ok(proof)
}

/// The number of events of an object that is exactly as it must be.
async fn check(connection: &Connection, ledger: &Ledger, object: &ObjectLedger) -> Option<u64> {
    let id = &object.object.object_id;
    let mut comparison = Comparison::new(object);
    let history = match read(connection, object, &mut comparison).await {
        Ok(()) => comparison.end(),
        Err(status) => {
            let verdict = Verdict::of(&status, Effect::Reads);
            let text = format!("read order/{id}: {}: {}", verdict.reason, verdict.message);
            ledger.client_errors.add(text);
            return None;
        }
    };
    match history {
        Ok(events) => Some(events),
        Err(faults) => {
            for fault in faults {
                ledger.faults.add(format!("order/{id}: {fault}"));
            }
            None
        }
    }
}

async fn read(
    connection: &Connection,
    object: &ObjectLedger,
    comparison: &mut Comparison,
) -> Result<(), tonic::Status> {
    let request = v1::ReadRequest { object: Some(object.object.clone()), ..Default::default() };
    let mut answers = connection.events().read(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        match answer.message {
            Some(Message::Header(header)) => comparison.header(&header),
            Some(Message::Batch(batch)) => {
                batch.events.into_iter().for_each(|event| comparison.event(event));
            }
            // Only for those who ask for more than a history.
            Some(
                Message::CaughtUp(_)
                | Message::FellBehind(_)
                | Message::Heartbeat(_)
                | Message::Checkpoint(_)
                | Message::CloseEvent(_),
            )
            | None => {}
        }
    }
    Ok(())
}

/// One object's history against what its clients were told.
struct Comparison {
    acknowledged: BTreeMap<u64, Acknowledged>,
    unsettled: HashSet<String>,
    ids: HashSet<String>,
    next_version: u64,
    last_recorded: (i64, i32),
    lives_in: Option<String>,
    faults: Vec<String>,
}

impl Comparison {
    fn new(object: &ObjectLedger) -> Self {
        Self {
            acknowledged: object.take_acknowledged(),
            unsettled: object.unsettled().into_iter().collect(),
            ids: HashSet::new(),
            next_version: 0,
            last_recorded: (i64::MIN, 0),
            lives_in: None,
            faults: Vec::new(),
        }
    }

    fn header(&mut self, header: &v1::ReadHeader) {
        self.lives_in = header.chain.last().map(|active| active.store.clone());
    }

    fn event(&mut self, event: v1::RecordedEvent) {
        let version = event.version;
        if version != self.next_version {
            self.faults.push(format!("version {version} where {} belongs", self.next_version));
        }
        self.next_version = version + 1;
        if !self.ids.insert(event.event_id.clone()) {
            self.faults.push(format!("event {} at version {version} again", event.event_id));
        }
        let recorded = event.recorded_at.map_or((0, 0), |at| (at.seconds, at.nanos));
        if recorded < self.last_recorded {
            self.faults.push(format!("version {version} was recorded before the one before it"));
        }
        self.last_recorded = recorded;
        let event_id = event.event_id.clone();
        match self.acknowledged.remove(&version) {
            Some(sent) if sent == of_recorded(event) => {}
            Some(sent) => self.faults.push(format!(
                "version {version}: event {} was acknowledged, {event_id} with other bytes or \
                 another id is there",
                sent.event_id
            )),
            None if self.unsettled.contains(&event_id) => {}
            None => {
                self.faults.push(format!("version {version}: nobody was told of {event_id}"));
            }
        }
    }

    fn end(mut self) -> Result<u64, Vec<String>> {
        if let Some((version, lost)) = self.acknowledged.first_key_value() {
            self.faults.push(format!(
                "{} acknowledged events are missing, the first is {} of version {version}",
                self.acknowledged.len(),
                lost.event_id
            ));
        }
        if self.lives_in.as_deref() != Some(TARGET) {
            self.faults.push(format!("lives in {:?} and not in {TARGET}", self.lives_in));
        }
        if self.faults.is_empty() { Ok(self.next_version) } else { Err(self.faults) }
    }
}

/// What the client must have sent for this to be there.
fn of_recorded(event: v1::RecordedEvent) -> Acknowledged {
    let sent = v1::NewEvent {
        event_id: event.event_id,
        event_type: event.event_type,
        schema_version: event.schema_version,
        content_type: event.content_type,
        payload: event.payload,
        metadata: event.metadata,
        occurred_at: event.occurred_at,
    };
    Acknowledged { digest: digest_of(&sent), event_id: sent.event_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(index: u64) -> v1::NewEvent {
        v1::NewEvent {
            event_id: format!("e{index}"),
            payload: format!("{index}").into(),
            ..Default::default()
        }
    }

    fn recorded(version: u64) -> v1::RecordedEvent {
        let event = sent(version);
        v1::RecordedEvent {
            event_id: event.event_id,
            payload: event.payload,
            version,
            recorded_at: Some(prost_types::Timestamp { seconds: 5, nanos: 0 }),
            ..Default::default()
        }
    }

    /// Three acknowledged events against the given history.
    fn compared(history: Vec<v1::RecordedEvent>, lives_in: &str) -> Result<u64, Vec<String>> {
        let ledger = Ledger::new(1);
        let object = &ledger.objects[0];
        let answer = v1::AppendResponse { first_version: 0, last_version: 2, ..Default::default() };
        object.acknowledge(0, &[sent(0), sent(1), sent(2)], &answer).unwrap();
        let mut comparison = Comparison::new(object);
        let active = v1::StreamInfo { store: lives_in.into(), ..Default::default() };
        comparison.header(&v1::ReadHeader { chain: vec![active], ..Default::default() });
        history.into_iter().for_each(|event| comparison.event(event));
        comparison.end()
    }

    #[test]
    fn the_same_history_is_proven() {
        let history = (0..3).map(recorded).collect();
        assert_eq!(compared(history, TARGET), Ok(3));
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let whole: Vec<_> = (0..3).map(recorded).collect();
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        let mut doubled = whole.clone();
        doubled.push(v1::RecordedEvent { version: 3, ..recorded(2) });
        let mut changed = whole.clone();
        changed[1].payload = "9".into();
        let mut foreign = whole.clone();
        foreign.push(recorded(3));
        let mut earlier = whole.clone();
        earlier[2].recorded_at = None;
        let damaged = [
            ("lost at the end", whole[..2].to_vec()),
            ("lost in the middle", vec![whole[0].clone(), whole[2].clone()]),
            ("swapped", swapped),
            ("doubled", doubled),
            ("changed", changed),
            ("foreign", foreign),
            ("recorded earlier", earlier),
            ("nothing", Vec::new()),
        ];
        for (damage, history) in damaged {
            assert!(compared(history, TARGET).is_err(), "{damage}");
        }
        assert!(compared(whole, "hot").is_err(), "not moved");
    }
}
