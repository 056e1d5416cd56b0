//! The version at which a moment begins. `recorded_at` never decreases within an object, so
//! halving finds it; each step reads one event.

use super::Position;
use super::pages::Pages;
use crate::domain::{Head, Timestamp, Version};
use crate::proxy::ProxyError;
use crate::store::ReadRange;

impl Pages {
    /// The first version recorded at `moment` or later; behind the head if there is none.
    pub(super) async fn first_since(
        &mut self,
        moment: Timestamp,
        head: Head,
    ) -> Result<Version, ProxyError> {
        self.first_that(head, |recorded_at| recorded_at >= moment).await
    }

    /// The last version recorded at `moment` or before.
    pub(super) async fn last_until(
        &mut self,
        moment: Timestamp,
        head: Head,
    ) -> Result<Position, ProxyError> {
        let after = self.first_that(head, |recorded_at| recorded_at > moment).await?;
        if after <= self.first() {
            return Ok(Position::BeforeFirst);
        }
        Ok(Position::before(after))
    }

    /// The first version whose time meets what, once met, every later one meets too.
    async fn first_that(
        &mut self,
        head: Head,
        is_met: impl Fn(Timestamp) -> bool,
    ) -> Result<Version, ProxyError> {
        let (mut low, mut high) = (self.first(), head.next());
        while low < high {
            let middle = Version(low.0 + (high.0 - low.0) / 2);
            if is_met(self.recorded_at(middle).await?) {
                high = middle;
            } else {
                low = middle.plus(1);
            }
        }
        Ok(low)
    }

    async fn recorded_at(&mut self, version: Version) -> Result<Timestamp, ProxyError> {
        let range = ReadRange { from: version, events_max: 1, bytes_max: 1 };
        let fetched = self.forward(range).await?;
        let event = fetched.page.events.first().filter(|_| fetched.page.first == version);
        event.map(|event| event.recorded_at).ok_or_else(|| ProxyError::Corrupt {
            detail: format!("version {version} is missing below the head"),
        })
    }
}
