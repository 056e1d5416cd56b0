//! Rust source as the checks see it: code without comments and literals, the literals apart, and
//! which lines belong to tests.

/// One file of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Relative to the repository's root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked out, line by line the same.
    pub(crate) code: String,
    /// The string literals with the line they start on, counted from 1.
    pub(crate) literals: Vec<(usize, String)>,
    /// For each line whether it is compiled for tests only.
    test_lines: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let Lexed { code, literals } = lex(text);
        let is_test_file = path.ends_with("/tests.rs") || path.contains("/tests/");
        let test_lines = if is_test_file {
            vec![true; text.lines().count()]
        } else {
            lines_of_test_items(&code)
        };
        Self { path: path.into(), text: text.into(), code, literals, test_lines }
    }

    /// The part of the system that the file belongs to: the first name below `src`.
    pub(crate) fn part(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let first = below.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// The names of the modules from the part down to this file.
    pub(crate) fn module_path(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let names = below.split('/').map(|name| name.strip_suffix(".rs").unwrap_or(name));
        names.filter(|name| *name != "mod").collect()
    }

    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// The test kit is compiled for tests only, and so may do what tests may.
    pub(crate) fn is_test_kit(&self) -> bool {
        self.part() == Some("testing")
    }

    /// The lines of code that run outside tests, counted from 1.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(line, _)| !self.is_test_kit() && !self.is_test_line(*line))
    }

    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The offsets at which `word` stands in `text` with no letter, digit or `_` on either side.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || character == '_')
    };
    text.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
        let (before, after) = (&text[..*offset], &text[offset + word.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

struct Lexed {
    code: String,
    literals: Vec<(usize, String)>,
}

/// Blanks comments and literals. Lifetimes stay; a quote opens a character only if it closes.
fn lex(text: &str) -> Lexed {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => end_of_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_block(&chars, at),
            '"' => end_of_string(&chars, at),
            'r' if !follows_name(&chars, at) => end_of_raw_string(&chars, at).unwrap_or(at),
            '\'' => end_of_character(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            line += usize::from(chars[at] == '\n');
            code.push(chars[at]);
            at += 1;
            continue;
        }
        let taken = &chars[at..end];
        if taken[0] == '"' || taken[0] == 'r' {
            let literal: String = taken.iter().collect();
            let inner = literal.trim_start_matches('r').trim_matches('#').trim_matches('"');
            literals.push((line, inner.to_owned()));
            code.push('"');
        }
        line += taken.iter().filter(|character| **character == '\n').count();
        code.extend(taken.iter().map(|character| if *character == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    Lexed { code, literals }
}

fn follows_name(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|index| chars[index]);
    // The `b` of a raw byte string is no name.
    before.is_some_and(|before| before != 'b' && (before.is_alphanumeric() || before == '_'))
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|character| *character == '\n').map_or(chars.len(), |n| at + n)
}

fn end_of_block(chars: &[char], at: usize) -> usize {
    let (mut depth, mut index) = (0, at);
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => (depth, index) = (depth + 1, index + 2),
            ('*', '/') if depth == 1 => return index + 2,
            ('*', '/') => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], at: usize) -> usize {
    let mut index = at + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

fn end_of_raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|character| **character == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut index = open + 1;
    while index < chars.len() {
        let closes = chars[index] == '"'
            && chars[index + 1..].iter().take(hashes).filter(|next| **next == '#').count()
                == hashes;
        if closes {
            return Some(index + 1 + hashes);
        }
        index += 1;
    }
    Some(chars.len())
}

fn end_of_character(chars: &[char], at: usize) -> Option<usize> {
    match (chars.get(at + 1)?, chars.get(at + 2)?) {
        ('\\', _) => {
            let rest = &chars[at + 3..];
            rest.iter().take(12).position(|character| *character == '\'').map(|n| at + 4 + n)
        }
        (_, '\'') => Some(at + 3),
        _ => None,
    }
}

/// The lines from each `#[cfg(test)]` to the end of the item that follows it.
fn lines_of_test_items(code: &str) -> Vec<bool> {
    let count = code.lines().count();
    let mut lines = vec![false; count];
    for (offset, _) in code.match_indices("#[cfg(test)]") {
        let first = code[..offset].matches('\n').count();
        let (mut depth, mut end) = (0_usize, code.len());
        for (index, character) in code[offset..].char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            let ends = (character == '}' || character == ';') && depth == 0;
            if ends {
                end = offset + index;
                break;
            }
        }
        let last = code[..end].matches('\n').count();
        lines[first..=last.min(count - 1)].fill(true);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "let a = \"crate::x // no\"; // crate::y\n/* a /* b */ crate::z */ let b = 'c';\n";
        let source = Source::new("src/domain/a.rs", text);
        assert!(!source.code.contains("crate"), "{}", source.code);
        assert_eq!(source.literals, [(1, "crate::x // no".to_owned())]);
        assert_eq!(source.code.lines().count(), text.lines().count());
    }

    #[test]
    fn raw_strings_escapes_and_lifetimes_are_told_apart() {
        let text =
            "fn f<'a>(x: &'a str) { g(r#\"a \" b\"#, \"\\\"\", '\\'', '\"', br\"q\") } // end";
        let source = Source::new("src/domain/a.rs", text);
        assert!(source.code.contains("<'a>(x: &'a str)"), "{}", source.code);
        assert_eq!(source.literals.len(), 3, "{:?}", source.literals);
        assert!(!source.code.contains("end"));
    }

    #[test]
    fn test_items_are_found_to_their_end() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n";
        let source = Source::new("src/domain/a.rs", text);
        let product: Vec<usize> = source.product_lines().map(|(line, _)| line).collect();
        assert_eq!(product, [1, 6]);
    }
}
