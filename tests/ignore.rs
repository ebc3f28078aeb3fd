//! The ignore rules beside git's own, for many sets of rules drawn at random. `IGNORE_SETS=10000`
//! tries as many of them instead of a few hundred.
//!
//! Each set is a `.gitignore` in a directory of its own, so that one `git check-ignore` answers for
//! many. Git is told to tell cases apart, as this program does everywhere.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use p2pnetwork::{core::ignore::IgnoreRules, model::path::RelPath};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestError, TestRunner},
};

const SETS: u32 = 320;
/// Sets that git is asked about at once.
const SETS_AT_ONCE: u32 = 64;

/// A file of rules, and paths to hold against it.
#[derive(Debug, Clone)]
struct Set {
    rules: Vec<u8>,
    /// With whether it is a directory.
    paths: Vec<(Vec<u8>, bool)>,
}

#[test]
fn rules_are_read_as_git_reads_them() {
    let sets = std::env::var("IGNORE_SETS").map_or(SETS, |text| text.parse().expect("a number"));
    let config = Config { cases: sets.div_ceil(SETS_AT_ONCE), ..Config::default() };
    let sets = vec(set(), SETS_AT_ONCE as usize);
    match TestRunner::new(config).run(&sets, |sets| compare(&sets)) {
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        ended => ended.expect("sets can be drawn"),
    }
}

/// What takes more than chance to come by: each of these rules beside each of these paths.
#[test]
fn corners_are_those_of_git() {
    const RULES: &[&str] = &[
        "a**/b",
        "/a**/b",
        "x/a**/b",
        "a/**",
        "a/**/b",
        "**/b",
        "**/a/b",
        "/**",
        "**/",
        "/**/",
        "**/**/b",
        "a**b",
        "a**\\/b",
        "a/**\\/b",
        "**\\/b",
        "a/**c/b",
        "a/c**/b",
        "a/**b",
        "a*/b",
        "a/*",
        "a/*/b",
        "/a?b",
        "/a[!c]b",
        "a?b",
        "a/?b",
        "a[/]b",
        "a[!c]b",
        "a[ -0]b",
        "a\\/b",
        "*b",
        "*/b",
        "/b",
        "b/",
        "a/b/",
        "!a",
        "\\!a",
        "\\#a",
        "#a",
        "a ",
        "a\\ ",
        "a\\\\ ",
        "a\\\\\\ ",
        "a \\ ",
        "a\\  ",
        "a \\",
        "a\\",
        "a\t",
        "\\a\\b",
        "\\tb",
        "[a-\\c]",
        "[\\a-\\c]",
        "[a-c",
        "a[",
        "[",
        "[]",
        "[!]",
        "[]]",
        "[!]]",
        "[]-a]",
        "[a-]",
        "[-a]",
        "[a-c-e]",
        "[c-a]",
        "[[:a]",
        "[[:a]]",
        "[[:a]b]",
        "[[:]",
        "[[::]]",
        "[[:nothing:]]",
        "[[:digit:]-z]",
        "[a-[:digit:]]",
        "{a,b}",
        "a\0b",
        "a\r",
        "\r",
        "",
        "/",
        "//",
        "//a",
        "!",
        "!/",
        "\u{fc}",
        "?",
        "??",
        "a//b",
        "**//b",
        "a**//b",
        "/a",
    ];
    const PATHS: &[&str] = &[
        "a", "b", "c", "d", "e", "z", "1", "-", ":", "[", "]", "!", "!a", "#a", "a ", "a  ", "a\\",
        "a\\ ", "a \\", "a\t", "a\r", "\r", "ab", "a-b", "acb", "axb", "tb", "\tb", "\\b", "[a",
        "a[", ":]", "a]", "[]", "b]", "{a,b}", "\u{fc}", "a/b", "a/c/b", "a/c/d/b", "ax/b",
        "ax/c/b", "x/a/b", "x/ab", "x/ax/c/b", "c/b", "x/b", "x/y/b", "a/xb", "a/x/yb", "a/xc/b",
        "a/cx/b", "a/x/c/b", "a/c/x/b", "a/bx/y", "b/x",
    ];
    const DIRECTORIES: &[&str] = &["f/b", "f/a/b", "f/a/c"];
    let paths = PATHS.iter().map(|path| (path, false));
    let paths = paths.chain(DIRECTORIES.iter().map(|path| (path, true)));
    let paths: Vec<_> = paths.map(|(path, is)| (path.as_bytes().to_vec(), is)).collect();
    let set = |rule: &str| Set { rules: rule.as_bytes().to_vec(), paths: paths.clone() };
    let sets: Vec<_> = RULES.iter().map(|rule| set(rule)).collect();
    compare(&sets).unwrap();
}

#[test]
fn every_class_has_the_bytes_that_it_has_in_git() {
    let names = "alnum alpha blank cntrl digit graph lower print punct space upper xdigit";
    let named = names.split(' ').map(|name| format!("x[[:{name}:]]"));
    let ranges =
        ["x?", "x[!a]", "x[^a-z]", "x[ --]", "x[+-0]", "x[\u{80}-\u{fc}]"].map(str::to_owned);
    let names = (1..=u8::MAX).filter(|byte| *byte != b'/').map(|byte| (vec![b'x', byte], false));
    let paths: Vec<_> = names.collect();
    let set = |rule: String| Set { rules: rule.into_bytes(), paths: paths.clone() };
    let sets: Vec<_> = named.chain(ranges).map(set).collect();
    compare(&sets).unwrap();
}

fn compare(sets: &[Set]) -> Result<(), TestCaseError> {
    let theirs = ask_git(sets);
    let mut theirs = theirs.iter();
    for set in sets {
        let rules = IgnoreRules::parse(&set.rules).expect("they are few");
        for (path, _) in &set.paths {
            let theirs = theirs.next().expect("git answers for each path");
            let is_directory = set.is_directory(path);
            let ours = rules.is_ignored(&RelPath::new(path).expect("it is legal"), is_directory);
            let (rules, path) = (set.rules.escape_ascii(), path.escape_ascii());
            prop_assert_eq!(
                ours,
                *theirs,
                "rules \"{}\", path \"{}\", directory: {}",
                rules,
                path,
                is_directory
            );
        }
    }
    Ok(())
}

impl Set {
    /// One that is to be there, or that one of those is in.
    fn is_directory(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        let mut there = self.paths.iter().filter(|(_, is_directory)| *is_directory);
        there.any(|(directory, _)| directory == path || directory.starts_with(&below))
    }
}

/// Is it ignored? For each path of each set.
fn ask_git(sets: &[Set]) -> Vec<bool> {
    let at = tempfile::tempdir().unwrap();
    git(at.path(), &["init", "-q", "--template="])
        .status()
        .map(|status| assert!(status.success()))
        .unwrap();
    let mut question = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        let own = at.path().join(number.to_string());
        fs::create_dir(&own).unwrap();
        fs::write(own.join(".gitignore"), &set.rules).unwrap();
        for (path, is_directory) in &set.paths {
            if *is_directory {
                fs::create_dir_all(own.join(os_str(path))).unwrap();
            }
            question.extend([number.to_string().as_bytes(), b"/", path, b"\0"].concat());
        }
    }
    let file = at.path().join("question");
    fs::write(&file, question).unwrap();
    let mut command = git(at.path(), &["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"]);
    let answer = command.stdin(File::open(file).unwrap()).stderr(Stdio::inherit()).output();
    let answer = answer.unwrap().stdout;
    let fields: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
    // Of four fields, the third is the rule that decides, if there is one.
    fields.chunks_exact(4).map(|fields| !matches!(fields[2], [] | [b'!', ..])).collect()
}

fn git(at: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.current_dir(at)
        .args(["-c", "core.ignoreCase=false", "-c", "core.excludesFile=/dev/null"])
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", at)
        .env("GIT_CONFIG_NOSYSTEM", "1");
    git
}

fn os_str(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

fn set() -> impl Strategy<Value = Set> {
    vec(path(), 1..8).prop_flat_map(|paths| {
        let rules = vec(rule(paths.clone()), 1..5);
        let directories = vec(any::<bool>(), paths.len());
        let ends = (
            select(&["", "", "\u{feff}", "\n"][..]),
            select(&["\n", "\n", "\r\n"][..]),
            any::<bool>(),
        );
        (Just(paths), directories, rules, ends).prop_map(
            |(paths, directories, rules, (begin, end, ends))| {
                let mut rules = [begin.as_bytes(), &rules.join(end.as_bytes())].concat();
                if ends {
                    rules.extend(end.bytes());
                }
                let paths = paths.into_iter().zip(directories).collect();
                Set { rules, paths: distinct(paths) }
            },
        )
    })
}

/// Git is asked for each path once, and a directory is no file.
fn distinct(paths: Vec<(Vec<u8>, bool)>) -> Vec<(Vec<u8>, bool)> {
    let mut seen = BTreeSet::new();
    paths.into_iter().filter(|(path, _)| seen.insert(path.clone())).collect()
}

/// What most names are made of.
const PLAIN: &[&str] = &["a", "b", "a", "b", "foo", "1", "A", ".", "-", " "];

/// What some are made of, too.
const ODD: &[&str] = &[
    "temp", "~", "_", "!", "#", "*", "?", "[", "]", "^", "{", "}", "\\", "  ", ":", ",", "\t",
    "\r", "\n", "\u{b}", "\u{7f}", "\u{fc}", "\u{feff}",
];

/// What rules are made of, but for names.
const SPECIAL: &[&str] = &[
    "/",
    "/",
    "/",
    "*",
    "*",
    "**",
    "**",
    "***",
    "?",
    "/**/",
    "**/",
    "/**",
    "/*",
    "\\/",
    "[",
    "]",
    "[!",
    "[^",
    "[a-z]",
    "[]a]",
    "[]-a]",
    "[a-]",
    "[!a]",
    "[[:digit:]]",
    "[[:alpha:]",
    "[^[:space:]]",
    "[[:punct:]a]",
    "[[:cntrl:]]",
    "[[:graph:][:blank:]]",
    "[[:print:]]",
    "[[:upper:]]",
    "[[:blank:]]",
    "[[:space:]]",
    "[[:lower:]-z]",
    "[[:alnum:]_]",
    "[[:xdigit:]]",
    "[[:nothing:]]",
    "[[::]]",
    "[[:]",
    "[[:a]",
    "[[:a]]",
    "[a\\]]",
    "[\\a-\\z]",
    "[a-\\",
    "[/]",
    "[+-0]",
    "[!b]",
    "[-",
    "-",
    "\\",
    "\\\\",
    "\\ ",
    "\\\\ ",
    "\\t",
    "\\b",
    "\\n",
    "\\r",
    "\\*",
    "\\!",
    "\\#",
    "#",
    "!",
    "\0",
];

/// What may be put in the place of some bytes, which are `@` here.
const STAND_INS: &[&str] = &[
    "?",
    "*",
    "**",
    "*@",
    "@*",
    "**@",
    "@**",
    "\\@",
    "[@]",
    "[!@]",
    "[^@]",
    "[\\@]",
    "[]@]",
    "[@-]",
    "[-@]",
    "[@-~]",
    "[ -@]",
    "[ -\\@]",
    "[\\@-~]",
    "[!~@]",
    "[[:a@]",
    "[/@]",
    "@**/",
    "/**/@",
    "[[:digit:]@]",
    "[[:alnum:]]",
    "[[:print:]]",
    "[![:space:]]",
    "[[:space:]]",
    "[[:nothing:]@]",
];

fn path() -> impl Strategy<Value = Vec<u8>> {
    let plain = select(PLAIN).prop_map(|text| text.as_bytes().to_vec());
    let odd = select(ODD).prop_map(|text| text.as_bytes().to_vec());
    let byte = (1..=u8::MAX).prop_filter("a slash", |byte| *byte != b'/');
    let piece = prop_oneof![12 => plain, 3 => odd, 1 => byte.prop_map(|byte| vec![byte])];
    let name = vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let name = name.prop_filter("no name", |name| name != b"." && name != b"..");
    vec(name, 1..5).prop_map(|names| names.join(&b'/'))
}

/// One that is made up, or one made of a path.
fn rule(paths: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![select(PLAIN), select(SPECIAL)];
    let made_up = vec(piece, 0..7).prop_map(|pieces| pieces.concat().into_bytes());
    let length = prop_oneof![3 => Just(1), 2 => 0..9_usize];
    let new = prop_oneof![3 => select(STAND_INS), 1 => select(SPECIAL)];
    let change = (any::<Index>(), length, new);
    let around = (
        select(&["", "", "", "/", "/", "!", "!/", "*", "**/", "#"][..]),
        select(&["", "", "", "", "/", "*", "/**", "**", " ", "\\", "\\ ", "\\\\ "][..]),
    );
    let of_path = (select(paths), 0..3_usize, vec(change, 0..5), around).prop_map(of_path);
    prop_oneof![1 => made_up, 3 => of_path]
}

type Changes = Vec<(Index, usize, &'static str)>;

/// The path without its first names, with something in the place of some of its bytes.
fn of_path(
    (path, skipped, changes, (before, after)): (Vec<u8>, usize, Changes, (&str, &str)),
) -> Vec<u8> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let mut rule = names[skipped.min(names.len() - 1)..].join(&b'/');
    for (at, length, new) in changes {
        let at = at.index(rule.len());
        let end = (at + length).min(rule.len());
        let old = rule[at..end].to_vec();
        let own = |byte| if byte == b'@' { old.clone() } else { vec![byte] };
        rule.splice(at..end, new.bytes().flat_map(own));
        if rule.is_empty() {
            break;
        }
    }
    [before.as_bytes(), &rule, after.as_bytes()].concat()
}
