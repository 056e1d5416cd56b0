//! A page ahead: while one page is appended, the next one is read and hashed.
//!
//! It is used only where it cannot be told from a page that is read when its turn comes: it begins
//! where the copy stands, and more of the source was known to lie behind it. What the source ends
//! with is always read anew, for the close follows it.

use super::Performer;
use super::history::SourcePage;
use crate::domain::{Checksum, Version};
use crate::migration::machine::Machine;
use crate::migration::steps::Copied;

/// A page of the source that was read before its turn.
pub(super) struct Ahead {
    next: Version,
    /// The source's checksum before it.
    source: Checksum,
    page: SourcePage,
}

impl Performer {
    /// The page that was read ahead, if it is the one that is wanted.
    pub(super) fn take_ahead(&mut self, at: Copied) -> Option<SourcePage> {
        let Ahead { next, source, page } = self.ahead.take()?;
        (next == at.next && source == at.source && page.ends_before_head()).then_some(page)
    }

    /// Reads the page behind the one that is being appended, if something is known to be there.
    pub(super) async fn read_ahead(&self, machine: &Machine, at: Copied) -> Option<Ahead> {
        if !self.page.ends_before_head() {
            return None;
        }
        let (next, source) = (at.next.plus(self.page.events.len() as u64), self.page.after);
        // What goes wrong is told when the page is asked for in its turn.
        let page = self.fetch_source(machine, Copied { next, source, ..at }).await.ok()?;
        Some(Ahead { next, source, page })
    }
}
