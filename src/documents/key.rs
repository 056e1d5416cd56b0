//! Keys of documents, and the one reversible encoding that carries any text into them.

use std::fmt;
use std::sync::Arc;

use crate::domain::{MigrationId, ObjectKey, ObjectName};

/// A path of segments joined by `/`. Text from outside goes in through [`encode_segment`], so a
/// key holds only `a-z 0-9 _ - . ! /` and survives stores that fold case or clean up paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey(Arc<str>);

impl DocumentKey {
    /// All object documents.
    pub fn objects() -> Self {
        Self("objects/".into())
    }

    /// The documents of all objects of one name.
    pub fn objects_named(name: &ObjectName) -> Self {
        Self(format!("objects/{}/", encode_segment(name.as_str())).into())
    }

    pub fn object(object: &ObjectKey) -> Self {
        let name = encode_segment(object.name.as_str());
        Self(format!("objects/{name}/{}", encode_segment(object.id.as_str())).into())
    }

    /// Records of migrations that a supervisor must look at.
    pub fn migrations_unfinished() -> Self {
        Self("migrations/unfinished/".into())
    }

    pub fn migration_unfinished(migration: MigrationId) -> Self {
        Self(format!("migrations/unfinished/{migration}").into())
    }

    /// Records of migrations that nothing can change any more.
    pub fn migrations_finished() -> Self {
        Self("migrations/finished/".into())
    }

    pub fn migration_finished(migration: MigrationId) -> Self {
        Self(format!("migrations/finished/{migration}").into())
    }

    /// The lock over an object, where proxies keep it in documents.
    pub fn lock(object: &ObjectKey) -> Self {
        let name = encode_segment(object.name.as_str());
        Self(format!("locks/{name}/{}", encode_segment(object.id.as_str())).into())
    }

    /// The deployment's own mark.
    pub fn deployment() -> Self {
        Self("deployment".into())
    }

    /// A key that a store or a page token handed back.
    pub fn from_raw(raw: impl Into<Arc<str>>) -> Self {
        Self(raw.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text as one path segment: lower-case letters, digits, `_` and `-` stand for themselves, every
/// other byte is `!` and two hexadecimal digits. Reversible, and different for different text.
pub fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("!{other:02x}")),
        }
    }
    encoded
}

/// The text that [`encode_segment`] was given; none for anything it does not write.
pub fn decode_segment(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => bytes.push(byte),
            b'!' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            _ => return None,
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (encode_segment(&text) == encoded).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_round_trips_and_stays_apart() {
        let texts = ["..", ".", "a/b", "a!2fb", "%2F", "A", "a", "🦀", "é", "e\u{301}", " ", "!"];
        let mut seen = std::collections::HashSet::new();
        for text in texts {
            let encoded = encode_segment(text);
            assert_eq!(decode_segment(&encoded).as_deref(), Some(text));
            assert!(seen.insert(encoded.to_lowercase()), "{text} folds onto another");
        }
        assert_eq!(decode_segment("!2"), None);
        assert_eq!(decode_segment("!61"), None, "only one spelling");
    }
}
