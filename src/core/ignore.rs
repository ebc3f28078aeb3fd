//! `.p2pignore`: which paths are left alone, in the syntax of gitignore(5), and as git reads it:
//! `tests/ignore.rs` holds the two side by side.
//!
//! The one file at the root counts. It is itself synchronised, so every node leaves the same paths
//! alone. That is also why case counts everywhere, whatever a node's file system makes of it.

mod glob;

use std::{collections::BTreeSet, fmt};

use self::glob::{Glob, Progress};
use crate::model::{limits::MAX_IGNORE_RULES, path::RelPath};

/// The name of the file with the rules.
pub const IGNORE_FILE: &str = ".p2pignore";

/// Some editors begin every text with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The rules in force; none by default.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules(Vec<Rule>);

/// There are so many rules, which is more than [`MAX_IGNORE_RULES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyRules(usize);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    glob: Glob,
    /// It is held against whole paths from the root, rather than against each name.
    anchored: bool,
    /// Takes back what an earlier rule named.
    negated: bool,
    directories_only: bool,
}

impl fmt::Display for TooManyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it has {} rules, and {MAX_IGNORE_RULES} is the most; say more with fewer, as with *",
            self.0
        )
    }
}

impl std::error::Error for TooManyRules {}

impl IgnoreRules {
    /// Reads the rules of a file. All of them count, or none: what a part of them would name is not
    /// what their author meant.
    pub fn parse(text: &[u8]) -> Result<Self, TooManyRules> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let rules: Vec<_> = text.split(|&b| b == b'\n').filter_map(Rule::parse).collect();
        if rules.len() > MAX_IGNORE_RULES {
            Err(TooManyRules(rules.len()))
        } else {
            Ok(Self(rules))
        }
    }

    /// Is the path, or a directory that it is in, left alone? Of each, the last rule that names it
    /// says so.
    pub fn is_ignored(&self, path: &RelPath, is_directory: bool) -> bool {
        if path.is_root() || path.as_bytes() == IGNORE_FILE.as_bytes() {
            return false;
        }
        let mut progress = Progress::default();
        let mut taken_back = BTreeSet::new();
        self.0.iter().rev().any(|rule| {
            let mut named = rule.named(path.as_bytes(), is_directory, &mut progress);
            match rule.negated {
                true => {
                    taken_back.extend(named);
                    false
                }
                false => named.any(|end| !taken_back.contains(&end)),
            }
        })
    }
}

impl Rule {
    /// `None` for a blank line, a comment, or what can name nothing.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = trim_end(line);
        if line.starts_with(b"#") {
            return None;
        }
        let (negated, pattern) = match line.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (directories_only, pattern) = match pattern.strip_suffix(b"/") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        // A slash that is not the last character ties the pattern to the root.
        let anchored = pattern.contains(&b'/');
        let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
        if pattern.is_empty() {
            return None;
        }
        Some(Self { glob: Glob::parse(pattern)?, anchored, negated, directories_only })
    }

    /// Where in the path what the rule names ends: at a slash, if that is a directory that the path
    /// is in, or at its end.
    fn named(
        &self,
        path: &[u8],
        is_directory: bool,
        progress: &mut Progress,
    ) -> impl Iterator<Item = usize> {
        self.glob.begin(progress);
        let mut can_match = true;
        (1..=path.len()).filter(move |&end| {
            if !self.anchored && path[end - 1] == b'/' {
                self.glob.begin(progress);
                can_match = true;
                return false;
            }
            can_match = can_match && self.glob.read(path[end - 1], progress);
            let is_end = path.get(end).is_none_or(|byte| *byte == b'/');
            let is_directory = is_directory || end < path.len();
            can_match
                && is_end
                && (is_directory || !self.directories_only)
                && self.glob.matches(progress)
        })
    }
}

/// Without a carriage return, and without trailing spaces that are not escaped. To git, a NUL ends
/// the line.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let (mut end, mut escaped) = (0, false);
    for (at, byte) in line.iter().enumerate() {
        if *byte != b' ' || escaped {
            end = at + 1;
        }
        escaped = *byte == b'\\' && !escaped;
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES};

    fn ignored(rules: &str, path: &str) -> bool {
        IgnoreRules::parse(rules.as_bytes())
            .unwrap()
            .is_ignored(&RelPath::new(path.as_bytes()).unwrap(), false)
    }

    #[test]
    fn names_match_at_any_depth_and_paths_at_the_root() {
        assert!(ignored("*.tmp", "a.tmp") && ignored("*.tmp", "d/e/a.tmp"));
        assert!(ignored("/a", "a") && !ignored("/a", "d/a"));
        assert!(ignored("d/a", "d/a") && !ignored("d/a", "e/d/a"));
        assert!(ignored("d/**/x", "d/a/b/x") && ignored("d/**/x", "d/x"));
        assert!(!ignored("*.tmp", "a.txt") && !ignored("a*b", "a/b"));
    }

    #[test]
    fn what_is_in_an_ignored_directory_is_ignored() {
        assert!(ignored("build/", "build/x") && ignored("build/", "a/build/x/y"));
        assert!(!ignored("build/", "build"));
        assert!(ignored("build\n!build/x", "build/x"), "as in git");
    }

    #[test]
    fn the_last_rule_decides() {
        assert!(!ignored("*.log\n!keep.log", "keep.log") && ignored("*.log\n!keep.log", "a.log"));
    }

    #[test]
    fn classes_escapes_and_stars_are_those_of_git() {
        assert!(ignored("[[:digit:]]x", "1x") && !ignored("[[:digit:]]x", "dx"));
        assert!(ignored("\\temp", "temp") && ignored("\\b", "b") && !ignored("\\n", "\n"));
        assert!(ignored("foo**/bar", "foo/x/bar") && ignored("a**/b", "a/b"));
        assert!(!ignored("[a]/**", "a") && ignored("[a]/**", "a/x"));
        assert!(ignored("a\\\\ ", "a\\") && ignored("a\\ ", "a ") && !ignored("[a", "[a"));
        assert!(ignored("??", "\u{e9}") && !ignored("?", "\u{e9}"), "bytes");
    }

    /// Each star could be as long as the next one lets it.
    #[test]
    fn many_stars_take_no_time() {
        let name = "a".repeat(MAX_NAME_BYTES);
        assert!(!ignored(&("*a".repeat(120) + "b"), &name) && ignored(&"*a".repeat(120), &name));
        let path = ["a"; MAX_PATH_BYTES / 2].join("/");
        assert!(!ignored(&("**/a*/".repeat(1000) + "b"), &path));
        assert!(ignored(&("**/a*/".repeat(1000) + "a"), &path));
    }

    #[test]
    fn too_many_rules_are_none() {
        let lines = |count| "x\n# y\n\n".repeat(count).into_bytes();
        assert!(IgnoreRules::parse(&lines(MAX_IGNORE_RULES)).is_ok());
        let error = IgnoreRules::parse(&lines(MAX_IGNORE_RULES + 1)).unwrap_err().to_string();
        assert!(error.contains("1025") && error.contains("1024"), "{error}");
    }

    #[test]
    fn comments_escapes_and_braces() {
        assert!(!ignored("# a", "# a") && ignored("\\# a", "# a"));
        assert!(ignored("\\!a", "!a") && ignored("a{b}", "a{b}") && !ignored("a{b,c}", "ab"));
        assert!(ignored("a  ", "a") && ignored("a\r\n", "a") && ignored("[ab]x", "bx"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_rule() {
        assert!(
            ignored("\u{feff}secret\n*.bak", "secret") && ignored("\u{feff}secret\n*.bak", "a.bak")
        );
        assert!(!ignored("\u{feff}# a", "# a") && ignored("a\n\u{feff}b", "\u{feff}b"));
    }

    #[test]
    fn the_rules_themselves_are_synchronised() {
        assert!(!ignored("*", IGNORE_FILE) && ignored("*", "a"));
    }
}
