//! Where a read stood, as a client may keep it. It names a version and a direction and nothing of
//! streams, so that it outlives migrations.

use sha2::{Digest as _, Sha256};

use super::{Direction, Position};
use crate::domain::{InvalidValue, ObjectKey, Version};

/// A place in the history of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    pub direction: Direction,
    pub next: Position,
    /// Of the object, so that a token of another is not taken by mistake.
    mark: [u8; 8],
}

/// The form of the bytes below; a later one must not be taken for it.
const FORMAT: u8 = 1;
const BYTES: usize = 18;

const FORWARD: u8 = 1;
const BACKWARD: u8 = 2;
const BACKWARD_AT_END: u8 = 3;

impl ResumeToken {
    pub fn new(object: &ObjectKey, direction: Direction, next: Position) -> Self {
        Self { direction, next, mark: mark(object) }
    }

    /// One byte of format, one of direction, the version, the mark of the object.
    pub fn to_bytes(self) -> Vec<u8> {
        let (kind, version) = match (self.direction, self.next) {
            (Direction::Forward, Position::At(version)) => (FORWARD, version.0),
            (Direction::Backward, Position::At(version)) => (BACKWARD, version.0),
            (_, Position::BeforeFirst) => (BACKWARD_AT_END, 0),
        };
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend([FORMAT, kind]);
        bytes.extend(version.to_be_bytes());
        bytes.extend(self.mark);
        bytes
    }

    /// The token that a read of this object gave.
    pub fn parse(object: &ObjectKey, bytes: &[u8]) -> Result<Self, InvalidValue> {
        let token = Self::from_bytes(bytes);
        token.filter(|token| token.mark == mark(object)).ok_or_else(|| {
            InvalidValue::new("resume_token", "must be one that a read of this object gave")
        })
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; BYTES] = bytes.try_into().ok()?;
        let version = u64::from_be_bytes(bytes[2..10].try_into().ok()?);
        let at = (version <= i64::MAX as u64).then_some(Position::At(Version(version)))?;
        let (direction, next) = match (bytes[0], bytes[1]) {
            (FORMAT, FORWARD) => (Direction::Forward, at),
            (FORMAT, BACKWARD) => (Direction::Backward, at),
            (FORMAT, BACKWARD_AT_END) => (Direction::Backward, Position::BeforeFirst),
            _ => return None,
        };
        Some(Self { direction, next, mark: bytes[10..].try_into().ok()? })
    }
}

fn mark(object: &ObjectKey) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(object.to_string()).into();
    hash[..8].try_into().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_and_for_its_object_alone() {
        let object = ObjectKey::new("order", "1").unwrap();
        let other = ObjectKey::new("order", "2").unwrap();
        for (direction, next) in [
            (Direction::Forward, Position::At(Version(0))),
            (Direction::Forward, Position::At(Version(u64::from(u32::MAX) + 7))),
            (Direction::Backward, Position::At(Version(9))),
            (Direction::Backward, Position::BeforeFirst),
        ] {
            let token = ResumeToken::new(&object, direction, next);
            assert_eq!(ResumeToken::parse(&object, &token.to_bytes()), Ok(token));
            assert!(ResumeToken::parse(&other, &token.to_bytes()).is_err());
        }
    }

    #[test]
    fn other_bytes_are_no_token() {
        let object = ObjectKey::new("order", "1").unwrap();
        let good = ResumeToken::new(&object, Direction::Forward, Position::At(Version(3)));
        let good = good.to_bytes();
        for bad in [&[][..], &good[..17], b"\x02\x01aaaaaaaaaaaaaaaa", b"\x01\x09aaaaaaaaaaaaaaaa"]
        {
            assert_eq!(ResumeToken::parse(&object, bad).unwrap_err().field, "resume_token");
        }
    }
}
