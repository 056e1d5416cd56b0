//! What to type next: commands that work as they stand.

use std::path::Path;

use super::server::Folder;

/// The name by which this program was started, so that the lines work where it was typed.
pub(super) fn text(folder: &Folder) -> String {
    let program = std::env::args_os().next();
    let program = program.map_or("streamgate".into(), |name| quoted(Path::new(&name)));
    let mut lines = Vec::new();
    if folder.is_kept() {
        let config = quoted(&folder.config());
        lines.push(format!("Next: everything is still in {}.", folder.path().display()));
        lines.push(format!("  {program} serve --config {config}"));
        lines.push("and, in another terminal:".into());
        lines.push(format!("  {program} objects list --limit 5"));
        lines.push(format!("  {program} migrations list --limit 5"));
        lines.push(format!("  {program} migrate --all --from cold --to hot"));
    } else {
        lines.push("Next: a server of your own".into());
        lines.push(format!("  {program} serve"));
        lines.push("and, in another terminal:".into());
        lines.push(format!("  {program} append order/1 OrderPlaced '{{\"total\": 42}}'"));
        lines.push(format!("  {program} read order/1"));
        lines.push(format!("or look into this: {program} demo --keep"));
    }
    lines.join("\n")
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-1")), "/tmp/a-1");
        assert_eq!(quoted(Path::new("/tmp/my data")), "'/tmp/my data'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
