//! Folders that are not what the store left: refused by name, and nothing in them changed.

use std::path::{Path, PathBuf};

use streamgate::backends::embedded::{Damage, EmbeddedOptions, EmbeddedStore, OpenError};
use streamgate::store::{EventStore, ReadRange, StoreError};

use crate::kit::{ALL, append, engine, event, files_below, filled, header, open, stream};

/// Writes past any record that is kept in memory, so that it lies in table files.
fn small_memtables(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions { memtable_bytes: 1 << 20, ..EmbeddedOptions::at(path) }
}

fn copy_folder(from: &Path, to: &Path) {
    let mut files = Vec::new();
    files_below(from, &mut files);
    for file in files {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}

fn damage(path: &Path) -> Damage {
    match EmbeddedStore::open(EmbeddedOptions::at(path)) {
        Err(OpenError::Damaged { damage, .. }) => damage,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("opened"),
    }
}

#[tokio::test]
async fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letters.txt"), "dear").unwrap();
    let foreign = EmbeddedStore::open(EmbeddedOptions::at(folder.path()));
    assert!(matches!(foreign, Err(OpenError::Foreign { .. })));
    let mut files = Vec::new();
    files_below(folder.path(), &mut files);
    assert_eq!(files, [folder.path().join("letters.txt")]);
    let file = EmbeddedStore::open(EmbeddedOptions::at(folder.path().join("letters.txt")));
    assert!(matches!(file, Err(OpenError::Unusable { .. })));
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..3).await;
    let mark = folder.path().join("STORE");
    let mut bytes = std::fs::read(&mark).unwrap();
    bytes[35] = 2;
    let title = crc32fast::hash(&bytes[..36]);
    bytes[36..40].copy_from_slice(&title.to_be_bytes());
    std::fs::write(&mark, &bytes).unwrap();
    let newer = EmbeddedStore::open(EmbeddedOptions::at(folder.path()));
    assert!(matches!(newer, Err(OpenError::NewerFormat { found: 2, known: 1, .. })));
    assert_eq!(std::fs::read(&mark).unwrap(), bytes);
}

#[tokio::test]
async fn a_store_that_died_while_it_was_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    std::fs::remove_file(engine(folder.path()).join("version")).unwrap();
    filled(&open(folder.path()), "a", 0..3).await;
}

/// The journal's bytes that are used, and the file.
fn journal(path: &Path) -> (PathBuf, usize) {
    let file = engine(path).join("0.jnl");
    let bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (file, used)
}

#[tokio::test]
async fn a_journal_cut_short_is_noticed_and_stays_noticed() {
    for (part, of) in [(0, 1), (3, 10), (9, 10), (999, 1_000)] {
        let folder = tempfile::tempdir().unwrap();
        filled(&open(folder.path()), "a", 0..50).await;
        let (file, used) = journal(folder.path());
        let whole = std::fs::read(&file).unwrap();
        let length = used * part / of;
        std::fs::write(&file, &whole[..length]).unwrap();
        for _ in 0..2 {
            let damage = damage(folder.path());
            let Damage::EndMissing { acknowledged, found, .. } = damage else {
                panic!("{part} of {of}: {damage:?}");
            };
            assert_eq!(acknowledged, 51);
            assert!(found < 51);
        }
        // The copy is of the moment before the engine looked at it.
        let kept = std::fs::read(folder.path().join("journals-before-open/0.jnl")).unwrap();
        assert_eq!(kept, whole[..length]);
        // With its journal back, the store is whole again.
        std::fs::write(&file, &whole).unwrap();
        let store = open(folder.path());
        assert_eq!(store.read(&stream("a"), ALL).await.unwrap().events.len(), 50);
        assert!(!folder.path().join("journals-before-open").exists());
    }
}

#[tokio::test]
async fn every_changed_byte_of_a_journal_is_noticed_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..20).await;
    let (file, used) = journal(folder.path());
    let whole = std::fs::read(&file).unwrap()[..used].to_vec();
    let mark = std::fs::read(folder.path().join("STORE")).unwrap();
    let mut noticed = 0;
    for at in (0..used).step_by(used / 30) {
        let other = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), other.path());
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        std::fs::write(engine(other.path()).join("0.jnl"), &bytes).unwrap();
        std::fs::write(other.path().join("STORE"), &mark).unwrap();
        match EmbeddedStore::open(EmbeddedOptions::at(other.path())) {
            Err(OpenError::Damaged { .. }) => noticed += 1,
            Err(error) => panic!("byte {at}: {error}"),
            Ok(store) => {
                let page = store.read(&stream("a"), ALL).await.unwrap();
                let ids = page.events.iter().map(|event| event.event_id).collect::<Vec<_>>();
                let expected = (0..20).map(|id| event(id).event_id).collect::<Vec<_>>();
                assert_eq!(ids, expected, "byte {at}");
            }
        }
    }
    assert!(noticed >= 25, "{noticed} of 30");
    drop(file);
}

#[tokio::test]
async fn an_old_journal_put_back_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..10).await;
    let (file, _) = journal(folder.path());
    let old = std::fs::read(&file).unwrap();
    filled(&open(folder.path()), "b", 10..20).await;
    std::fs::write(&file, old).unwrap();
    let damage = damage(folder.path());
    assert!(matches!(damage, Damage::EndMissing { acknowledged: 22, found: 11, .. }), "{damage:?}");
}

#[tokio::test]
async fn a_journal_of_another_history_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..10).await;
    filled(&open(other.path()), "a", 100..110).await;
    std::fs::copy(journal(other.path()).0, journal(folder.path()).0).unwrap();
    let damage = damage(folder.path());
    assert!(matches!(damage, Damage::HistoriesMixed { .. }), "{damage:?}");
}

#[tokio::test]
async fn missing_files_are_named_before_the_engine_makes_them_anew() {
    for missing in ["STORE", "engine/version", "engine/0.jnl", "engine/keyspaces/1/current"] {
        let folder = tempfile::tempdir().unwrap();
        filled(&open(folder.path()), "a", 0..3).await;
        let mut before = Vec::new();
        std::fs::remove_file(folder.path().join(missing)).unwrap();
        files_below(folder.path(), &mut before);
        let Damage::FileMissing { name } = damage(folder.path()) else { panic!("{missing}") };
        assert!(name == missing || name == "engine/*.jnl", "{name}");
        let mut after = Vec::new();
        files_below(folder.path(), &mut after);
        before.sort_unstable();
        after.sort_unstable();
        assert_eq!(before, after, "something was made");
    }
}

/// A store whose records lie in several tables, and the files of its tables.
async fn with_tables(path: &Path) -> Vec<PathBuf> {
    let store = EmbeddedStore::open(small_memtables(path)).unwrap();
    let stream = stream("a");
    store.create(&stream, &header("a")).await.unwrap();
    for first in (0..6_000).step_by(500) {
        store.append(&stream, append((first..first + 500).map(event).collect())).await.unwrap();
    }
    drop(store);
    let mut tables = Vec::new();
    files_below(&engine(path).join("keyspaces/1/tables"), &mut tables);
    assert!(!tables.is_empty(), "nothing was flushed");
    tables
}

#[tokio::test]
async fn a_missing_table_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let tables = with_tables(folder.path()).await;
    std::fs::remove_file(&tables[0]).unwrap();
    let damage = damage(folder.path());
    assert!(matches!(damage, Damage::Engine { .. }), "{damage:?}");
}

#[tokio::test]
async fn a_changed_byte_in_a_table_never_reads_as_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let tables = with_tables(folder.path()).await;
    let whole = std::fs::read(&tables[0]).unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        std::fs::write(&tables[0], &bytes).unwrap();
        let store = match EmbeddedStore::open(small_memtables(folder.path())) {
            Ok(store) => store,
            Err(OpenError::Damaged { .. }) => {
                noticed += 1;
                continue;
            }
            Err(error) => panic!("byte {at}: {error}"),
        };
        match store.read(&stream("a"), ALL).await {
            Err(StoreError::Corrupt { .. }) => noticed += 1,
            Err(error) => panic!("byte {at}: {error}"),
            Ok(page) => {
                assert_eq!(page.events.len(), 6_000);
                assert!((0..).zip(&page.events).all(|(id, found)| *found == event(id)));
            }
        }
    }
    assert!(noticed > 0, "no byte of the table mattered");
}

/// Changes records behind the store's back, as the engine itself never does.
fn tamper(path: &Path, change: impl FnOnce(&fjall::Keyspace)) {
    let database = fjall::Database::builder(engine(path)).open().unwrap();
    change(&database.keyspace("records", Default::default).unwrap());
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

fn event_key(version: u64) -> Vec<u8> {
    [&[4][..], &1_u64.to_be_bytes(), &version.to_be_bytes()].concat()
}

#[tokio::test]
async fn an_event_missing_inside_a_stream_is_corrupt_and_not_a_shorter_history() {
    let folder = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..9).await;
    tamper(folder.path(), |records| records.remove(event_key(4)).unwrap());
    let store = open(folder.path());
    let read = store.read(&stream("a"), ALL).await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    let below = store.read(&stream("a"), ReadRange { events_max: 4, ..ALL }).await.unwrap();
    assert_eq!(below.events.len(), 4);
    let found = store.find(&stream("a"), &[event(4).event_id]).await;
    assert!(matches!(found, Err(StoreError::Corrupt { .. })), "{found:?}");
}

#[tokio::test]
async fn an_event_that_was_exchanged_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..9).await;
    tamper(folder.path(), |records| {
        let other = records.get(event_key(5)).unwrap().unwrap();
        records.insert(event_key(4), other).unwrap();
    });
    let read = open(folder.path()).read(&stream("a"), ALL).await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
}

#[tokio::test]
async fn a_commit_missing_in_the_middle_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    filled(&open(folder.path()), "a", 0..9).await;
    tamper(folder.path(), |records| {
        records.remove([&[1][..], &5_u32.to_be_bytes()].concat()).unwrap();
    });
    assert_eq!(damage(folder.path()), Damage::CommitMissing { missing: 5 });
}
