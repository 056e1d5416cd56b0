//! The migrations that this process leaves to others for a while, because it is cut off from a
//! store that they need.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::domain::MigrationId;
use crate::runtime::Entropy;

/// Doublings of the wait, at most: a store that comes back is tried again soon enough.
const DOUBLINGS_MAX: u32 = 2;
/// Leases after the end of a wait for which it is remembered how many there were.
const REMEMBERED_LEASES: u32 = 16;

/// How often in a row, and until when.
#[derive(Clone, Copy)]
struct Left {
    times: u32,
    until: Duration,
}

/// Nobody waits here: what is left is found again by a scan.
pub struct LeftToOthers {
    lease_ttl: Duration,
    left: Mutex<HashMap<MigrationId, Left>>,
}

impl LeftToOthers {
    pub fn new(lease_ttl: Duration) -> Self {
        Self { lease_ttl, left: Mutex::default() }
    }

    /// How often in a row this process was cut off from a store of this migration.
    pub fn times(&self, id: MigrationId) -> u32 {
        self.left.lock().expect("no holder panics").get(&id).map_or(0, |left| left.times)
    }

    /// Whether others shall have their turn first.
    pub fn is_left(&self, id: MigrationId, now: Duration) -> bool {
        let left = self.left.lock().expect("no holder panics");
        left.get(&id).is_some_and(|left| now < left.until)
    }

    /// Leaves it for a lease, so that every other process has looked for it meanwhile; for twice
    /// as long the next time, up to four leases; and for up to half as long again, so that
    /// processes that are all cut off do not come back together. Answers for how long.
    pub fn leave(&self, id: MigrationId, now: Duration, entropy: &dyn Entropy) -> Duration {
        let mut all = self.left.lock().expect("no holder panics");
        let remembered = self.lease_ttl * REMEMBERED_LEASES;
        all.retain(|_, left| now < left.until + remembered);
        let times = all.get(&id).map_or(0, |left| left.times);
        let wait = self.lease_ttl * (1 << times.min(DOUBLINGS_MAX));
        let spread = u64::try_from((wait / 2).as_micros()).unwrap_or(u64::MAX);
        let wait = wait + Duration::from_micros(entropy.below(spread.max(1)));
        all.insert(id, Left { times: times.saturating_add(1), until: now + wait });
        wait
    }

    /// It went on here.
    pub fn forget(&self, id: MigrationId) {
        self.left.lock().expect("no holder panics").remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::entropy::SeededEntropy;
    use crate::testing::builders::migration;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn it_is_left_for_longer_each_time_up_to_a_bound() {
        let (left, entropy) = (LeftToOthers::new(LEASE), SeededEntropy::new(1));
        let (id, mut now) = (migration(1), Duration::ZERO);
        for (times, leases) in [(1, 1), (2, 2), (3, 4), (4, 4)] {
            let wait = left.leave(id, now, &entropy);
            assert!(wait >= LEASE * leases && wait < LEASE * leases * 3 / 2, "{wait:?}");
            assert_eq!(left.times(id), times);
            assert!(left.is_left(id, now + wait - Duration::from_micros(1)));
            now += wait;
            assert!(!left.is_left(id, now));
        }
        left.forget(id);
        assert_eq!(left.times(id), 0);
    }

    #[test]
    fn what_others_finished_is_forgotten_after_a_while() {
        let (left, entropy) = (LeftToOthers::new(LEASE), SeededEntropy::new(1));
        left.leave(migration(1), Duration::ZERO, &entropy);
        left.leave(migration(2), LEASE * 40, &entropy);
        assert_eq!((left.times(migration(1)), left.times(migration(2))), (0, 1));
    }
}
