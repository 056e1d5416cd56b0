//! The file `STORE`: says what the folder is, and how far its commits were acknowledged.
//!
//! It is a file of its own so that it does not share the fate of the engine's journal: what the
//! journal lost without a word is missed here. It is written after each commit, so a process that
//! is killed leaves it at most one commit behind, and synced every [`COMMITS_PER_SYNC`] commits.
//!
//! ```text
//! 0     "streamgate embedded store\n", zeros up to 32, format u32, CRC-32 of the 36 bytes
//! 512   slot 0: sequence u64, chain u32, CRC-32 of the 12 bytes
//! 1024  slot 1: the same
//! ```
//!
//! The slots take turns, each in a sector of its own, so that a write cut short by a loss of
//! power leaves the other one.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::error::{Damage, OpenError};
use super::layout::{Commit, FORMAT};

pub(super) const NAME: &str = "STORE";
pub(super) const NEW_NAME: &str = "STORE.new";

/// A loss of power may leave the file this much behind, plus what the last commit held.
pub(super) const COMMITS_PER_SYNC: u64 = 1_024;

const TITLE: &[u8] = b"streamgate embedded store\n";
const SLOTS_AT: [u64; 2] = [512, 1_024];
const FILE_BYTES: usize = 1_536;

pub(super) struct Mark {
    file: File,
    written: Written,
    synced: u64,
}

/// The last commit that the file knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) sequence: u64,
    pub(super) chain: u32,
}

impl Mark {
    /// Makes the file, whole or not at all.
    pub(super) fn create(folder: &Path) -> io::Result<()> {
        let mut bytes = vec![0; FILE_BYTES];
        bytes[..TITLE.len()].copy_from_slice(TITLE);
        bytes[32..36].copy_from_slice(&FORMAT.to_be_bytes());
        let title = crc32fast::hash(&bytes[..36]);
        bytes[36..40].copy_from_slice(&title.to_be_bytes());
        let first = Written { sequence: 0, chain: Commit::NONE.chain };
        bytes[512..528].copy_from_slice(&first.encode());
        let (new, name) = (folder.join(NEW_NAME), folder.join(NAME));
        std::fs::write(&new, &bytes)?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &name)?;
        File::open(folder)?.sync_all()
    }

    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.to_path_buf();
        let unusable =
            |cause: io::Error| OpenError::Unusable { path: path.clone(), cause: cause.into() };
        let name = folder.join(NAME);
        let bytes = std::fs::read(&name).map_err(unusable)?;
        let damaged = |problem: &str| OpenError::Damaged {
            path: path.clone(),
            damage: Damage::FileUnreadable { name: NAME.into(), problem: problem.into() },
        };
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes)
        };
        if !bytes.starts_with(TITLE) || word(36) != Some(crc32fast::hash(&bytes[..36])) {
            return Err(damaged("its title is not what was written"));
        }
        let found = word(32).unwrap_or(0);
        if found > FORMAT {
            return Err(OpenError::NewerFormat { path, found, known: FORMAT });
        }
        let slots = [512, 1_024].into_iter().filter_map(|at| Written::decode(bytes.get(at..)?));
        let written = slots.max_by_key(|written| written.sequence);
        let written = written.ok_or_else(|| damaged("no commit number in it is whole"))?;
        let file = OpenOptions::new().read(true).write(true).open(&name).map_err(unusable)?;
        Ok(Self { file, written, synced: written.sequence })
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// Notes a commit that is durable.
    pub(super) fn write(&mut self, commit: &Commit) -> io::Result<()> {
        let written = Written { sequence: commit.sequence, chain: commit.chain };
        let slot = SLOTS_AT[usize::from(commit.sequence % 2 == 1)];
        self.file.seek(SeekFrom::Start(slot))?;
        self.file.write_all(&written.encode())?;
        self.written = written;
        if written.sequence >= self.synced + COMMITS_PER_SYNC {
            self.sync()?;
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.written.sequence;
        Ok(())
    }
}

impl Written {
    fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.chain.to_be_bytes());
        let checksum = crc32fast::hash(&bytes[..12]);
        bytes[12..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk::<8>()?;
        let (chain, rest) = rest.split_first_chunk::<4>()?;
        let written =
            Self { sequence: u64::from_be_bytes(*sequence), chain: u32::from_be_bytes(*chain) };
        (written.encode()[12..] == *rest.first_chunk::<4>()?).then_some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(sequence: u64) -> Commit {
        Commit { sequence, chain: 7, ..Commit::NONE }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        Mark::create(folder.path()).unwrap();
        let mut mark = Mark::open(folder.path()).unwrap();
        for sequence in 1..=3 {
            mark.write(&commit(sequence)).unwrap();
        }
        assert_eq!(Mark::open(folder.path()).unwrap().written().sequence, 3);
        let name = folder.path().join(NAME);
        let mangle = |at: u64| {
            let mut bytes = std::fs::read(&name).unwrap();
            bytes[usize::try_from(at).unwrap() + 4] ^= 0xff;
            std::fs::write(&name, &bytes).unwrap();
        };
        mangle(SLOTS_AT[1]);
        assert_eq!(Mark::open(folder.path()).unwrap().written().sequence, 2);
        mangle(SLOTS_AT[0]);
        assert!(matches!(Mark::open(folder.path()), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn a_newer_format_and_a_mangled_title_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        Mark::create(folder.path()).unwrap();
        let name = folder.path().join(NAME);
        let mut bytes = std::fs::read(&name).unwrap();
        bytes[35] = 2;
        std::fs::write(&name, &bytes).unwrap();
        assert!(matches!(Mark::open(folder.path()), Err(OpenError::Damaged { .. })));
        let title = crc32fast::hash(&bytes[..36]);
        bytes[36..40].copy_from_slice(&title.to_be_bytes());
        std::fs::write(&name, &bytes).unwrap();
        let newer = Mark::open(folder.path());
        assert!(matches!(newer, Err(OpenError::NewerFormat { found: 2, known: 1, .. })));
    }
}
