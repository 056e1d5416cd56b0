//! What the clients of one object were told, held against what is there.

use std::collections::BTreeMap;
use std::sync::Mutex;

use streamgate::grpc::v1;
use streamgate::grpc::v1::expected_version::Kind as Expected;
use streamgate::runtime::Entropy;

use crate::client::{History, assert_same};

/// Whether other writers write the same object.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Company {
    Alone,
    Others,
}

/// One object, and every event of it that was acknowledged.
pub(crate) struct Ledger {
    pub(crate) object: v1::ObjectRef,
    acknowledged: Mutex<BTreeMap<u64, v1::NewEvent>>,
}

impl Ledger {
    pub(crate) fn new(id: impl ToString) -> Self {
        let object = v1::ObjectRef { object_name: "order".into(), object_id: id.to_string() };
        Self { object, acknowledged: Mutex::default() }
    }

    /// The version that whatever is sent from now on must at least get.
    pub(crate) fn floor(&self) -> u64 {
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.last_key_value().map_or(0, |(version, _)| version + 1)
    }

    /// What the next append may expect. Whoever is alone knows where it goes, and a repetition of
    /// it must be told the same.
    pub(crate) fn expected(&self, company: Company) -> Option<Expected> {
        match (company, self.floor().checked_sub(1)) {
            (Company::Others, _) => None,
            (Company::Alone, None) => Some(Expected::NoStream(())),
            (Company::Alone, Some(head)) => Some(Expected::Exact(head)),
        }
    }

    /// Notes the answer to an append; `floor` is from before it was sent.
    pub(crate) fn acknowledge(
        &self,
        floor: u64,
        events: &[v1::NewEvent],
        answer: &v1::AppendResponse,
    ) {
        let object = &self.object;
        let count = answer.last_version + 1 - answer.first_version;
        assert_eq!(count, events.len() as u64, "{object:?}: {answer:?}");
        assert!(answer.first_version >= floor, "{object:?}: {answer:?} below {floor}");
        let mut acknowledged = self.acknowledged.lock().unwrap();
        for (version, event) in (answer.first_version..).zip(events) {
            let before = acknowledged.insert(version, event.clone());
            assert!(before.is_none(), "{object:?}: {version} was acknowledged twice");
        }
    }

    /// Every version once, as it was acknowledged.
    fn events(&self) -> Vec<v1::NewEvent> {
        let acknowledged = self.acknowledged.lock().unwrap();
        let contiguous = acknowledged.keys().copied().eq(0..acknowledged.len() as u64);
        assert!(contiguous, "{:?}: versions were given away and not acknowledged", self.object);
        acknowledged.values().cloned().collect()
    }

    /// Asserts that a history is what was acknowledged, once and in order. No append may be on its
    /// way.
    #[track_caller]
    pub(crate) fn check(&self, history: &History) {
        assert_same(&self.object, history, &self.events());
    }
}

/// An event of some bytes that nobody could guess.
pub(crate) fn event(entropy: &dyn Entropy) -> v1::NewEvent {
    let words = (0..entropy.below(64)).flat_map(|_| entropy.next_u64().to_le_bytes());
    v1::NewEvent {
        event_id: entropy.uuid().to_string(),
        event_type: "Tortured".into(),
        payload: words.collect::<Vec<u8>>().into(),
        ..Default::default()
    }
}
