//! The files of this repository, and what of them is code.
//!
//! A rule speaks of code, not of the words about it: [`Source::code`] blanks comments
//! and literals, so that a file may explain what it must not do.

use std::fs;
use std::path::{Path, PathBuf};

/// One file, by its path from the root of the repository.
pub(crate) struct Source {
    /// With `/` between folders.
    pub(crate) path: String,
    /// As it lies on disk.
    pub(crate) text: String,
}

impl Source {
    /// The text with comments and the insides of literals blanked, line by line.
    pub(crate) fn code(&self) -> String {
        blank(&self.text)
    }

    /// Whether all of it is there for tests or benches.
    pub(crate) fn is_test(&self) -> bool {
        let folder = |name: &str| self.path.split('/').rev().skip(1).any(|part| part == name);
        folder("tests") || folder("benches") || self.path.contains("_tests")
    }

    /// How many lines stand before its test module.
    pub(crate) fn production_lines(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        tests.unwrap_or(lines.len())
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in the repository")
        .to_path_buf()
}

/// All files whose names end with `.extension`, in order, `target` and dot folders aside.
pub(crate) fn files(extension: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut |path| {
        if path.extension().is_some_and(|end| end == extension) {
            let name = path.strip_prefix(&root).expect("below the root");
            let text = fs::read_to_string(path).expect("a readable file");
            found.push(Source {
                path: name.display().to_string(),
                text,
            });
        }
    });
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.expect("an entry has a name");
        if path.is_symlink() || name == "target" || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            walk(&path, see);
        } else {
            see(&path);
        }
    }
}

/// Where the scanner stands.
#[derive(Clone, Copy)]
enum At {
    Code,
    LineComment,
    BlockComment(u32),
    Text,
    RawText(usize),
}

fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut n) = (At::Code, 0);
    while n < chars.len() {
        let (next, taken, keep) = step(at, &chars[n..]);
        for c in &chars[n..n + taken] {
            out.push(if keep || *c == '\n' { *c } else { ' ' });
        }
        (at, n) = (next, n + taken);
    }
    out
}

/// The next state, how many characters it takes to get there, and whether they are code.
fn step(at: At, rest: &[char]) -> (At, usize, bool) {
    let begins = |word: &str| word.chars().zip(rest).filter(|(a, b)| a == *b).count() == word.len();
    match at {
        At::Code if begins("//") => (At::LineComment, 2, false),
        At::Code if begins("/*") => (At::BlockComment(1), 2, false),
        At::Code if rest[0] == '"' => (At::Text, 1, false),
        At::Code if rest[0] == 'r' && raw_hashes(rest).is_some() => {
            let hashes = raw_hashes(rest).unwrap_or(0);
            (At::RawText(hashes), hashes + 2, false)
        }
        At::Code if rest[0] == '\'' => (At::Code, char_literal(rest), true),
        At::Code if rest[0].is_alphanumeric() || rest[0] == '_' => {
            let word = rest
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .count();
            let raw = word == 1 && matches!(rest[0], 'r') && raw_hashes(rest).is_some();
            (At::Code, if raw { 1 } else { word }, true)
        }
        At::Code => (At::Code, 1, true),
        At::LineComment => (if rest[0] == '\n' { At::Code } else { at }, 1, false),
        At::BlockComment(depth) if begins("*/") => (
            if depth == 1 {
                At::Code
            } else {
                At::BlockComment(depth - 1)
            },
            2,
            false,
        ),
        At::BlockComment(depth) if begins("/*") => (At::BlockComment(depth + 1), 2, false),
        At::BlockComment(_) => (at, 1, false),
        At::Text if rest[0] == '\\' => (at, 2.min(rest.len()), false),
        At::Text => (if rest[0] == '"' { At::Code } else { at }, 1, false),
        At::RawText(hashes) => {
            let ends =
                rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes;
            if ends {
                (At::Code, 1 + hashes, false)
            } else {
                (at, 1, false)
            }
        }
    }
}

/// The number of `#` if a raw literal begins here.
fn raw_hashes(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

/// How long the literal is that begins with a quote; 1 for a lifetime.
fn char_literal(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => rest
            .iter()
            .skip(3)
            .position(|c| *c == '\'')
            .map_or(1, |at| at + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

#[test]
fn comments_and_literals_are_no_code() {
    let code = |text: &str| blank(text).split_whitespace().collect::<Vec<_>>().join(" ");

    assert_eq!(code("a // b\nc"), "a c");
    assert_eq!(code("a /* b /* c */ d */ e"), "a e");
    assert_eq!(code("f(\"b \\\" c\") + g"), "f( ) + g");
    assert_eq!(code("f(r#\"a \" b\"#) + bar\"x\""), "f( ) + bar");
    assert_eq!(code("'\"' 'a '\\'' \"b\" c"), "'\"' 'a '\\'' c");
}
