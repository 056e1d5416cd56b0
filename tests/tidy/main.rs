//! Holds what reviews need not look at: who imports whom, the shape of source files, and that the
//! documents name exactly what the code has. Each check is shown a planted fault beside it.

mod arrows;
mod documents;
mod formats;
mod source;
mod style;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;
use streamgate::domain::{ErrorClass, Reason};
use streamgate::grpc::status::code_of;
use streamgate::migration::Phase;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder, sorted; none when there is no such folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    let below = path.strip_prefix(root()).expect("only files of the repository are read");
    below.to_str().expect("our file names are plain text").replace('\\', "/")
}

fn sources() -> Vec<Source> {
    let folders = ["src", "tests", "benches", "tools/cosmos-emulator/src"];
    let files = folders.iter().flat_map(|folder| files_below(&root().join(folder)));
    let rust = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| {
        Source::new(&relative(&path), &fs::read_to_string(&path).expect("source is UTF-8"))
    };
    let sources: Vec<Source> = rust.map(read).collect();
    assert!(sources.len() > 10, "the tree was not found");
    sources
}

/// Everything that is written for people or machines, but for the lock file.
fn texts() -> Vec<(String, String)> {
    let folders = [
        ".ci",
        "benches",
        "config",
        "deploy",
        "docs",
        "examples",
        "proto",
        "scripts",
        "src",
        "tests",
        "tools/cosmos-emulator/src",
    ];
    let mut files: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files_below(&root().join(folder))).collect();
    // What the examples install and generate is not ours.
    let not_ours = ["node_modules", ".venv", "gen"];
    files.retain(|path| !path.iter().any(|step| not_ours.iter().any(|name| step == *name)));
    let top = fs::read_dir(root()).expect("the root can be read");
    files.extend(top.map(|entry| entry.expect("the root can be read").path()).filter(|path| {
        let is_ours = path.extension().is_some_and(|extension| {
            ["md", "toml", "yaml", "rs"].iter().any(|ours| extension == *ours)
        });
        path.is_file() && (is_ours || path.ends_with("Dockerfile"))
    }));
    let read = |path: &PathBuf| Some((relative(path), fs::read_to_string(path).ok()?));
    files.iter().filter_map(read).collect()
}

/// Fails with every finding of a check over all sources.
#[track_caller]
fn hold(check: impl Fn(&Source) -> Vec<String>) {
    none(sources().iter().flat_map(check).collect());
}

#[track_caller]
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn imports_follow_the_table_of_parts() {
    hold(arrows::forbidden_arrows);
}

#[test]
fn super_stays_within_its_part() {
    hold(arrows::escaping_supers);
}

#[test]
fn every_file_opens_with_a_sentence() {
    hold(style::opening_sentence);
}

#[test]
fn nothing_is_left_unfinished() {
    hold(style::unfinished_marks);
}

#[test]
fn unwrap_is_for_tests() {
    hold(style::unwraps);
}

#[test]
fn no_test_is_skipped() {
    hold(style::skipped_tests);
}

#[test]
fn modules_are_named_after_what_is_in_them() {
    hold(style::empty_names);
}

#[test]
fn lines_have_at_most_100_columns() {
    hold(style::long_lines);
}

#[test]
fn core_parts_match_exhaustively() {
    hold(style::open_matches);
}

#[test]
fn reasons_are_spelled_in_one_place() {
    let words = Reason::ALL.map(Reason::as_str);
    hold(|source| style::reasons_as_text(source, &words));
}

#[test]
fn every_folder_says_what_it_is_for() {
    let sources = sources();
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    none(style::folders_without_module(&paths));
}

#[test]
fn text_names_no_place_of_one_machine() {
    let found = texts().iter().flat_map(|(path, text)| style::foreign_places(path, text)).collect();
    none(found);
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_reason_has_its_paragraph() {
    let classes = ErrorClass::ALL.map(|class| (class.label(), code_word(code_of(class))));
    let reasons = Reason::ALL.map(|reason| (reason.as_str(), reason.class().label()));
    none(documents::errors(&document("docs/errors.md"), &classes, &reasons));
}

/// `FailedPrecondition` as the wire and everybody else spells it.
fn code_word(code: impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(character.to_ascii_uppercase());
    }
    word
}

#[test]
fn every_phase_has_its_row() {
    none(documents::phases(&document("docs/migration.md"), &Phase::ALL.map(Phase::as_str)));
}

#[test]
fn every_metric_has_its_row() {
    let sources = sources();
    let named = sources.iter().filter(|source| source.path == "src/telemetry/metrics.rs");
    let found =
        named.flat_map(|source| documents::metrics(&document("docs/metrics.md"), &source.text));
    none(found.collect());
}

#[test]
fn links_between_documents_lead_somewhere() {
    let texts = texts();
    let documents = texts.iter().filter(|(path, _)| path.ends_with(".md"));
    let exists = |path: &str| root().join(path).exists();
    let found = documents.flat_map(|(path, text)| documents::dead_links(path, text, exists));
    none(found.collect());
}
