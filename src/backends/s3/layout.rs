//! Keys of objects, and the one frame of all of them. Stored formats: `docs/stores/s3.md` shows
//! them.
//!
//! ```text
//!   tails/{stream}                     the tail: the one object that decides
//!   chunks/{stream}/{first}-{last}     events before the tail, for ever
//!   indexes/{stream}/{first}-{last}    which chunks there are, once they are many
//!   documents/{key}                    a document, or its tombstone
//! ```
//!
//! An object is one line of JSON, which says what it is, and then bytes. A key that would be too
//! long for the service is cut and goes on with `+` and its digest; the line holds it whole.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::Failure;
use crate::documents::DocumentKey;
use crate::documents::key::encode_segment;
use crate::domain::{StreamId, Version};

/// The format that this release writes and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// A name that is longer is cut to this and goes on with its digest. With prefix, folder and the
/// versions of a chunk a key stays below the 1,024 bytes that S3 takes.
pub(super) const NAME_BYTES_MAX: usize = 720;

/// Stands in no name, so that a name that was cut is no other.
const CUT: char = '+';

pub(super) const DOCUMENTS: &str = "documents/";
pub(super) const PROBES: &str = "probes/";

/// A name as it stands in a key.
pub(super) fn cut(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{CUT}{digest}", start(name))
}

/// As much of a name as a cut one keeps. Names are ASCII.
pub(super) fn start(name: &str) -> &str {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

pub(super) fn is_cut(name: &str) -> bool {
    name.contains(CUT)
}

/// The keys of one stream.
#[derive(Clone, Debug)]
pub(super) struct StreamKeys {
    name: String,
}

impl StreamKeys {
    pub(super) fn of(stream: &StreamId) -> Self {
        Self { name: cut(&encode_segment(stream.as_str())) }
    }

    pub(super) fn tail(&self) -> String {
        format!("tails/{}", self.name)
    }

    pub(super) fn chunk(&self, first: Version, last: Version) -> String {
        format!("{}{:020}-{:020}", self.chunks(), first.0, last.0)
    }

    pub(super) fn chunks(&self) -> String {
        format!("chunks/{}/", self.name)
    }

    pub(super) fn index(&self, first: Version, last: Version) -> String {
        format!("{}{:020}-{:020}", self.indexes(), first.0, last.0)
    }

    pub(super) fn indexes(&self) -> String {
        format!("indexes/{}/", self.name)
    }
}

pub(super) fn document(key: &DocumentKey) -> String {
    format!("{DOCUMENTS}{}", cut(key.as_str()))
}

/// An object: a line of JSON, then bytes.
pub(super) fn frame(line: &impl Serialize, body_bytes: usize) -> Vec<u8> {
    let mut object = Vec::with_capacity(512 + body_bytes);
    serde_json::to_writer(&mut object, line).expect("records are plain data");
    object.push(b'\n');
    object
}

/// The line of an object that is expected to be of this kind, and the bytes behind it.
pub(super) fn unframe<T: DeserializeOwned>(
    key: &str,
    kind: &str,
    object: &Bytes,
) -> Result<(T, Bytes), Failure> {
    #[derive(Deserialize)]
    struct Mark {
        format: u32,
        kind: String,
    }
    let damaged = |problem: String| Failure::Damaged(format!("{key} {problem}"));
    let end = object.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| damaged("does not start with a line".into()))?;
    let line = &object[..end];
    let unreadable = |error: serde_json::Error| damaged(error.to_string());
    let mark: Mark = serde_json::from_slice(line).map_err(unreadable)?;
    if mark.format > FORMAT {
        let (found, known) = (mark.format, FORMAT);
        return Err(damaged(format!("has format {found}, this release knows up to {known}")));
    }
    if mark.kind != kind {
        return Err(damaged(format!("is a {}, not a {kind}", mark.kind)));
    }
    let line = serde_json::from_slice(line).map_err(unreadable)?;
    Ok((line, object.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::super::options::PREFIX_BYTES_MAX;
    use super::*;

    #[test]
    fn no_key_is_too_long_and_long_ones_stay_apart() {
        let version = Version(u64::MAX);
        let long = |end: &str| StreamId::new("🦀".repeat(127) + end).unwrap();
        let (one, other) = (StreamKeys::of(&long("a")), StreamKeys::of(&long("b")));
        assert_ne!(one.tail(), other.tail());
        assert!(!other.tail().starts_with(&one.tail()));
        let longest = one.index(version, version).len() + PREFIX_BYTES_MAX + 1;
        assert!(longest <= 1_024, "{longest}");
    }

    #[test]
    fn what_is_cut_sorts_where_the_whole_would() {
        let name = "n".repeat(NAME_BYTES_MAX);
        let mut keys = vec![
            "a".to_owned(),
            name.clone(),
            cut(&format!("{name}x")),
            format!("{}o", start(&name[1..])),
        ];
        let sorted = keys.clone();
        keys.sort();
        assert_eq!(keys, sorted);
        assert!(is_cut(&keys[2]) && !is_cut(&keys[1]));
    }

    #[test]
    fn an_object_of_a_newer_format_or_another_kind_is_left_alone() {
        for line in ["{\"format\":2,\"kind\":\"tail\"}\n", "{\"format\":1,\"kind\":\"chunk\"}\n"] {
            let object = Bytes::from(line);
            let read = unframe::<serde_json::Value>("k", "tail", &object);
            assert!(matches!(read, Err(Failure::Damaged(_))), "{read:?}");
        }
    }
}
