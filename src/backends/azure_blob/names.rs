//! The names of blobs. Stored formats: what a name says never changes.
//!
//! ```text
//! {prefix}documents/{document key}
//! {prefix}streams/{stream id, encoded}/stream
//! {prefix}streams/{stream id, encoded}/{number}-{first version}-{token}
//! ```
//!
//! The blob called `stream` says that the stream exists, and is never deleted. The others hold
//! its events, in the order of their numbers.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::documents::DocumentKey;
use crate::documents::key::encode_segment;
use crate::domain::{StreamId, Version};
use crate::runtime::Entropy;

/// The last part of the name of the blob that says that a stream exists.
pub(super) const ANCHOR: &str = "stream";

/// Characters of an encoded stream id that a name holds. The service allows 1,024 for the whole
/// name; what is left over suffices for prefix, folder, number, version and token.
const ID_CHARACTERS_MAX: usize = 700;
const ID_CHARACTERS_KEPT: usize = 600;

/// Names below the prefix of one store.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        Self { prefix: format!("{prefix}{slash}") }
    }

    /// What the names of all blobs of a stream begin with.
    ///
    /// An id that is too long is cut, and told from all others by its hash; `~` is in no encoded
    /// id. The whole id stands in the stream's blobs.
    pub(super) fn of_stream(&self, stream: &StreamId) -> String {
        let mut encoded = encode_segment(stream.as_str());
        if encoded.len() > ID_CHARACTERS_MAX {
            encoded.truncate(ID_CHARACTERS_KEPT);
            encoded.push('~');
            for byte in Sha256::digest(stream.as_str().as_bytes()) {
                encoded.push_str(&format!("{byte:02x}"));
            }
        }
        format!("{}streams/{encoded}/", self.prefix)
    }

    pub(super) fn of_document(&self, key: &DocumentKey) -> String {
        format!("{}documents/{key}", self.prefix)
    }

    /// The document whose blob has this name.
    pub(super) fn document(&self, name: &str) -> Option<DocumentKey> {
        let key = name.strip_prefix(&self.prefix)?.strip_prefix("documents/")?;
        Some(DocumentKey::from_raw(key))
    }

    /// A blob for the check at the start.
    pub(super) fn of_check(&self, entropy: &dyn Entropy) -> String {
        format!("{}check/{}", self.prefix, entropy.uuid())
    }
}

/// A blob of events, within the folder of its stream.
///
/// Invariant 2: the token is new for every attempt to make a blob, so a name is never used twice,
/// and a blob that was deleted never comes back for a writer that slept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlobName {
    /// Place in the stream, from 1.
    pub(super) number: u32,
    /// Version of the first event that it may hold; 0 while the stream has no base.
    pub(super) first: Version,
    token: u64,
}

impl BlobName {
    pub(super) fn new(number: u32, first: Version, entropy: &dyn Entropy) -> Self {
        Self { number, first, token: entropy.next_u64() }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let number = parts.next()?.parse().ok()?;
        let first = Version(parts.next()?.parse().ok()?);
        let token = u64::from_str_radix(parts.next()?, 16).ok()?;
        let name = Self { number, first, token };
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:020}-{:016x}", self.number, self.first.0, self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemEntropy;

    #[test]
    fn the_longest_names_fit_and_stay_apart() {
        let names = Names::new(&"p".repeat(100));
        let long = |end: &str| {
            let id = format!("{}{end}", "é".repeat(250));
            names.of_stream(&StreamId::new(id).unwrap())
        };
        let blob = BlobName::new(u32::MAX, Version(u64::MAX), &SystemEntropy);
        assert!(format!("{}{blob}", long("a")).len() <= 1_024);
        assert_ne!(long("a"), long("b"));
        let plain = StreamId::new("Order/1/0000000000").unwrap();
        assert_eq!(Names::new("").of_stream(&plain), "streams/!4frder!2f1!2f0000000000/");
    }

    #[test]
    fn blob_names_are_read_back_and_sort_by_number() {
        let (two, ten) = (
            BlobName::new(2, Version(7), &SystemEntropy),
            BlobName::new(10, Version(9), &SystemEntropy),
        );
        assert_eq!(BlobName::parse(&two.to_string()), Some(two.clone()));
        assert!(two.to_string() < ten.to_string());
        for foreign in ["stream", "1-2-3", "0000000002-7-0", ""] {
            assert_eq!(BlobName::parse(foreign), None);
        }
    }
}
