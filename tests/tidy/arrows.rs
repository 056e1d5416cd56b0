//! Who may import whom: the table of the architecture, held against every path in `src`.

use crate::source::{Source, words};

/// Each part with the parts that it may name, below the values that everybody may.
///
/// `runtime` names `domain` for the timestamp alone. What is not listed is forbidden.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("runtime", &["domain"]),
    ("telemetry", &["domain"]),
    ("store", PORTS_MAY),
    ("documents", PORTS_MAY),
    ("lock", PORTS_MAY),
    ("proxy", CORE_MAY),
    ("migration", CORE_MAY),
    ("backends", &["domain", "runtime", "telemetry", "store", "documents"]),
    ("coordination", &["domain", "runtime", "telemetry", "documents", "lock"]),
    ("grpc", GRPC_MAY),
    ("config", CONFIG_MAY),
    ("app", APP_MAY),
    ("cli", &["domain", "runtime", "telemetry", "grpc", "config", "app"]),
    ("testing", EVERYTHING),
    ("lib", EVERYTHING),
    ("main", &["cli"]),
];

const PORTS_MAY: &[&str] = &["domain", "runtime", "telemetry"];
const CORE_MAY: &[&str] = &["domain", "runtime", "telemetry", "store", "documents", "lock"];
const GRPC_MAY: &[&str] =
    &["domain", "runtime", "telemetry", "store", "documents", "lock", "proxy", "migration"];
const CONFIG_MAY: &[&str] = &[
    "domain",
    "runtime",
    "telemetry",
    "store",
    "documents",
    "lock",
    "proxy",
    "migration",
    "backends",
    "coordination",
    "grpc",
];
const APP_MAY: &[&str] = &[
    "domain",
    "runtime",
    "telemetry",
    "store",
    "documents",
    "lock",
    "proxy",
    "migration",
    "backends",
    "coordination",
    "grpc",
    "config",
];
const EVERYTHING: &[&str] = &[
    "domain",
    "runtime",
    "telemetry",
    "store",
    "documents",
    "lock",
    "proxy",
    "migration",
    "backends",
    "coordination",
    "grpc",
    "config",
    "app",
    "cli",
    "testing",
];

/// Crates that one part alone may know, with the parts that may.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("tonic", &["grpc", "cli", "app", "testing"]),
    ("prost", &["grpc", "cli", "testing"]),
    ("hyper", &["grpc"]),
    ("tonic_web", &["grpc"]),
    ("tower_http", &["grpc"]),
    ("fjall", &["backends"]),
    ("azure_core", &["backends"]),
    ("azure_data_cosmos", &["backends"]),
    ("azure_storage_blob", &["backends"]),
    ("object_store", &["backends"]),
    ("tokio_postgres", &["backends"]),
    ("redis", &["coordination"]),
    ("clap", &["cli", "main"]),
];

/// The generated messages, which only these may name.
const MAY_SPEAK_PROTOBUF: &[&str] = &["grpc", "cli", "testing"];

/// Every path in product code that the table does not allow.
pub(crate) fn forbidden_arrows(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let Some(part) = source.part() else { return found };
    let Some((_, may)) = MAY_IMPORT.iter().find(|(name, _)| *name == part) else {
        found.push(format!("{}: {part} is not in the table of parts", source.path));
        return found;
    };
    for (offset, path) in own_paths(source) {
        let line = source.line_of(offset);
        if source.is_test_line(line) {
            continue;
        }
        let place = format!("{}:{line}", source.path);
        let names: Vec<&str> = path.split("::").collect();
        let target = names[0];
        let is_part = EVERYTHING.contains(&target);
        if is_part && target != part && !may.contains(&target) {
            found.push(format!("{place}: {part} must not name crate::{target}"));
        }
        if part == "backends" && target == "backends" {
            found.extend(backend_arrow(source, &place, &names));
        }
        let speaks = target == "grpc" && names.get(1) == Some(&"v1");
        if speaks && !MAY_SPEAK_PROTOBUF.contains(&part) {
            found.push(format!("{place}: {part} must not name the generated messages"));
        }
    }
    found.extend(foreign_crates(source, part));
    found.dedup();
    found
}

/// A backend that names another.
fn backend_arrow(source: &Source, place: &str, names: &[&str]) -> Option<String> {
    let modules = source.module_path();
    let (own, other) = (modules.get(1)?, names.get(1)?);
    (own != other).then(|| format!("{place}: backends::{own} must not name backends::{other}"))
}

fn foreign_crates(source: &Source, part: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, owners) in OWNED_CRATES {
        if owners.contains(&part) {
            continue;
        }
        for (line, text) in source.product_lines() {
            let named = words(text, name).any(|offset| {
                let after = &text[offset + name.len()..];
                after.starts_with("::") && !text[..offset].ends_with("::")
            });
            if named {
                found.push(format!("{}:{line}: {part} must not know {name}", source.path));
            }
        }
    }
    found
}

/// Every path that starts at the root of this crate, without `crate::`, groups taken apart.
fn own_paths(source: &Source) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for root in ["crate", "streamgate"] {
        for offset in words(&source.code, root) {
            let Some(rest) = source.code[offset + root.len()..].strip_prefix("::") else {
                continue;
            };
            if !source.code[..offset].ends_with("::") {
                paths.extend(paths_of(rest).into_iter().map(|path| (offset, path)));
            }
        }
    }
    paths
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths_of(text: &str) -> Vec<String> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        return members_of(inner).into_iter().flat_map(paths_of).collect();
    }
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let end = text.find(|character| !is_name(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match rest.strip_prefix("::") {
        Some(rest) if rest.trim_start().starts_with(|c: char| is_name(c) || c == '{') => {
            paths_of(rest).into_iter().map(|path| format!("{name}::{path}")).collect()
        }
        Some(_) | None => vec![name.to_owned()],
    }
}

/// The members of a group whose opening brace was taken.
fn members_of(text: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(text[start..index].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

/// Every `super` that climbs out of its part.
pub(crate) fn escaping_supers(source: &Source) -> Vec<String> {
    let depth_of_file = source.module_path().len();
    let Some(part) = source.part() else { return Vec::new() };
    if ["lib", "main"].contains(&part) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for offset in words(&source.code, "super") {
        if source.code[..offset].ends_with("::") {
            continue;
        }
        let mut climbs = 1;
        let mut rest = &source.code[offset + "super".len()..];
        while let Some(next) = rest.strip_prefix("::super") {
            (climbs, rest) = (climbs + 1, next);
        }
        let depth = depth_of_file + inline_modules_around(&source.code[..offset]);
        if climbs >= depth {
            let line = source.line_of(offset);
            found.push(format!("{}:{line}: super leaves {part}, say crate::", source.path));
        }
    }
    found
}

/// How many `mod name { ... }` are open at the end of `code`.
fn inline_modules_around(code: &str) -> usize {
    let mut braces = Vec::new();
    for (index, character) in code.char_indices() {
        match character {
            '{' => {
                let head = code[..index].rsplit(['{', '}', ';']).next().unwrap_or("");
                braces.push(words(head, "mod").next().is_some());
            }
            '}' => {
                braces.pop();
            }
            _ => {}
        }
    }
    braces.into_iter().filter(|is_module| *is_module).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(path: &str, text: &str) -> Vec<String> {
        forbidden_arrows(&Source::new(path, text))
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found() {
        for (path, text) in [
            ("src/domain/a.rs", "use crate::store::EventStore;"),
            ("src/store/a.rs", "use crate::documents::DocumentStore;"),
            ("src/proxy/a.rs", "use crate::{domain::Event, migration};"),
            ("src/proxy/a.rs", "fn f() { crate::migration::machine::step() }"),
            ("src/migration/a.rs", "use crate::{\n    domain::Event,\n    proxy::{a, b},\n};"),
            ("src/coordination/a.rs", "use crate::store::EventStore;"),
            ("src/config/a.rs", "use crate::app::run;"),
            ("src/app.rs", "use crate::cli::Command;"),
            ("src/grpc/a.rs", "use crate::testing::Faulty;"),
            ("src/elsewhere/a.rs", "fn f() {}"),
            ("src/main.rs", "use streamgate::app::run;"),
        ] {
            assert_eq!(arrows(path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn backends_do_not_know_each_other() {
        let text = "use crate::backends::memory::Streams;";
        assert_eq!(arrows("src/backends/embedded/a.rs", text).len(), 1);
        assert_eq!(arrows("src/backends/memory/a.rs", text), [""; 0]);
    }

    #[test]
    fn generated_messages_and_owned_crates_stay_where_they_belong() {
        let text = "use crate::grpc::v1::AppendRequest;";
        assert_eq!(arrows("src/app.rs", text).len(), 1);
        assert_eq!(arrows("src/cli/append.rs", text), [""; 0]);
        assert_eq!(arrows("src/proxy/a.rs", "fn f() -> tonic::Status { g() }").len(), 1);
        assert_eq!(arrows("src/documents/a.rs", "use fjall::Keyspace;").len(), 1);
        assert_eq!(arrows("src/grpc/a.rs", "use tonic::Status;"), [""; 0]);
    }

    #[test]
    fn allowed_arrows_comments_literals_and_tests_are_left_alone() {
        for (path, text) in [
            ("src/store/a.rs", "use crate::{domain::Event, runtime::Clock, telemetry::fields};"),
            ("src/store/a.rs", "// crate::proxy\nconst A: &str = \"crate::proxy\";"),
            ("src/store/a.rs", "#[cfg(test)]\nmod tests {\n use crate::testing::Faulty;\n}"),
            ("src/store/tests.rs", "use crate::testing::Faulty;"),
            ("src/testing/a.rs", "use crate::grpc::v1::AppendRequest; use crate::app::run;"),
            ("src/cli/a.rs", "use crate::app::run; use tonic::Code;"),
        ] {
            assert_eq!(arrows(path, text), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_super_that_leaves_its_part_is_found() {
        let escapes = |path, text| escaping_supers(&Source::new(path, text)).len();
        assert_eq!(escapes("src/store/mod.rs", "use super::domain::Event;"), 1);
        assert_eq!(escapes("src/store/mod.rs", "pub(super) fn f() {}"), 1);
        assert_eq!(escapes("src/store/error.rs", "use super::super::domain::Event;"), 1);
        assert_eq!(escapes("src/store/error.rs", "use super::Append;"), 0);
        assert_eq!(escapes("src/store/mod.rs", "mod tests {\n use super::*;\n}"), 0);
        assert_eq!(escapes("src/store/error.rs", "mod tests {\n use super::super::Append;\n}"), 0);
        assert_eq!(escapes("src/store/error.rs", "mod a { fn f() {} }\nuse super::super::B;"), 1);
        assert_eq!(escapes("src/backends/memory/mod.rs", "use super::Options;"), 0);
    }
}
