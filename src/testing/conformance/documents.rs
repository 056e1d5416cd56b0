//! The promises of [`DocumentStore`], one case each.

use std::any::Any;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::documents::{Document, DocumentError, DocumentKey, DocumentStore, Etag, Precondition};
use crate::domain::{ObjectKey, ObjectName};
use crate::runtime::{Entropy, SystemEntropy};
use crate::testing::parallel;

/// A document store under test.
#[derive(Clone)]
pub struct DocumentsSubject {
    pub documents: Arc<dyn DocumentStore>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl super::Finish for DocumentsSubject {
    async fn finish(&self) {}
}

impl DocumentsSubject {
    pub fn new(documents: impl DocumentStore) -> Self {
        Self::of(Arc::new(documents))
    }

    pub fn of(documents: Arc<dyn DocumentStore>) -> Self {
        Self { documents, keep: None }
    }

    /// Keeps what must live as long as the store, as its folder.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any + Send + Sync) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// A folder of keys that no other case has, also in a store that outlives the case.
    fn folder(&self) -> String {
        format!("cases/{}/", SystemEntropy.uuid())
    }

    fn key(&self) -> DocumentKey {
        DocumentKey::from_raw(format!("{}document", self.folder()))
    }

    async fn put(
        &self,
        key: &DocumentKey,
        body: impl Into<Bytes>,
        precondition: Precondition,
    ) -> Result<Etag, DocumentError> {
        self.documents.put(key, body.into(), precondition).await
    }

    async fn put_new(&self, key: &DocumentKey, body: impl Into<Bytes>) -> Etag {
        self.put(key, body, Precondition::Absent).await.expect("the key is new")
    }

    async fn get(&self, key: &DocumentKey) -> Option<Document> {
        self.documents.get(key).await.expect("documents can be read")
    }

    /// Keys of all pages of a listing.
    async fn list(&self, prefix: &str, limit: usize) -> Vec<String> {
        let prefix = DocumentKey::from_raw(prefix);
        let mut keys = Vec::new();
        let mut after = None;
        loop {
            let page = self.documents.list(&prefix, after.as_ref(), limit).await;
            let page = page.expect("documents can be listed");
            assert!(page.documents.len() <= limit, "at most the limit");
            keys.extend(page.documents.iter().map(|document| document.key.to_string()));
            match page.next {
                Some(next) => after = Some(next),
                None => return keys,
            }
        }
    }
}

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[include_str!("documents.rs")];

super::suite! { $ document_conformance, documents over DocumentsSubject, [
    an_absent_document_is_none
    a_document_comes_back_byte_for_byte
    a_put_if_absent_is_done_once
    a_put_is_done_only_on_the_state_it_names
    a_put_on_a_document_that_is_not_there_is_a_conflict
    a_delete_is_done_only_on_the_state_it_names
    etags_never_repeat_across_delete_and_write
    equal_bodies_still_have_different_etags
    racing_creations_have_one_winner
    racing_replacements_lose_no_count
    a_listing_is_ordered_by_the_keys_bytes
    a_listing_in_pages_returns_each_document_once
    a_listing_holds_to_its_prefix
    a_listing_starts_after_the_key_it_is_told
    a_listing_beside_writes_returns_what_stays
    hostile_names_stay_apart
    big_bodies_come_back
] }

/// Asserts that an answer is a conflict.
#[track_caller]
fn conflict<T: std::fmt::Debug>(answer: Result<T, DocumentError>) {
    assert!(matches!(answer, Err(DocumentError::Conflict)), "expected a conflict, got {answer:?}");
}

fn matches(etag: &Etag) -> Precondition {
    Precondition::Matches(etag.clone())
}

pub async fn an_absent_document_is_none(subject: DocumentsSubject) {
    assert_eq!(subject.get(&subject.key()).await, None);
    assert_eq!(subject.list(&subject.folder(), 10).await, [""; 0]);
}

pub async fn a_document_comes_back_byte_for_byte(subject: DocumentsSubject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 5] = [b"", b"\0", &every_byte, b"{\"a\": 1.0}\r\n", "🦀 é".as_bytes()];
    for body in bodies {
        let key = subject.key();
        let etag = subject.put_new(&key, body.to_vec()).await;
        let expected = Document { key: key.clone(), etag, body: Bytes::copy_from_slice(body) };
        assert_eq!(subject.get(&key).await, Some(expected));
    }
}

pub async fn a_put_if_absent_is_done_once(subject: DocumentsSubject) {
    let key = subject.key();
    let etag = subject.put_new(&key, "first").await;
    conflict(subject.put(&key, "second", Precondition::Absent).await);
    let kept = subject.get(&key).await.expect("it was written");
    assert_eq!((kept.etag, &kept.body[..]), (etag, &b"first"[..]));
}

pub async fn a_put_is_done_only_on_the_state_it_names(subject: DocumentsSubject) {
    let key = subject.key();
    let first = subject.put_new(&key, "1").await;
    let second = subject.put(&key, "2", matches(&first)).await.expect("nobody else wrote");
    conflict(subject.put(&key, "late", matches(&first)).await);
    conflict(subject.put(&key, "guess", Precondition::Matches(Etag("no etag".into()))).await);
    let kept = subject.get(&key).await.expect("it was written");
    assert_eq!((kept.etag, &kept.body[..]), (second, &b"2"[..]));
}

pub async fn a_put_on_a_document_that_is_not_there_is_a_conflict(subject: DocumentsSubject) {
    let key = subject.key();
    let etag = subject.put_new(&subject.key(), "another").await;
    conflict(subject.put(&key, "1", matches(&etag)).await);
    assert_eq!(subject.get(&key).await, None);
}

pub async fn a_delete_is_done_only_on_the_state_it_names(subject: DocumentsSubject) {
    let key = subject.key();
    let first = subject.put_new(&key, "1").await;
    let second = subject.put(&key, "2", matches(&first)).await.expect("nobody else wrote");
    conflict(subject.documents.delete(&key, &first).await);
    assert!(subject.get(&key).await.is_some());
    subject.documents.delete(&key, &second).await.expect("this is its state");
    assert_eq!(subject.get(&key).await, None);
    conflict(subject.documents.delete(&key, &second).await);
}

/// A write that slept through a deletion and a new creation must not find its state again.
pub async fn etags_never_repeat_across_delete_and_write(subject: DocumentsSubject) {
    let key = subject.key();
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let created = subject.put_new(&key, "same").await;
        let changed = subject.put(&key, "same", matches(&created)).await.expect("its state");
        assert!(seen.insert(created.clone()) && seen.insert(changed.clone()));
        subject.documents.delete(&key, &changed).await.expect("its state");
        subject.put_new(&key, "same").await;
        conflict(subject.put(&key, "late", matches(&changed)).await);
        conflict(subject.documents.delete(&key, &created).await);
        let now = subject.get(&key).await.expect("it was written").etag;
        assert!(seen.insert(now.clone()));
        subject.documents.delete(&key, &now).await.expect("its state");
    }
}

pub async fn equal_bodies_still_have_different_etags(subject: DocumentsSubject) {
    let key = subject.key();
    let first = subject.put_new(&key, "same").await;
    let second = subject.put(&key, "same", matches(&first)).await.expect("its state");
    assert_ne!(first, second);
    conflict(subject.put(&key, "same", matches(&first)).await);
}

pub async fn racing_creations_have_one_winner(subject: DocumentsSubject) {
    for _ in 0..20 {
        let key = subject.key();
        let rivals = (0..4).map(|rival| {
            let (subject, key) = (subject.clone(), key.clone());
            async move { subject.put(&key, vec![rival], Precondition::Absent).await }
        });
        let answers = parallel::all(rivals).await;
        let kept = subject.get(&key).await.expect("one of them wrote it");
        for (rival, answer) in (0..).zip(answers) {
            match answer {
                Ok(etag) => assert_eq!((etag, &kept.body[..]), (kept.etag.clone(), &[rival][..])),
                Err(error) => conflict(Err::<(), _>(error)),
            }
        }
    }
}

/// Writers that read, add one and write on condition: every success counts exactly once.
pub async fn racing_replacements_lose_no_count(subject: DocumentsSubject) {
    const WORKERS: u64 = 4;
    const COUNTS: u64 = 25;
    let key = subject.key();
    subject.put_new(&key, "0").await;
    let workers = (0..WORKERS).map(|_| {
        let (subject, key) = (subject.clone(), key.clone());
        async move {
            for _ in 0..COUNTS {
                loop {
                    let read = subject.get(&key).await.expect("it was written");
                    let text = std::str::from_utf8(&read.body).expect("a number");
                    let count: u64 = text.parse().expect("a number");
                    let next = (count + 1).to_string();
                    match subject.put(&key, next, matches(&read.etag)).await {
                        Ok(_) => break,
                        Err(DocumentError::Conflict) => tokio::task::yield_now().await,
                        Err(error) => panic!("a replacement was answered by {error:?}"),
                    }
                }
            }
        }
    });
    parallel::all(workers).await;
    let total = subject.get(&key).await.expect("it was written").body;
    assert_eq!(total, (WORKERS * COUNTS).to_string());
}

async fn fill(subject: &DocumentsSubject, folder: &str, names: &[&str]) -> Vec<String> {
    for name in names {
        subject
            .put_new(&DocumentKey::from_raw(format!("{folder}{name}")), (*name).to_owned())
            .await;
    }
    let sorted: BTreeSet<String> = names.iter().map(|name| format!("{folder}{name}")).collect();
    sorted.into_iter().collect()
}

const NAMES: [&str; 11] = ["b", "a", "!41", "a/b", "a!2f", "a-", "a_", "0", "z/z", "a.", "a/a"];

pub async fn a_listing_is_ordered_by_the_keys_bytes(subject: DocumentsSubject) {
    let folder = subject.folder();
    let expected = fill(&subject, &folder, &NAMES).await;
    assert_eq!(subject.list(&folder, 1_000).await, expected);
}

pub async fn a_listing_in_pages_returns_each_document_once(subject: DocumentsSubject) {
    let folder = subject.folder();
    let expected = fill(&subject, &folder, &NAMES).await;
    for limit in 1..=NAMES.len() + 1 {
        assert_eq!(subject.list(&folder, limit).await, expected, "in pages of {limit}");
    }
    let prefix = DocumentKey::from_raw(folder.clone());
    let page = subject.documents.list(&prefix, None, NAMES.len()).await;
    let page = page.expect("documents can be listed");
    assert_eq!(page.next, None, "there is nothing after the last");
    for document in page.documents {
        assert_eq!(subject.get(&document.key).await, Some(document), "with etag and body");
    }
}

pub async fn a_listing_holds_to_its_prefix(subject: DocumentsSubject) {
    let folder = subject.folder();
    fill(&subject, &folder, &["x", "x/1", "x/2", "x0", "w", "y", "X"]).await;
    let under = |prefix: &str| format!("{folder}{prefix}");
    assert_eq!(subject.list(&under("x/"), 10).await, [under("x/1"), under("x/2")]);
    let all = [under("x"), under("x/1"), under("x/2"), under("x0")];
    assert_eq!(subject.list(&under("x"), 2).await, all);
    assert_eq!(subject.list(&under("nothing"), 10).await, [""; 0]);
}

pub async fn a_listing_starts_after_the_key_it_is_told(subject: DocumentsSubject) {
    let folder = subject.folder();
    let expected = fill(&subject, &folder, &["a", "b", "c", "d"]).await;
    let prefix = DocumentKey::from_raw(folder.clone());
    // Keys that are there, that are between two, that come before all and after all.
    for (after, rest) in [("b", 2), ("bb", 2), ("", 0), ("d", 4), ("zz", 4)] {
        let after = DocumentKey::from_raw(format!("{folder}{after}"));
        let page = subject.documents.list(&prefix, Some(&after), 10).await;
        let keys = page.expect("documents can be listed").documents;
        let keys: Vec<String> = keys.iter().map(|document| document.key.to_string()).collect();
        assert_eq!(keys, expected[rest..], "after {after}");
    }
    let before_all = DocumentKey::from_raw("!");
    let page = subject.documents.list(&prefix, Some(&before_all), 10).await;
    assert_eq!(page.expect("documents can be listed").documents.len(), 4);
}

pub async fn a_listing_beside_writes_returns_what_stays(subject: DocumentsSubject) {
    let folder = subject.folder();
    let names: Vec<String> = (0..40).map(|number| format!("{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stay = fill(&subject, &folder, &names).await;
    let churn = {
        let (subject, folder) = (subject.clone(), folder.clone());
        async move {
            for round in 0..60_u32 {
                let key = DocumentKey::from_raw(format!("{folder}{:03}-passing", round % 40));
                let etag = subject.put_new(&key, "passing").await;
                subject.documents.delete(&key, &etag).await.expect("its state");
            }
            Vec::new()
        }
    };
    let lists = {
        let (subject, folder) = (subject.clone(), folder.clone());
        async move {
            let mut listings = Vec::new();
            for _ in 0..10 {
                listings.push(subject.list(&folder, 7).await);
                tokio::task::yield_now().await;
            }
            listings
        }
    };
    let both: [futures::future::BoxFuture<'static, Vec<Vec<String>>>; 2] =
        [Box::pin(churn), Box::pin(lists)];
    for mut listing in parallel::all(both).await.into_iter().flatten() {
        assert!(listing.is_sorted(), "in order also while others write");
        listing.retain(|key| !key.ends_with("passing"));
        assert_eq!(listing, stay, "what is there throughout is returned once");
    }
}

pub async fn hostile_names_stay_apart(subject: DocumentsSubject) {
    let unique = format!("T{}", SystemEntropy.uuid().simple());
    let name = ObjectName::new(unique).expect("letters and digits");
    let long = "é".repeat(127);
    let ids = [
        "..",
        ".",
        "a/b",
        "a!2fb",
        "%2F",
        "A",
        "a",
        "🦀",
        "é",
        "e\u{301}",
        " ",
        "!",
        "a b",
        "\\",
        "a\u{200b}",
        "*",
        &long,
    ];
    for id in ids {
        let object = ObjectKey::new(name.as_str(), id).expect("legal ids");
        subject.put_new(&DocumentKey::object(&object), id.to_owned()).await;
    }
    for id in ids {
        let object = ObjectKey::new(name.as_str(), id).expect("legal ids");
        let found = subject.get(&DocumentKey::object(&object)).await.expect("it was written");
        assert_eq!(found.body, id);
    }
    let listed = subject.list(DocumentKey::objects_named(&name).as_str(), 5).await;
    assert_eq!(listed.len(), ids.len());
}

pub async fn big_bodies_come_back(subject: DocumentsSubject) {
    let key = subject.key();
    let body: Vec<u8> =
        (0..1024 * 1024).map(|index: usize| (index * 7 + index / 256) as u8).collect();
    let etag = subject.put_new(&key, body.clone()).await;
    let found = subject.get(&key).await.expect("it was written");
    assert!(found.body == body && found.etag == etag);
    subject.put(&key, "small", matches(&etag)).await.expect("its state");
    assert_eq!(subject.get(&key).await.expect("it was written").body, "small");
}
