//! Digests of what a client sent, and the running checksum over an object's events.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::canonical;
use super::{Event, InvalidValue, Version};

macro_rules! hash_value {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type([u8; 32]);

        impl $type {
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                let invalid = || InvalidValue::new("checksum", "must be 64 hexadecimal digits");
                if text.len() != 64 || !text.is_ascii() {
                    return Err(invalid());
                }
                let mut bytes = [0; 32];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    let digits = &text[2 * index..2 * index + 2];
                    *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

hash_value! {
    /// SHA-256 of the canonical form of what a client sent.
    Digest
}

hash_value! {
    /// The running checksum of a stream: c(v) = SHA-256(c(v-1), v, event), from
    /// [`Checksum::START`] at the stream's base.
    Checksum
}

impl Digest {
    /// The digest of the fields that the client sent; `recorded_at` and `digest` do not count.
    pub fn of(event: &Event) -> Self {
        let mut bytes = Vec::with_capacity(canonical::size_hint(event));
        canonical::write_sent(event, &mut bytes);
        Self(Sha256::digest(&bytes).into())
    }
}

impl Checksum {
    /// The checksum before the first event.
    pub const START: Self = Self([0; 32]);

    #[must_use]
    pub fn chain(self, version: Version, event: &Event) -> Self {
        let mut bytes = Vec::with_capacity(canonical::size_hint(event));
        canonical::write_event(event, &mut bytes);
        self.chain_canonical(version, &bytes)
    }

    /// The same over bytes that are in canonical form already.
    #[must_use]
    pub fn chain_canonical(self, version: Version, event: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(version.0.to_be_bytes());
        hasher.update(event);
        Self(hasher.finalize().into())
    }

    /// The checksum after a run of events that starts at `first`.
    #[must_use]
    pub fn chain_all<'a>(
        self,
        first: Version,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Self {
        let mut checksum = self;
        for (offset, event) in (0..).zip(events) {
            checksum = checksum.chain(first.plus(offset), event);
        }
        checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_refuses_the_rest() {
        let checksum = Checksum::from_bytes([0xa5; 32]);
        assert_eq!(Checksum::try_from(checksum.to_string()), Ok(checksum));
        assert!(Checksum::try_from("00".to_owned()).is_err());
        assert!(Checksum::try_from("zz".repeat(32)).is_err());
    }
}
