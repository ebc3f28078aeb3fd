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
    sample::select,
    test_runner::{Config, TestError, TestRunner},
};

const SETS: u32 = 512;
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
        let rules = vec(rule(paths.clone()), 1..6);
        let directories = vec(any::<bool>(), paths.len());
        let ends = (any_of(&["", "\u{feff}", "\n"]), any_of(&["\n", "\r\n"]), any::<bool>());
        (Just(paths), directories, rules, ends).prop_map(
            |(paths, directories, rules, (begin, end, ends))| {
                let mut rules = [begin.into_bytes(), rules.join(end.as_bytes())].concat();
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

fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(str::to_owned)
}

/// What names are made of: some of it means something in a rule.
const NAMES: &[&str] = &[
    "a", "b", "ab", "foo", "temp", "A", "Z", "1", ".", "-", "_", "!", "#", "*", "?", "[", "]", "^",
    "{", "}", "\\", " ", "  ", ":", ",", "~", "\t", "\r", "\n", "\u{b}", "\u{7f}", "\u{fc}",
    "\u{feff}",
];

/// What rules are made of.
const RULES: &[&str] = &[
    "a",
    "b",
    "foo",
    "temp",
    "1",
    ".",
    "!",
    "#",
    " ",
    "  ",
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
    "[[:lower:]-z]",
    "[[:alnum:]_]",
    "[[:xdigit:]]",
    "[[:nothing:]]",
    "[[::]]",
    "[[:]",
    "[[:a]",
    "[a\\]]",
    "[\\a-\\z]",
    "[a-\\",
    "[/]",
    "[+-0]",
    "[-",
    "-",
    "{",
    "}",
    ",",
    "\\",
    "\\\\",
    "\\ ",
    "\\t",
    "\\b",
    "\\n",
    "\\r",
    "\\*",
    "\\/",
    "\\!",
    "\\#",
    "\t",
    "\r",
    "\0",
    "\u{fc}",
    "\u{feff}",
];

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = vec(piece(NAMES), 1..4).prop_map(|pieces| pieces.concat());
    let name = name.prop_filter("no name", |name| name != b"." && name != b"..");
    vec(name, 1..5).prop_map(|names| names.join(&b'/'))
}

/// One that is made up, or one made of a path.
fn rule(paths: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let made_up = vec(piece(RULES), 0..7).prop_map(|pieces| pieces.concat());
    let changes = vec((any::<prop::sample::Index>(), any::<bool>(), piece(RULES)), 0..4);
    let around =
        (any_of(&["", "", "!", "/", "!/", "*", "**/"]), any_of(&["", "", "/", "*", "/**", " "]));
    let of_path = (select(paths), 0..3_usize, changes, around).prop_map(change);
    prop_oneof![made_up, of_path]
}

type Changes = Vec<(prop::sample::Index, bool, Vec<u8>)>;

/// Without the first names, with something put in or in another's place here and there.
fn change(
    (path, skipped, changes, (before, after)): (Vec<u8>, usize, Changes, (String, String)),
) -> Vec<u8> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let mut rule = names[skipped.min(names.len() - 1)..].join(&b'/');
    for (at, replaces, piece) in changes {
        let at = at.index(rule.len() + 1);
        let end = (at + usize::from(replaces)).min(rule.len());
        rule.splice(at..end, piece);
    }
    [before.as_bytes(), &rule, after.as_bytes()].concat()
}

/// One of these, or any byte.
fn piece(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let known = select(texts).prop_map(|text| text.as_bytes().to_vec());
    let byte =
        (1..=u8::MAX).prop_filter("no slash", |byte| *byte != b'/').prop_map(|byte| vec![byte]);
    prop_oneof![15 => known, 1 => byte]
}
