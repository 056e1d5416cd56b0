//! The documents that list what the code has: reasons, metrics and phases, each exactly.

/// Both lists as one finding an entry: what only one of them has.
fn differences(what: &str, code: &[String], document: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for name in code.iter().filter(|name| !document.contains(name)) {
        found.push(format!("{what} {name} is in the code and not in the document"));
    }
    for name in document.iter().filter(|name| !code.contains(name)) {
        found.push(format!("{what} {name} is in the document and not in the code"));
    }
    for (index, name) in document.iter().enumerate() {
        if document[..index].contains(name) {
            found.push(format!("{what} {name} is in the document twice"));
        }
    }
    found
}

/// `docs/errors.md` has a row for each class with its code, and a paragraph for each reason with
/// its class and that class's code.
pub(crate) fn errors(
    document: &str,
    classes: &[(&str, String)],
    reasons: &[(&str, &str)],
) -> Vec<String> {
    let pair = |left: &str, right: &str| format!("{left} ({right})");
    let rows = rows(document)
        .filter_map(|cells| Some(pair(&quoted(cells.first()?)?, &quoted(cells.get(2)?)?)));
    let code: Vec<String> = classes.iter().map(|(class, code)| pair(class, code)).collect();
    let mut found = differences("class", &code, &rows.collect::<Vec<String>>());

    let mut listed = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(reason) = line.strip_prefix("### ").and_then(quoted) else { continue };
        let text = lines.by_ref().find(|line| !line.is_empty()).unwrap_or("");
        if let Some((_, class)) = reasons.iter().find(|(name, _)| *name == reason) {
            let code = classes.iter().find(|(name, _)| name == class);
            let code = code.map_or("?", |(_, code)| code.as_str());
            if !text.starts_with(&format!("Class `{class}`, code `{code}`. ")) {
                found.push(format!("reason {reason} is of class {class} with code {code}"));
            }
        }
        listed.push(reason);
    }
    let code: Vec<String> = reasons.iter().map(|(name, _)| (*name).to_owned()).collect();
    found.extend(differences("reason", &code, &listed));
    found
}

/// The first cells of `docs/metrics.md` are exactly the constants of `telemetry/metrics.rs`, with
/// the prefix and, for counters, the ending that the registry puts on.
pub(crate) fn metrics(document: &str, code: &str) -> Vec<String> {
    let constants = code.lines().filter_map(|line| line.trim().split_once("const "));
    let names: Vec<String> = constants
        .filter_map(|(_, rest)| rest.split_once(": &str = \""))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect();
    if names.is_empty() {
        return vec!["telemetry/metrics.rs names no metric".into()];
    }
    let is_ours = |name: &str| name.starts_with("streamgate_");
    let listed = first_cells(document, is_ours).into_iter().map(|name| {
        let name = name.trim_start_matches("streamgate_");
        name.strip_suffix("_total").unwrap_or(name).to_owned()
    });
    differences("metric", &names, &listed.collect::<Vec<String>>())
}

/// The first cells of the table of phases in `docs/migration.md` are exactly the phases.
pub(crate) fn phases(document: &str, phases: &[&str]) -> Vec<String> {
    let section = document.split("\n## ").find(|section| section.starts_with("Phases"));
    let Some(section) = section else {
        return vec!["docs/migration.md has no section called Phases".into()];
    };
    let table = section.split("\n### ").next().unwrap_or(section);
    let code: Vec<String> = phases.iter().map(|phase| (*phase).to_owned()).collect();
    let upper = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    differences("phase", &code, &first_cells(table, upper))
}

/// Links of a document that lead to no file. `path` and the links are relative to the root.
pub(crate) fn dead_links(path: &str, document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (at, _) in document.match_indices("](") {
        let rest = &document[at + 2..];
        let target = rest.split([')', '#']).next().unwrap_or("");
        if target.is_empty() || target.contains("://") {
            continue;
        }
        let mut steps: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
        for step in target.split('/') {
            match step {
                ".." => drop(steps.pop()),
                "." => {}
                step => steps.push(step),
            }
        }
        if !exists(&steps.join("/")) {
            found.push(format!("{path}: the link to {target} leads nowhere"));
        }
    }
    found
}

/// What the first cells of all tables quote, if it passes.
fn first_cells(document: &str, passes: impl Fn(&str) -> bool) -> Vec<String> {
    let cells = rows(document).filter_map(|cells| quoted(cells.first()?));
    cells.filter(|name| passes(name)).collect()
}

fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| "));
    rows.map(|row| row.trim_end_matches([' ', '|']).split(" | ").collect())
}

/// The text between backticks, if that is all there is.
fn quoted(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix('`')?.strip_suffix('`')?;
    (!inner.contains('`')).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: &str = "| class | do | code |\n|---|---|---|\n| `bug` | report | `INTERNAL` |\n\
        \n### `BROKEN`\n\nClass `bug`, code `INTERNAL`. It broke.\n";

    fn errors_of(document: &str, code: &str, reasons: &[(&str, &str)]) -> usize {
        errors(document, &[("bug", code.into())], reasons).len()
    }

    #[test]
    fn a_reason_that_only_one_side_knows_is_found() {
        assert_eq!(errors_of(ERRORS, "INTERNAL", &[("BROKEN", "bug")]), 0);
        assert_eq!(errors_of(ERRORS, "INTERNAL", &[("BROKEN", "bug"), ("WORN", "bug")]), 1);
        assert_eq!(errors_of(ERRORS, "INTERNAL", &[]), 1);
        let (_, paragraph) = ERRORS.split_once("\n\n").unwrap();
        let twice = format!("{ERRORS}\n{paragraph}");
        assert_eq!(errors_of(&twice, "INTERNAL", &[("BROKEN", "bug")]), 1);
    }

    #[test]
    fn a_reason_of_another_class_or_code_is_found() {
        assert_eq!(errors_of(ERRORS, "INTERNAL", &[("BROKEN", "corrupt")]), 1);
        let other = ERRORS.replace("code `INTERNAL`.", "code `ABORTED`.");
        assert_eq!(errors_of(&other, "INTERNAL", &[("BROKEN", "bug")]), 1);
    }

    #[test]
    fn a_class_with_another_code_is_found() {
        let everywhere = ERRORS.replace("code `INTERNAL`.", "code `ABORTED`.");
        assert_eq!(errors_of(&everywhere, "ABORTED", &[("BROKEN", "bug")]), 2);
    }

    #[test]
    fn a_metric_that_only_one_side_knows_is_found() {
        let document = "| name | unit |\n|---|---|\n| `streamgate_appends_total` | appends |\n";
        let appends = "pub const APPENDS: &str = \"appends\";\n";
        let lag = "pub const LAG: &str = \"lag\";\n";
        assert_eq!(metrics(document, appends), [""; 0]);
        assert_eq!(metrics(document, &format!("{appends}{lag}")).len(), 1);
        assert_eq!(metrics(document, lag).len(), 2);
        assert_eq!(metrics(document, "").len(), 1);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let links = |text| dead_links("docs/a.md", text, |path| path == "docs/b.md" || path == "C");
        assert_eq!(links("[b](b.md#x) [c](../C) [a](#here) [w](https://docs.rs/x)"), [""; 0]);
        assert_eq!(links("[b](../b.md)").len(), 1);
    }

    #[test]
    fn a_phase_that_only_one_side_knows_is_found() {
        let document = "# M\n\n## Phases\n\n| `CLOSING` | x |\n\n### A\n\n| `OTHER` | x |\n";
        assert_eq!(phases(document, &["CLOSING"]), [""; 0]);
        assert_eq!(phases(document, &["CLOSING", "FAILED"]).len(), 1);
        assert_eq!(phases(document, &[]).len(), 1);
        assert_eq!(phases("# M\n", &["CLOSING"]).len(), 1);
    }
}
