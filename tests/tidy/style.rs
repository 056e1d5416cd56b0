//! What every source file owes its reader, whatever part it belongs to.

use crate::source::{Source, words};

const COLUMNS_MAX: usize = 100;

/// Names that say nothing: a thing with no better home belongs to a part that has no name yet.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "types"];

/// Hosts that the repository's text may point to. Everything else is somebody's machine.
const PUBLIC_HOSTS: &[&str] = &[
    "127.0.0.1",
    // As the settings of stores that others run have them.
    "NAME.blob.core.windows.net",
    "NAME.documents.azure.com",
    "s3.us-east-1.amazonaws.com",
    "events.s3.us-east-1.amazonaws.com",
    "buf.build",
    "docs.rs",
    "example.com",
    "github.com",
    "grpc.io",
    "opensource.org",
    "prometheus.io",
    "www.apache.org",
    "www.rust-lang.org",
];

pub(crate) fn opening_sentence(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or("");
    let says = first.strip_prefix("//! ").is_some_and(|sentence| sentence.len() > 10);
    report(source, !says, 1, "open with a `//!` sentence that says what the file is for")
}

pub(crate) fn unfinished_marks(source: &Source) -> Vec<String> {
    // In pieces, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let calls = [concat!("to", "do"), concat!("unimple", "mented")];
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let marked = marks.iter().any(|mark| words(line, mark).next().is_some());
        found.extend(report(source, marked, index + 1, "finish it or leave it out"));
    }
    for (index, line) in source.code.lines().enumerate() {
        let called = calls
            .iter()
            .any(|call| words(line, call).any(|at| line[at + call.len()..].starts_with('!')));
        found.extend(report(source, called, index + 1, "finish it or leave it out"));
    }
    found
}

pub(crate) fn unwraps(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let lines = source.product_lines();
    let unwraps = lines.filter(|(_, line)| line.contains(".unwrap()"));
    let advice = "unwrap is for tests; expect(\"why it cannot fail\")";
    unwraps.flat_map(|(line, _)| report(source, true, line, advice)).collect()
}

/// A test that is passed over looks green without being so.
pub(crate) fn skipped_tests(source: &Source) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    let skipped = lines.filter(|(_, line)| line.contains("#[ignore"));
    skipped.flat_map(|(index, _)| report(source, true, index + 1, "no test is skipped")).collect()
}

pub(crate) fn empty_names(source: &Source) -> Vec<String> {
    let names = source.path.split('/').map(|name| name.strip_suffix(".rs").unwrap_or(name));
    let empty = names.into_iter().any(|name| EMPTY_NAMES.contains(&name));
    let inline = EMPTY_NAMES.iter().any(|name| {
        let declares = |at: usize| source.code[..at].ends_with("mod ");
        words(&source.code, name).any(declares)
    });
    report(source, empty || inline, 1, "name the module after what is in it")
}

pub(crate) fn long_lines(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
    long.flat_map(|(index, _)| report(source, true, index + 1, "at most 100 columns")).collect()
}

/// A reason is a value of `domain::Reason`; its word is written once.
pub(crate) fn reasons_as_text(source: &Source, reasons: &[&str]) -> Vec<String> {
    if source.path == "src/domain/reason.rs" || source.part().is_none() || source.is_test_kit() {
        return Vec::new();
    }
    let literals = source.literals.iter();
    let spelled = literals
        .filter(|(line, text)| reasons.contains(&text.as_str()) && !source.is_test_line(*line));
    spelled
        .flat_map(|(line, _)| report(source, true, *line, "say domain::Reason, not its word"))
        .collect()
}

/// Paths and hosts of the machines that the project happens to be written on.
pub(crate) fn foreign_places(path: &str, text: &str) -> Vec<String> {
    let workplace = concat!("/wo", "rk/");
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{path}:{}", index + 1);
        let mut parts = line.split(workplace);
        let before = parts.next().unwrap_or("");
        if parts.next().is_some() && !before.ends_with(|c: char| c.is_alphanumeric() || c == '.') {
            found.push(format!("{place}: a path of one machine"));
        }
        for scheme in ["http://", "https://"] {
            for (at, _) in line.match_indices(scheme) {
                let rest = &line[at + scheme.len()..];
                let is_host = |c: char| c.is_alphanumeric() || c == '.' || c == '-';
                let end = rest.find(|c| !is_host(c)).unwrap_or(rest.len());
                let host = rest[..end].trim_end_matches('.');
                // A name without a dot, or below the domain that is kept for examples, is a
                // placeholder: no machine of the world has one.
                let is_real = host.contains('.') && !host.ends_with(".example");
                if is_real && !PUBLIC_HOSTS.contains(&host) {
                    found.push(format!("{place}: {host} is not among the hosts we point to"));
                }
            }
        }
    }
    found
}

/// Where a forgotten state or class would do harm, `match` has no arm for the rest.
pub(crate) fn open_matches(source: &Source) -> Vec<String> {
    let exhaustive = ["src/domain/mod.rs", "src/migration/mod.rs", "src/grpc/status.rs"];
    let held = source.code.contains("#![warn(clippy::wildcard_enum_match_arm)]");
    let missing = exhaustive.contains(&source.path.as_str()) && !held;
    report(source, missing, 1, "say #![warn(clippy::wildcard_enum_match_arm)]")
}

/// Every folder of `src` explains itself in a `mod.rs`.
pub(crate) fn folders_without_module(paths: &[&str]) -> Vec<String> {
    let mut folders: Vec<&str> = paths
        .iter()
        .filter_map(|path| path.rsplit_once('/'))
        .map(|(folder, _)| folder)
        .filter(|folder| folder.starts_with("src/"))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    let has_module = |folder: &&str| {
        // A file may keep its tests in a folder beside it.
        paths.contains(&format!("{folder}/mod.rs").as_str())
            || paths.contains(&format!("{folder}.rs").as_str())
    };
    let bare = folders.iter().filter(|folder| !has_module(folder));
    bare.map(|folder| format!("{folder}: has no mod.rs that says what it is for")).collect()
}

fn report(source: &Source, wrong: bool, line: usize, advice: &str) -> Vec<String> {
    if wrong { vec![format!("{}:{line}: {advice}", source.path)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("src/store/error.rs", text)
    }

    #[test]
    fn a_file_without_an_opening_sentence_is_found() {
        assert_eq!(opening_sentence(&source("use std::fmt;\n")).len(), 1);
        assert_eq!(opening_sentence(&source("//! Why a store said no.\n")), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_found() {
        for text in [
            concat!("// TO", "DO: more\n"),
            concat!("// FIX", "ME\n"),
            concat!("fn f() { to", "do!() }\n"),
            concat!("fn f() { unimple", "mented!(\"x\") }\n"),
        ] {
            assert_eq!(unfinished_marks(&source(text)).len(), 1, "{text}");
        }
        assert_eq!(unfinished_marks(&source("fn todos() {}\n")), [""; 0]);
    }

    #[test]
    fn an_unwrap_is_found_in_product_code_only() {
        let text = "fn f() { g().unwrap() }\n";
        assert_eq!(unwraps(&source(text)).len(), 1);
        assert_eq!(unwraps(&source(&format!("#[cfg(test)]\nmod tests {{ {text} }}"))), [""; 0]);
        assert_eq!(unwraps(&Source::new("src/testing/kit.rs", text)), [""; 0]);
        assert_eq!(unwraps(&Source::new("tests/proxy.rs", text)), [""; 0]);
    }

    #[test]
    fn a_skipped_test_is_found() {
        let text = concat!("#[ig", "nore]\nfn f() {}\n");
        assert_eq!(skipped_tests(&Source::new("tests/proxy.rs", text)).len(), 1);
    }

    #[test]
    fn a_module_whose_name_says_nothing_is_found() {
        assert_eq!(empty_names(&Source::new("src/store/utils.rs", "")).len(), 1);
        assert_eq!(empty_names(&Source::new("src/helpers/mod.rs", "")).len(), 1);
        assert_eq!(empty_names(&source("mod common;\n")).len(), 1);
        assert_eq!(empty_names(&source("let types = 1;\n")), [""; 0]);
    }

    #[test]
    fn a_long_line_is_found() {
        assert_eq!(long_lines(&source(&"é".repeat(101))).len(), 1);
        assert_eq!(long_lines(&source(&"é".repeat(100))), [""; 0]);
    }

    #[test]
    fn a_core_part_without_exhaustive_matches_is_found() {
        let text = "#![warn(clippy::wildcard_enum_match_arm)]\n";
        assert_eq!(open_matches(&Source::new("src/migration/mod.rs", "")).len(), 1);
        assert_eq!(open_matches(&Source::new("src/migration/mod.rs", text)), [""; 0]);
    }

    #[test]
    fn a_reason_spelled_as_text_is_found() {
        let text = "const A: &str = \"CONTENDED\";\n";
        assert_eq!(reasons_as_text(&source(text), &["CONTENDED"]).len(), 1);
        assert_eq!(reasons_as_text(&Source::new("tests/a.rs", text), &["CONTENDED"]), [""; 0]);
    }

    #[test]
    fn a_place_of_one_machine_is_found() {
        let path = concat!("see /wo", "rk/main/src\n");
        assert_eq!(foreign_places("README.md", path).len(), 1);
        let host = concat!("http", "://registry.internal:8080/x\n");
        assert_eq!(foreign_places("README.md", host).len(), 1);
        let fine = "https://github.com/x and http://127.0.0.1:7401/metrics\n";
        assert_eq!(foreign_places("README.md", fine), [""; 0]);
    }

    #[test]
    fn a_folder_without_a_module_is_found() {
        assert_eq!(folders_without_module(&["src/store/error.rs"]).len(), 1);
        assert_eq!(folders_without_module(&["src/store/mod.rs", "src/store/a.rs"]), [""; 0]);
    }
}
