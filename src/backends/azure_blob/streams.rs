//! What is known in memory of the streams in use. All of it is hints: a write is decided by the
//! service, and a refusal or a read rests on a look that began with the call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::end::End;
use super::index::BlockPlace;
use super::names::BlobName;
use super::writer::Writer;
use crate::domain::{StreamId, Version};

/// Starts of blocks that are remembered of one stream.
const PLACES_MAX: usize = 2_048;
/// Memory of an entry, and of an id that a writer knows.
const ENTRY_BYTES: u64 = 2_048;
const ID_BYTES: u64 = 80;
/// New ids after which an entry is weighed again.
const IDS_UNWEIGHED_MAX: u64 = 256;

/// One stream.
#[derive(Default)]
pub(super) struct Entry {
    /// Writers of this process take turns, so that they do not lose rounds to each other.
    pub(super) turn: tokio::sync::Mutex<Option<Writer>>,
    known: Mutex<Known>,
    /// Ids with which it was last weighed.
    ids: AtomicU64,
}

#[derive(Default)]
struct Known {
    end: Option<Arc<End>>,
    /// Where some blocks of the newest blob start.
    places: Option<(BlobName, BTreeMap<Version, u64>)>,
}

impl Entry {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest end that was seen.
    pub(super) fn end(&self) -> Option<Arc<End>> {
        self.known().end.clone()
    }

    /// Takes note of an end, unless a newer one was seen.
    pub(super) fn saw(&self, end: End) -> Arc<End> {
        let mut known = self.known();
        let end = Arc::new(end);
        if known.end.as_ref().is_none_or(|seen| seen.age() <= end.age()) {
            known.end = Some(Arc::clone(&end));
        }
        end
    }

    /// Takes note of where a block starts.
    pub(super) fn saw_block(&self, blob: &BlobName, block: BlockPlace) {
        let mut known = self.known();
        let places = match &mut known.places {
            Some((of, places)) if of == blob => places,
            other => &mut other.insert((blob.clone(), BTreeMap::new())).1,
        };
        places.insert(block.first, block.at);
        if places.len() > PLACES_MAX {
            places.pop_first();
        }
    }

    /// The nearest known start of a block at or before this version.
    pub(super) fn block_before(&self, blob: &BlobName, version: Version) -> Option<BlockPlace> {
        let known = self.known();
        let (of, places) = known.places.as_ref()?;
        let (first, at) = places.range(..=version).next_back().filter(|_| of == blob)?;
        Some(BlockPlace { first: *first, at: *at })
    }
}

/// All streams in use.
pub(super) struct Streams {
    entries: Cache<StreamId, Weighed, Weight>,
}

/// An entry with its weight, which must not change while it is in the cache.
#[derive(Clone)]
struct Weighed {
    entry: Arc<Entry>,
    ids: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<StreamId, Weighed> for Weight {
    fn weight(&self, stream: &StreamId, weighed: &Weighed) -> u64 {
        ENTRY_BYTES + stream.as_str().len() as u64 + weighed.ids * ID_BYTES
    }
}

impl Streams {
    pub(super) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / ENTRY_BYTES).unwrap_or(usize::MAX);
        Self { entries: Cache::with_weighter(items, bytes, Weight) }
    }

    pub(super) fn entry(&self, stream: &StreamId) -> Arc<Entry> {
        let made = self.entries.get_or_insert_with::<_, std::convert::Infallible>(stream, || {
            Ok(Weighed { entry: Arc::new(Entry::default()), ids: 0 })
        });
        match made {
            Ok(weighed) => weighed.entry,
            Err(never) => match never {},
        }
    }

    /// A writer knows this many ids now.
    pub(super) fn weigh(&self, stream: &StreamId, entry: &Arc<Entry>, ids: usize) {
        let ids = ids as u64;
        let before = entry.ids.load(Ordering::Relaxed);
        if before.abs_diff(ids) >= IDS_UNWEIGHED_MAX {
            entry.ids.store(ids, Ordering::Relaxed);
            let weighed = Weighed { entry: Arc::clone(entry), ids };
            self.entries.insert(stream.clone(), weighed);
        }
    }

    /// Forgets everything, as a process that has just started.
    #[cfg(feature = "testing")]
    pub(super) fn clear(&self) {
        self.entries.clear();
    }
}
