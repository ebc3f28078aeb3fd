//! The layout of the source: which room may use which, and how large anything may grow.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A room may use those before it, never one after it.
const ROOMS: [&str; 10] = [
    "model",
    "wire",
    "index",
    "core",
    "io::files",
    "io::watch",
    "io::disk",
    "io::net",
    "io::node",
    "cli",
];

/// Lines of a file, without its unit tests.
const MAX_LINES: usize = 500;
/// Files of a folder.
const MAX_FILES: usize = 14;
/// Characters of a line, those of comments and of tests too.
const MAX_COLUMNS: usize = 100;

#[test]
fn no_import_runs_up_the_list_of_rooms() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let Some(own) = room_of(&module_of(&file)) else { continue };
        for used in uses(&text) {
            let Some(room) = room_of(&used) else { continue };
            if room > own {
                wrong.push(format!("{}: {} uses {used}", file.display(), ROOMS[own]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is longer has more than one owner in it.
#[test]
fn no_file_is_long_and_no_folder_full() {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{}: {lines} lines, and {MAX_LINES} are the limit",
            file.display()
        );
        *folders.entry(file.parent().expect("it is below src").to_owned()).or_default() += 1;
    }
    let full: Vec<_> = folders.into_iter().filter(|(_, files)| *files > MAX_FILES).collect();
    assert!(full.is_empty(), "more than {MAX_FILES} files in a folder: {full:?}");
}

/// What rustfmt leaves alone, such as comments and the insides of macros. A line of bytes in hex is
/// one word, and as long as it is.
#[test]
fn no_line_is_wide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    for folder in ["src", "tests", "benches", "examples"] {
        collect(&root.join(folder), &mut files);
    }
    for name in ["ARCHITECTURE.md", "TESTING.md"] {
        let path = root.join("docs").join(name);
        files.insert(path.clone(), fs::read_to_string(path).expect("it is here"));
    }
    let wide = |line: &str| line.chars().count() > MAX_COLUMNS && !is_one_word(line);
    let found: Vec<_> = files
        .iter()
        .flat_map(|(path, text)| text.lines().enumerate().map(move |(at, line)| (path, at, line)))
        .filter(|(.., line)| wide(line))
        .map(|(path, at, line)| format!("{}:{}: {line}", path.display(), at + 1))
        .collect();
    assert!(found.is_empty(), "more than {MAX_COLUMNS} characters: {found:#?}");
}

fn is_one_word(line: &str) -> bool {
    !line.trim().contains(' ')
}

#[test]
fn every_import_is_understood() {
    let text = "use crate::{\n    model::path::RelPath, // a path\n\
                io::{disk::{self, root::Root}, net},\n};\nuse std::fmt;\n\
                pub use crate::wire as bytes;\nuse super::x;\n";
    let expected = ["model::path::RelPath", "io::disk", "io::disk::root::Root", "io::net", "wire"];
    assert_eq!(uses(text), expected);
    assert_eq!(room_of("io::net::arp"), Some(7));
    assert_eq!((room_of("io"), room_of("input::disk")), (None, None));
    assert_eq!(module_of(Path::new("src/io/disk/mod.rs")), "io::disk");
    assert_eq!(module_of(Path::new("src/model/path.rs")), "model::path");
}

/// All source files, without their unit tests.
fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    collect(&root.join("src"), &mut found);
    assert!(found.len() > 100, "where is the source?");
    found
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path.strip_prefix(root).unwrap().to_owned(), without_tests(&text)))
        .collect()
}

fn is_test(path: &Path) -> bool {
    path.to_string_lossy().ends_with("tests.rs")
        || path.parent().is_some_and(|folder| folder.ends_with("tests"))
}

fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

fn collect(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).expect("the source is here") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("it can be read");
            found.insert(path, text);
        }
    }
}

/// `io::disk` for `src/io/disk/mod.rs`.
fn module_of(file: &Path) -> String {
    let name = file.with_extension("").to_string_lossy().replace('/', "::");
    let name = name.strip_prefix("src::").unwrap_or(&name);
    name.strip_suffix("::mod").unwrap_or(name).to_owned()
}

fn room_of(module: &str) -> Option<usize> {
    let is_in = |room: &str| module == room || module.starts_with(&format!("{room}::"));
    ROOMS.iter().position(|room| is_in(room))
}

/// What the file uses of this crate, without `crate::`.
fn uses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use crate::") {
        let statement = text[at + "use crate::".len()..].split(';').next().unwrap_or_default();
        let lines: Vec<&str> =
            statement.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        expand("", &lines.concat(), &mut found);
    }
    found
}

/// Takes the braces of a `use` apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim();
        if !name.is_empty() {
            found.push(format!("{prefix}{name}").trim_end_matches("::self").to_owned());
        }
        return;
    };
    let inner = inner.strip_suffix('}').expect("the braces of a use are closed");
    let (mut depth, mut from) = (0, 0);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                expand(&format!("{prefix}{}", head.trim()), &inner[from..at], found);
                from = at + 1;
            }
            _ => {}
        }
    }
    expand(&format!("{prefix}{}", head.trim()), &inner[from..], found);
}
