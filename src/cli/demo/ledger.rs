//! What the clients know: every acknowledged event with its place and a digest of its bytes.
//!
//! Kept by the clients alone. The server never sees it, so that the proof is one from the outside.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::grpc::v1;

/// Errors and faults that are told one by one; the rest are counted.
const TOLD_MAX: usize = 20;

/// All objects of the demo and what was seen so far.
pub(super) struct Ledger {
    pub(super) objects: Vec<ObjectLedger>,
    /// Indexes of the objects that move now.
    moving: Mutex<Vec<usize>>,
    stop: AtomicBool,
    pub(super) appends: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) redirected: AtomicU64,
    /// The longest append so far, in microseconds.
    pub(super) longest_append_us: AtomicU64,
    pub(super) client_errors: Told,
    pub(super) faults: Told,
}

/// One object.
pub(super) struct ObjectLedger {
    pub(super) object: v1::ObjectRef,
    acknowledged: Mutex<BTreeMap<u64, Acknowledged>>,
    /// One above the highest version that was acknowledged.
    next_version: AtomicU64,
    is_moving: AtomicBool,
    /// Events whose append never got an answer: they may be there or not.
    unsettled: Mutex<Vec<String>>,
}

/// An event as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) event_id: String,
    pub(super) digest: [u8; 32],
}

/// Things that should not happen: how many, and the first of them.
#[derive(Default)]
pub(super) struct Told {
    count: AtomicU64,
    first: Mutex<Vec<String>>,
}

impl Told {
    pub(super) fn add(&self, text: String) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().expect("no holder panics");
        if first.len() < TOLD_MAX {
            first.push(text);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn first(&self) -> Vec<String> {
        self.first.lock().expect("no holder panics").clone()
    }
}

impl Ledger {
    pub(super) fn new(objects: usize) -> Self {
        let width = (objects - 1).to_string().len();
        let objects = (0..objects).map(|index| ObjectLedger::new(format!("demo-{index:0width$}")));
        Self {
            objects: objects.collect(),
            moving: Mutex::default(),
            stop: AtomicBool::new(false),
            appends: AtomicU64::new(0),
            events: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            redirected: AtomicU64::new(0),
            longest_append_us: AtomicU64::new(0),
            client_errors: Told::default(),
            faults: Told::default(),
        }
    }

    pub(super) fn tell_writers_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn writers_should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn begin_moving(&self, index: usize) {
        self.objects[index].is_moving.store(true, Ordering::Relaxed);
        self.moving.lock().expect("no holder panics").push(index);
    }

    pub(super) fn end_moving(&self, index: usize) {
        self.objects[index].is_moving.store(false, Ordering::Relaxed);
        self.moving.lock().expect("no holder panics").retain(|moving| *moving != index);
    }

    /// The `choice`-th of the objects that move now.
    pub(super) fn some_moving(&self, choice: u64) -> Option<usize> {
        let moving = self.moving.lock().expect("no holder panics");
        let index = choice.checked_rem(moving.len() as u64)?;
        Some(moving[usize::try_from(index).expect("below a length")])
    }
}

impl ObjectLedger {
    fn new(id: String) -> Self {
        Self {
            object: v1::ObjectRef { object_name: "order".into(), object_id: id },
            acknowledged: Mutex::default(),
            next_version: AtomicU64::new(0),
            is_moving: AtomicBool::new(false),
            unsettled: Mutex::default(),
        }
    }

    pub(super) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Relaxed)
    }

    /// Whether the object is there, or its first client gave up.
    pub(super) fn was_written(&self) -> bool {
        self.floor() > 0 || !self.unsettled().is_empty()
    }

    /// Whatever is acknowledged from now on must lie at this version or above.
    pub(super) fn floor(&self) -> u64 {
        self.next_version.load(Ordering::SeqCst)
    }

    /// Notes an answer. `floor` was asked for before the append was sent.
    pub(super) fn acknowledge(
        &self,
        floor: u64,
        events: &[v1::NewEvent],
        answer: &v1::AppendResponse,
    ) -> Result<(), String> {
        let (first, last) = (answer.first_version, answer.last_version);
        if last.checked_sub(first).map(|more| more + 1) != Some(events.len() as u64) {
            return Err(format!("{} events at versions {first} to {last}", events.len()));
        }
        if first < floor {
            return Err(format!("version {first} after {floor} versions were acknowledged"));
        }
        self.next_version.fetch_max(last + 1, Ordering::SeqCst);
        let mut acknowledged = self.acknowledged.lock().expect("no holder panics");
        for (version, event) in (first..).zip(events) {
            let entry = Acknowledged { event_id: event.event_id.clone(), digest: digest_of(event) };
            if acknowledged.insert(version, entry).is_some() {
                return Err(format!("version {version} was acknowledged twice"));
            }
        }
        Ok(())
    }

    pub(super) fn leave_unsettled(&self, events: &[v1::NewEvent]) {
        let ids = events.iter().map(|event| event.event_id.clone());
        self.unsettled.lock().expect("no holder panics").extend(ids);
    }

    pub(super) fn unsettled(&self) -> Vec<String> {
        self.unsettled.lock().expect("no holder panics").clone()
    }

    pub(super) fn take_acknowledged(&self) -> BTreeMap<u64, Acknowledged> {
        std::mem::take(&mut *self.acknowledged.lock().expect("no holder panics"))
    }
}

/// Over every field that a client sends.
pub(super) fn digest_of(event: &v1::NewEvent) -> [u8; 32] {
    Sha256::digest(event.encode_to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize) -> Vec<v1::NewEvent> {
        let event = |index| v1::NewEvent { event_id: format!("{index}"), ..Default::default() };
        (0..count).map(event).collect()
    }

    fn answer(first_version: u64, last_version: u64) -> v1::AppendResponse {
        v1::AppendResponse { first_version, last_version, ..Default::default() }
    }

    #[test]
    fn answers_that_contradict_each_other_are_noticed() {
        let ledger = ObjectLedger::new("1".into());
        ledger.acknowledge(ledger.floor(), &events(2), &answer(0, 1)).unwrap();
        let behind = ledger.acknowledge(ledger.floor(), &events(1), &answer(1, 1));
        assert!(behind.unwrap_err().contains("after 2 versions"));
        let twice = ledger.acknowledge(0, &events(1), &answer(1, 1));
        assert!(twice.unwrap_err().contains("twice"));
        let short = ledger.acknowledge(0, &events(2), &answer(5, 5));
        assert!(short.unwrap_err().contains("2 events"));
    }

    #[test]
    fn a_digest_covers_every_field() {
        let plain = v1::NewEvent::default();
        let changed = [
            v1::NewEvent { event_id: "a".into(), ..plain.clone() },
            v1::NewEvent { event_type: "a".into(), ..plain.clone() },
            v1::NewEvent { schema_version: 1, ..plain.clone() },
            v1::NewEvent { content_type: "a".into(), ..plain.clone() },
            v1::NewEvent { payload: "a".into(), ..plain.clone() },
            v1::NewEvent { occurred_at: Some(prost_types::Timestamp::default()), ..plain.clone() },
            v1::NewEvent {
                metadata: [("a".to_owned(), "b".to_owned())].into_iter().collect(),
                ..plain.clone()
            },
        ];
        for event in changed {
            assert_ne!(digest_of(&event), digest_of(&plain), "{event:?}");
        }
    }
}
