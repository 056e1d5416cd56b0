//! The store's folder before the engine touches it: whose it is, who has it, what must be there.
//!
//! ```text
//! LOCK                    held while the store is open
//! STORE                   what this is, and the last acknowledged commit; see `mark`
//! engine/                 the engine's own files
//! journals-before-open/   copies of the engine's journals, only while opening
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::{Damage, OpenError};
use super::mark::{self, Mark};

const LOCK: &str = "LOCK";
const ENGINE: &str = "engine";
const KEPT: &str = "journals-before-open";
const KEPT_PARTIAL: &str = "journals-before-open.partial";

/// The engine writes this file last when it makes its folder.
const ENGINE_READY: &str = "version";
/// Without these the engine takes its folder for empty, and deletes what it no longer knows.
const ENGINE_NEEDS: [&str; 3] = [ENGINE_READY, "keyspaces/0/current", "keyspaces/1/current"];

/// A folder that nobody else has open.
pub(super) struct Folder {
    path: PathBuf,
    /// Unlocked when dropped.
    _lock: File,
}

impl Folder {
    /// Takes the folder, and makes it one of ours if it is empty.
    pub(super) fn take(path: &Path) -> Result<(Self, Mark), OpenError> {
        let unusable =
            |cause: io::Error| OpenError::Unusable { path: path.into(), cause: cause.into() };
        std::fs::create_dir_all(path).map_err(unusable)?;
        if is_foreign(path).map_err(unusable)? {
            return Err(OpenError::Foreign { path: path.into() });
        }
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: path.into() }),
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        let folder = Self { path: path.into(), _lock: lock };
        if !path.join(mark::NAME).exists() {
            // Order: the mark is there before the engine, so an engine without it lost it.
            if folder.engine().exists() {
                return Err(folder.damaged(Damage::FileMissing { name: mark::NAME.into() }));
            }
            Mark::create(path).map_err(unusable)?;
        }
        let mark = Mark::open(path)?;
        Ok((folder, mark))
    }

    /// The engine's folder.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    pub(super) fn damaged(&self, damage: Damage) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), damage }
    }

    pub(super) fn unusable(&self, cause: impl Into<crate::store::error::Cause>) -> OpenError {
        OpenError::Unusable { path: self.path.clone(), cause: cause.into() }
    }

    /// Checks that what the engine would silently make anew is there. A store without commits
    /// may have died while it was made; what is left of that is cleared away.
    pub(super) fn check_engine(&self, commits: u64) -> Result<(), OpenError> {
        let engine = self.engine();
        if commits == 0 {
            if engine.exists() && !engine.join(ENGINE_READY).exists() {
                std::fs::remove_dir_all(&engine).map_err(|cause| self.unusable(cause))?;
            }
            return Ok(());
        }
        for needed in ENGINE_NEEDS {
            if !engine.join(needed).exists() {
                let name = format!("{ENGINE}/{needed}");
                return Err(self.damaged(Damage::FileMissing { name }));
            }
        }
        let journals = self.journals().map_err(|cause| self.unusable(cause))?;
        let gap = journals.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1);
        let missing = match (journals.is_empty(), gap) {
            (true, _) => Some(format!("{ENGINE}/*.jnl")),
            (false, Some(pair)) => Some(format!("{ENGINE}/{}.jnl", pair[0].0 + 1)),
            (false, None) => None,
        };
        match missing {
            Some(name) => Err(self.damaged(Damage::FileMissing { name })),
            None => Ok(()),
        }
    }

    /// Copies the journals, for the engine cuts off what it cannot read. Copies that an earlier
    /// opening left are those of the moment before the damage was met, and stay.
    pub(super) fn keep_journals(&self) {
        let (kept, partial) = (self.path.join(KEPT), self.path.join(KEPT_PARTIAL));
        if kept.exists() {
            return;
        }
        let copy = || -> io::Result<()> {
            remove_folder(&partial)?;
            std::fs::create_dir(&partial)?;
            for (number, journal) in self.journals()? {
                copy_used_part(&journal, &partial.join(format!("{number}.jnl")))?;
            }
            std::fs::rename(&partial, &kept)
        };
        if let Err(error) = copy() {
            // The copies help to repair damage; a full disk must not keep a sound store closed.
            tracing::warn!(%error, "journals were not copied before opening");
        }
    }

    /// Where the copies are, in words.
    pub(super) fn kept_journals(&self) -> String {
        let kept = self.path.join(KEPT);
        if kept.exists() { kept.display().to_string() } else { "no copy".into() }
    }

    /// The store is sound; the copies are not needed.
    pub(super) fn forget_journals(&self) {
        for name in [KEPT, KEPT_PARTIAL] {
            if let Err(error) = remove_folder(&self.path.join(name)) {
                tracing::warn!(%error, "copies of journals were not removed");
            }
        }
    }

    /// The engine's journals by their numbers.
    fn journals(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut journals = Vec::new();
        let engine = self.engine();
        if !engine.exists() {
            return Ok(journals);
        }
        for entry in std::fs::read_dir(engine)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                journals.push((number, path));
            }
        }
        journals.sort_unstable();
        Ok(journals)
    }
}

/// Whether files are here that no embedded store made.
fn is_foreign(path: &Path) -> io::Result<bool> {
    if path.join(mark::NAME).exists() {
        return Ok(false);
    }
    let ours = path.join(LOCK).exists();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_str().unwrap_or("");
        // The engine's folder alone is no proof; beside our lock it is a store without its mark.
        let beside_lock = name == ENGINE || name.starts_with(KEPT);
        let known = name == LOCK || name == mark::NEW_NAME || (ours && beside_lock);
        if !known {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A journal is made large, all zeros, and written from its start: a block of zeros is its end.
fn copy_used_part(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0; 1 << 20];
    loop {
        let count = from.read(&mut block)?;
        let used = &block[..count];
        if used.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        to.write_all(used)?;
    }
}
