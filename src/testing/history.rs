//! What clients were told, held against what is there: acknowledged, refused and unknown appends.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::{Digest, Event, EventId, ObjectKey, Version};
use crate::proxy::{AppendOutcome, ProxyError};

/// What the clients of a test were told about their appends.
#[derive(Default)]
pub struct History {
    objects: BTreeMap<ObjectKey, Told>,
}

#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<Version, (EventId, Digest)>,
    refused: HashSet<EventId>,
    unknown: HashMap<EventId, Digest>,
}

impl History {
    /// Notes the answer to an append of `events`.
    pub fn told(
        &mut self,
        object: &ObjectKey,
        events: &[Event],
        answer: &Result<AppendOutcome, ProxyError>,
    ) {
        let told = self.objects.entry(object.clone()).or_default();
        match answer {
            Ok(outcome) => {
                assert_eq!(outcome.first.plus(events.len() as u64 - 1), outcome.last);
                for (offset, event) in (0..).zip(events) {
                    let version = outcome.first.plus(offset);
                    let before = told.acknowledged.insert(version, (event.event_id, event.digest));
                    let same = before.is_none_or(|(id, _)| id == event.event_id);
                    assert!(same, "{object}: version {version} was acknowledged to two events");
                    told.unknown.remove(&event.event_id);
                }
            }
            Err(ProxyError::OutcomeUnknown { .. }) => {
                told.unknown.extend(events.iter().map(|event| (event.event_id, event.digest)));
            }
            Err(_) => {
                // Refused for good, unless an earlier try of the same events is still unknown, or
                // was acknowledged: then only this repetition was not done.
                let acknowledged: HashSet<_> = told.acknowledged.values().map(|it| it.0).collect();
                let ids = events.iter().map(|event| event.event_id);
                let open =
                    |id: &EventId| told.unknown.contains_key(id) || acknowledged.contains(id);
                let certain: Vec<_> = ids.filter(|id| !open(id)).collect();
                told.refused.extend(certain);
            }
        }
    }

    pub fn acknowledged(&self, object: &ObjectKey) -> usize {
        self.objects.get(object).map_or(0, |told| told.acknowledged.len())
    }

    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    /// Holds a whole history, read from version 0, against what was told.
    ///
    /// # Panics
    ///
    /// When something acknowledged is missing, elsewhere, changed or twice, when something refused
    /// is there, or when something is there that nobody sent.
    pub fn check(&self, object: &ObjectKey, read: &[Event]) {
        let nothing = Told::default();
        let told = self.objects.get(object).unwrap_or(&nothing);
        for (version, (id, digest)) in &told.acknowledged {
            let place = usize::try_from(version.0).expect("tests are small");
            let there = read.get(place);
            let there = there.unwrap_or_else(|| {
                panic!("{object}: acknowledged {id} at {version} is not there; {} are", read.len())
            });
            assert_eq!(there.event_id, *id, "{object}: another event stands at {version}");
            assert_eq!(Digest::of(there), *digest, "{object}: {id} was changed");
        }
        let mut seen = HashSet::new();
        let mut recorded_at = None;
        for (place, event) in read.iter().enumerate() {
            let id = event.event_id;
            assert!(seen.insert(id), "{object}: {id} is there twice");
            assert!(!told.refused.contains(&id), "{object}: refused {id} is at {place}");
            let version = Version(place as u64);
            let known = told.unknown.contains_key(&id) || told.acknowledged.contains_key(&version);
            assert!(known, "{object}: nobody sent {id} at {place}");
            assert!(recorded_at <= Some(event.recorded_at), "{object}: time falls at {place}");
            recorded_at = Some(event.recorded_at);
        }
    }
}
