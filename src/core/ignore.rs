//! `.p2pignore`: which paths are left alone, in the syntax of gitignore(5).
//!
//! The one file at the root counts. It is itself synchronised, so every node leaves the same paths
//! alone.

use log::warn;

use crate::model::{limits::MAX_IGNORE_RULES, path::RelPath};

/// The name of the file with the rules.
pub const IGNORE_FILE: &str = ".p2pignore";

/// Some editors begin every text with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The rules in force; none by default.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules(Vec<Rule>);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    glob: Vec<u8>,
    /// Takes back what an earlier rule named.
    negated: bool,
    directories_only: bool,
}

impl IgnoreRules {
    /// Reads the rules of a file. Lines beyond the `MAX_IGNORE_RULES`th are left out, and said to
    /// be.
    pub fn parse(text: &[u8]) -> Self {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut rules: Vec<_> = text.split(|&b| b == b'\n').filter_map(Rule::parse).collect();
        if rules.len() > MAX_IGNORE_RULES {
            warn!("{IGNORE_FILE} has more than {MAX_IGNORE_RULES} rules: the others do not count");
            rules.truncate(MAX_IGNORE_RULES);
        }
        Self(rules)
    }

    /// Is the path, or a directory that it is in, left alone?
    pub fn is_ignored(&self, path: &RelPath, is_directory: bool) -> bool {
        if self.0.is_empty() || path.is_root() || path.as_bytes() == IGNORE_FILE.as_bytes() {
            return false;
        }
        let bytes = path.as_bytes();
        let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        slashes.into_iter().any(|end| self.names(&bytes[..end], true))
            || self.names(bytes, is_directory)
    }

    /// The last rule that matches decides.
    fn names(&self, path: &[u8], is_directory: bool) -> bool {
        let applies = |rule: &&Rule| {
            (is_directory || !rule.directories_only) && fast_glob::glob_match(&rule.glob, path)
        };
        self.0.iter().rev().find(applies).is_some_and(|rule| !rule.negated)
    }
}

impl Rule {
    /// `None` for a blank line or a comment.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = trim_end(line);
        if line.is_empty() || line.starts_with(b"#") {
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
        let mut glob = if anchored { Vec::new() } else { b"**/".to_vec() };
        translate(pattern, &mut glob);
        Some(Self { glob, negated, directories_only })
    }
}

/// What the matcher knows and gitignore does not is escaped.
fn translate(pattern: &[u8], glob: &mut Vec<u8>) {
    let mut escaped = false;
    for &byte in pattern {
        let special = matches!(byte, b'{' | b'}') || byte == b'!' && glob.is_empty();
        if special && !escaped {
            glob.push(b'\\');
        }
        glob.push(byte);
        escaped = byte == b'\\' && !escaped;
    }
}

/// Without a carriage return, and without trailing spaces that are not escaped.
fn trim_end(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while line.ends_with(b" ") && !line.ends_with(b"\\ ") {
        line = &line[..line.len() - 1];
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        IgnoreRules::parse(rules.as_bytes())
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
