//! Reading the history that is copied: from the source, from the streams before it where the
//! source does not reach back, and from the target again.

use super::trouble::{Trouble, refused};
use super::{Performed, Performer};
use crate::domain::reason::Reason;
use crate::domain::{Checksum, CloseEvent, Event, Head, StreamRef, Version};
use crate::migration::machine::Machine;
use crate::migration::steps::{Copied, Outcome};
use crate::store::{Page, ReadRange};

/// From where the versions of one side are read.
#[derive(Clone, Copy)]
enum Side<'a> {
    /// The source, and below its base the chain before it.
    Source,
    Target(&'a StreamRef),
}

/// A page of the source, and what the source looked like when it was read.
pub(super) struct SourcePage {
    first: Version,
    pub(super) events: Vec<Event>,
    /// The source's checksum after it.
    pub(super) after: Checksum,
    head: Head,
    closed: Option<CloseEvent>,
}

impl SourcePage {
    /// Before anything is read.
    pub(super) const fn none() -> Self {
        let (first, after, head) = (Version::FIRST, Checksum::START, Head::NONE);
        Self { first, events: Vec::new(), after, head, closed: None }
    }

    /// More was there behind it.
    pub(super) fn ends_before_head(&self) -> bool {
        let next = self.first.plus(self.events.len() as u64);
        !self.events.is_empty() && next < self.head.next() && self.closed.is_none()
    }
}

/// The checksum of a stretch of history; none if the side ends before.
type Chained = Result<Option<Checksum>, Trouble>;

impl Performer {
    pub(super) async fn read_source(&mut self, machine: &Machine, at: Copied) -> Performed {
        let page = match self.take_ahead(at) {
            Some(page) => page,
            None => self.fetch_source(machine, at).await?,
        };
        let (count, after, head) = (page.events.len() as u64, page.after, page.head);
        let closed = page.closed.clone().map(Box::new);
        self.page = page;
        Ok(Outcome::SourcePage { count, after, head, closed })
    }

    pub(super) async fn fetch_source(
        &self,
        machine: &Machine,
        at: Copied,
    ) -> Result<SourcePage, Trouble> {
        let (source_store, source) = self.source()?;
        let holder = self.source_of(at.next)?;
        let range = self.page_range(machine, at.next)?;
        let store = self.store(&holder.address)?;
        let page = store.read(&holder.address.stream_id, range).await?;
        let Page { first, mut events, head, closed } = page;
        cut_to_fit(&mut events, range.bytes_max);
        let after = at.source.chain_all(first, &events);
        let (head, closed) = if holder.address == source.address {
            (head.max(Head::before(source.base)), closed)
        } else {
            if events.is_empty() {
                return Err(ends_early(&holder, at.next));
            }
            // An older stream was closed long ago; whether this migration goes on, the source says.
            let tail = source_store.tail(&source.address.stream_id).await?;
            (tail.head_from(source.base), tail.closed)
        };
        Ok(SourcePage { first, events, after, head, closed })
    }

    /// The stream of the chain up to the source from which a version is read.
    pub(super) fn source_of(&self, version: Version) -> Result<StreamRef, Trouble> {
        let source = &self.record().source;
        if version >= source.base {
            return Ok(source.clone());
        }
        let document = self.document.as_ref().map(|stored| &stored.document);
        let holder = document.and_then(|it| it.stream_up_to(&source.address, version));
        holder.cloned().ok_or_else(|| {
            let message = format!("no stream up to {} holds version {version}", source.address);
            refused(Reason::CorruptData, message)
        })
    }

    /// A page is one append to the target, so it keeps to the target's limits.
    fn page_range(&self, machine: &Machine, from: Version) -> Result<ReadRange, Trouble> {
        let (target, _) = self.target(machine)?;
        let limits = target.capabilities().limits;
        let options = &self.record().options;
        let events_max = options.page_events_max.min(limits.batch_events_max);
        // While appends are held back nothing is done in small steps.
        let events_max = match self.holds_source() {
            true => events_max,
            false => self.throttle.page_events_max(events_max),
        };
        Ok(ReadRange {
            from,
            events_max: events_max.max(1),
            bytes_max: options.page_bytes_max.min(limits.batch_bytes_max).max(1),
        })
    }

    pub(super) async fn read_back(
        &mut self,
        machine: &Machine,
        at: Copied,
        count: u64,
    ) -> Performed {
        let target = self.target_ref(machine)?;
        let to = at.next.plus(count);
        match self.chain(Side::Target(&target), at.next, to, at.target).await? {
            Some(after) => Ok(Outcome::ReadBack { after }),
            None => {
                let message = format!("{} lost what it took", target.address);
                Err(refused(Reason::CorruptData, message))
            }
        }
    }

    pub(super) async fn compare(
        &mut self,
        machine: &Machine,
        from: Copied,
        to: Version,
    ) -> Performed {
        self.compared(machine, from, to).await.map(Outcome::Compared)
    }

    /// What both sides hold up to there; none if one of them ends before.
    pub(super) async fn compared(
        &self,
        machine: &Machine,
        from: Copied,
        to: Version,
    ) -> Result<Option<Copied>, Trouble> {
        let target = self.target_ref(machine)?;
        let source = self.chain(Side::Source, from.next, to, from.source).await?;
        let target = self.chain(Side::Target(&target), from.next, to, from.target).await?;
        let both = source.zip(target);
        Ok(both.map(|(source, target)| Copied { next: to, source, target }))
    }

    fn target_ref(&self, machine: &Machine) -> Result<StreamRef, Trouble> {
        let (_, address) = self.target(machine)?;
        let made_by = Some(machine.plan().migration);
        Ok(StreamRef { address, base: Self::base(machine), made_by })
    }

    /// The checksum after the events from `from` up to `to`; none if the side ends before.
    async fn chain(&self, side: Side<'_>, from: Version, to: Version, start: Checksum) -> Chained {
        let options = &self.record().options;
        let (mut next, mut checksum) = (from, start);
        while next < to {
            let left = usize::try_from(to.0 - next.0).unwrap_or(usize::MAX);
            let [first, second] = halves(options.page_events_max.min(left));
            // Both are asked for at once: one is found while the other is on its way.
            let between = next.plus(first as u64);
            let (first_page, second_page) =
                tokio::join!(self.part(side, next, first), self.part(side, between, second));
            let page = first_page?;
            if page.events.is_empty() {
                return Ok(None);
            }
            checksum = checksum.chain_all(page.first, &page.events);
            next = page.next();
            // One that was cut short by its bytes leaves a gap before the other.
            if next == between && second > 0 {
                let page = second_page?;
                checksum = checksum.chain_all(page.first, &page.events);
                next = page.next();
            }
        }
        Ok(Some(checksum))
    }

    /// So many events of one side, or fewer; nothing is asked for nothing.
    async fn part(
        &self,
        side: Side<'_>,
        from: Version,
        events_max: usize,
    ) -> Result<Page, Trouble> {
        if events_max == 0 {
            return Ok(Page { first: from, events: Vec::new(), head: Head::NONE, closed: None });
        }
        let holder = match side {
            Side::Source => self.source_of(from)?,
            Side::Target(target) => target.clone(),
        };
        let store = self.store(&holder.address)?;
        let bytes_max = self.record().options.page_bytes_max.div_ceil(2);
        let range = ReadRange { from, events_max, bytes_max };
        Ok(store.read(&holder.address.stream_id, range).await?)
    }
}

/// Small reads are not worth two calls.
const HALVED_EVENTS_MIN: usize = 200;

fn halves(events: usize) -> [usize; 2] {
    if events < HALVED_EVENTS_MIN {
        return [events, 0];
    }
    let first = events.div_ceil(2);
    [first, events - first]
}

fn ends_early(holder: &StreamRef, version: Version) -> Trouble {
    let message = format!("{} ends before version {version}, which it holds", holder.address);
    refused(Reason::CorruptData, message)
}

fn cut_to_fit(events: &mut Vec<Event>, bytes_max: usize) {
    let mut bytes = 0;
    let fitting = events.iter().take_while(|event| {
        bytes += event.size();
        bytes <= bytes_max
    });
    let count = fitting.count().max(1);
    events.truncate(count);
}
