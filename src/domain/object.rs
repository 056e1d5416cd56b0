//! Which aggregate is meant: its type and its id.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// The type of an aggregate: `[A-Za-z][A-Za-z0-9_.]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    pub const BYTES_MAX: usize = 128;

    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidValue> {
        let text = text.as_ref();
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let goes_on_well =
            bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
        if starts_well && goes_on_well && text.len() <= Self::BYTES_MAX {
            return Ok(Self(text.into()));
        }
        Err(InvalidValue::new(
            "object_name",
            "must be a letter followed by at most 127 letters, digits, '_' or '.'",
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One aggregate among those of its type: 1 to 255 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(Arc<str>);

impl ObjectId {
    pub const BYTES_MAX: usize = 255;

    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidValue> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            let problem = format!("must be 1 to 255 bytes of UTF-8, has {}", text.len());
            return Err(InvalidValue::new("object_id", problem));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidValue::new("object_id", "must not hold control characters"));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object: what clients append to and read, and what operators move.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    #[serde(rename = "object_name")]
    pub name: ObjectName,
    #[serde(rename = "object_id")]
    pub id: ObjectId,
}

impl ObjectKey {
    pub fn new(name: impl AsRef<str>, id: impl AsRef<str>) -> Result<Self, InvalidValue> {
        Ok(Self { name: ObjectName::new(name)?, id: ObjectId::new(id)? })
    }
}

macro_rules! text_value {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                Self::new(text)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.as_str().to_owned()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}
pub(crate) use text_value;

text_value!(ObjectName);
text_value!(ObjectId);

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.id)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_to_their_alphabet() {
        for good in ["a", "Order", "crm.Order_2", &"x".repeat(128)] {
            assert!(ObjectName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", "a-b", "a/b", "ä", &"x".repeat(129)] {
            assert!(ObjectName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_any_text_without_control_characters() {
        for good in ["..", "a/b", "%2F", "🦀", &"x".repeat(255)] {
            assert!(ObjectId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a\n", "\u{0}", "\u{85}", &"x".repeat(256)] {
            assert!(ObjectId::new(bad).is_err(), "{bad:?}");
        }
    }
}
