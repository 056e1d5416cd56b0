//! Notices at opening what the engine passes over without a word.
//!
//! The engine cuts its journal at the first entry that it cannot read, takes a journal that is
//! not there for flushed, and makes a folder that it does not find anew. Each of these takes back
//! commits that were acknowledged. Two witnesses tell:
//!
//! - **The ring of commits.** Every commit carries its sequence number, a checksum over its
//!   records, and a checksum that chains it to the commit before. All records lie in one keyspace,
//!   so the engine keeps or loses a commit's record together with the rest of that commit. The
//!   last [`COMMITS_KEPT`] are kept, more than the engine holds in journals; older ones lie in
//!   tables, which the engine lists in a manifest and checks block by block. A gap is a journal
//!   lost from the middle; a broken chain is files of different moments mixed.
//! - **The mark** ([`super::mark`]): a commit that it knows and the ring does not is a lost end.
//!
//! What no check finds: a whole folder put back from a backup, which is sound and old (the object
//! documents tell, for they name streams that are longer); and an end that was lost together with
//! the mark's own last writes, which takes a loss of power and damage to the journal at once.

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::error::{Damage, OpenError, ReadError, is_damage};
use super::folder::Folder;
use super::layout::{self, COMMITS_KEPT, Commit};
use super::mark::{self, Mark, Written};
use super::options::EmbeddedOptions;

const KEYSPACE: &str = "records";

/// An engine that holds everything that was acknowledged, as far as can be told.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) records: Keyspace,
    pub(super) last: Commit,
    /// Streams whose events are to be deleted still.
    pub(super) purges: Vec<u64>,
}

/// Opens the engine, and checks what it recovered.
pub(super) fn open(
    folder: &Folder,
    mark: &mut Mark,
    options: &EmbeddedOptions,
) -> Result<Opened, OpenError> {
    let known = mark.written();
    folder.check_engine(known.sequence)?;
    if known.sequence > 0 {
        folder.keep_journals();
    }
    let (database, records) = recover(folder, options)?;
    let read = |error: ReadError| folder.damaged(Damage::Record { problem: error.to_string() });
    let commits = read_commits(&records).map_err(read)?;
    let last = check_commits(commits, known, || folder.kept_journals());
    let last = last.map_err(|damage| folder.damaged(damage))?;
    let purges = read_purges(&records).map_err(read)?;
    mark.write(&last).and_then(|()| mark.sync()).map_err(|cause| folder.unusable(cause))?;
    folder.forget_journals();
    Ok(Opened { database, records, last, purges })
}

/// The engine asserts where files are not what it expects; a panic there is damage as well.
fn recover(folder: &Folder, options: &EmbeddedOptions) -> Result<(Database, Keyspace), OpenError> {
    let open = || {
        let database = Database::builder(folder.engine())
            .cache_size(options.cache_bytes)
            // Every commit says itself how it is made durable.
            .manual_journal_persist(true)
            .open()?;
        let records = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(options.memtable_bytes)
        })?;
        Ok((database, records))
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) if is_damage(&error) => {
            Err(folder.damaged(Damage::Engine { problem: error.to_string() }))
        }
        Ok(Err(error)) => Err(folder.unusable(error)),
        Err(_) => {
            let problem = "its files contradict each other".into();
            Err(folder.damaged(Damage::Engine { problem }))
        }
    }
}

fn read_commits(records: &Keyspace) -> Result<Vec<Commit>, ReadError> {
    let mut commits = Vec::new();
    for entry in records.prefix(layout::commits()) {
        let (key, value) = entry.into_inner()?;
        commits.push(Commit::read(&key, &value)?);
    }
    Ok(commits)
}

fn read_purges(records: &Keyspace) -> Result<Vec<u64>, ReadError> {
    let mut purges = Vec::new();
    for entry in records.prefix(layout::purges()) {
        let number = layout::purge_of(&entry.key()?);
        purges.push(number.ok_or_else(|| ReadError::Missing("a purge has a wrong key".into()))?);
    }
    Ok(purges)
}

/// Answers the last commit if all that must be there are, and belong together.
fn check_commits(
    mut commits: Vec<Commit>,
    known: Written,
    kept: impl FnOnce() -> String,
) -> Result<Commit, Damage> {
    commits.sort_unstable_by_key(|commit| commit.sequence);
    let last = commits.last().copied().unwrap_or(Commit::NONE);
    if last.sequence < known.sequence {
        let (acknowledged, found) = (known.sequence, last.sequence);
        return Err(Damage::EndMissing { acknowledged, found, kept: kept() });
    }
    let first = last.sequence.saturating_sub(COMMITS_KEPT) + 1;
    let mut before = (first == 1).then_some(Commit::NONE);
    for (expected, commit) in (first..).zip(&commits) {
        if commit.sequence != expected {
            return Err(Damage::CommitMissing { missing: expected });
        }
        let chain = before.map(|before| before.chain_to(commit.sequence, commit.records));
        if chain.is_some_and(|chain| chain != commit.chain) {
            return Err(Damage::HistoriesMixed { sequence: commit.sequence });
        }
        let is_known = commit.sequence == known.sequence;
        if is_known && commit.chain != known.chain {
            return Err(Damage::HistoriesMixed { sequence: commit.sequence });
        }
        before = Some(*commit);
    }
    // The mark is synced too often to be this far behind, whatever died.
    if last.sequence - known.sequence > 2 * mark::COMMITS_PER_SYNC {
        let (known, found) = (known.sequence, last.sequence);
        return Err(Damage::MarkTooOld { name: mark::NAME.into(), known, found });
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(count: u64) -> Vec<Commit> {
        let mut commits = Vec::new();
        let mut before = Commit::NONE;
        for sequence in 1..=count {
            let records = u32::try_from(sequence).unwrap() * 31;
            let chain = before.chain_to(sequence, records);
            before = Commit { sequence, records, chain, next_stream: 1 };
            commits.push(before);
        }
        commits
    }

    fn known(commit: &Commit) -> Written {
        Written { sequence: commit.sequence, chain: commit.chain }
    }

    fn check(commits: Vec<Commit>, known: Written) -> Result<u64, Damage> {
        check_commits(commits, known, String::new).map(|last| last.sequence)
    }

    #[test]
    fn a_whole_history_passes_with_a_mark_that_is_a_little_behind() {
        let commits = history(5);
        assert_eq!(check(Vec::new(), known(&Commit::NONE)), Ok(0));
        for mark in [Commit::NONE, commits[2], commits[4]] {
            assert_eq!(check(commits.clone(), known(&mark)), Ok(5));
        }
    }

    #[test]
    fn a_lost_end_a_lost_middle_and_a_mixture_are_told_apart() {
        let commits = history(5);
        let mark = known(&commits[4]);
        assert!(matches!(
            check(commits[..4].to_vec(), mark),
            Err(Damage::EndMissing { acknowledged: 5, found: 4, .. })
        ));
        let mut middle = commits.clone();
        middle.remove(2);
        assert_eq!(check(middle, mark), Err(Damage::CommitMissing { missing: 3 }));
        let mut mixed = commits.clone();
        mixed[2].records ^= 1;
        assert_eq!(check(mixed, mark), Err(Damage::HistoriesMixed { sequence: 3 }));
        let other = Written { chain: mark.chain ^ 1, ..mark };
        assert_eq!(check(commits, other), Err(Damage::HistoriesMixed { sequence: 5 }));
    }

    #[test]
    fn a_mark_from_long_ago_is_noticed() {
        let commits = history(2 * mark::COMMITS_PER_SYNC + 2);
        let old = known(&commits[0]);
        assert!(matches!(check(commits, old), Err(Damage::MarkTooOld { .. })));
    }
}
