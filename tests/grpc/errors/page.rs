//! What `docs/errors.md` promises of each reason.

use std::collections::{BTreeMap, BTreeSet};

/// The lines under one reason that say something definite.
#[derive(Debug, Default)]
pub(super) struct Promise {
    /// The keys behind *Metadata:*.
    pub(super) metadata: BTreeSet<String>,
    /// The paragraph behind *The client:*.
    pub(super) advice: String,
    /// Whether it comes with a delay.
    pub(super) has_delay: bool,
}

pub(super) fn promises() -> BTreeMap<String, Promise> {
    let page = include_str!("../../../docs/errors.md");
    let sections = page.split("\n### `").skip(1);
    sections.map(|section| section.split_once('`').unwrap()).map(promise).collect()
}

fn promise((reason, text): (&str, &str)) -> (String, Promise) {
    let text = text.split("\n## ").next().unwrap();
    let paragraphs = text.split("\n\n");
    let mut promise = Promise::default();
    for paragraph in paragraphs.map(str::trim) {
        if let Some(words) = paragraph.strip_prefix("*Metadata:*") {
            let quoted = words.split('`').skip(1).step_by(2);
            promise.metadata = quoted.map(str::to_owned).collect();
        } else if let Some(words) = paragraph.strip_prefix("*The client:*") {
            promise.advice = words.trim().to_owned();
        } else if paragraph.starts_with("*Delay:*") {
            promise.has_delay = true;
        }
    }
    (reason.to_owned(), promise)
}
