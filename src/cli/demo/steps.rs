//! What the demonstration does to files, and how it is seen that it was done elsewhere.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use crate::{core::random::Random, model::path::STATE_DIR};

const LARGE_BYTES: usize = 8 * 1024 * 1024;
const NOTE: &str = "What is written here is there.\n";
const EDITED: &str = "What is written here is there.\nAnd back.\n";

/// Not to be compressed. Made before anything is measured.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    (0..LARGE_BYTES / 8).flat_map(|_| random.next().to_ne_bytes()).collect()
});

/// One thing that a user may do.
pub struct Step {
    /// What, after the name of the node on which it is done.
    pub title: &'static str,
    /// Index of the node on which it is done.
    pub writer: usize,
    /// Does it in the directory given.
    pub act: fn(&Path) -> io::Result<()>,
    /// Is the outcome in the directory given?
    arrived: fn(&Path) -> bool,
}

impl Step {
    /// Is the outcome in `directory`, whole and identical?
    pub fn has_arrived(&self, directory: &Path) -> bool {
        (self.arrived)(directory)
    }
}

/// In this order.
pub fn all() -> [Step; 6] {
    LazyLock::force(&LARGE);
    [
        Step {
            title: "writes a text file",
            writer: 0,
            act: |d| fs::write(d.join("note.txt"), NOTE),
            arrived: |d| has(d, "note.txt", NOTE.as_bytes()),
        },
        Step {
            title: "makes nested directories with a file",
            writer: 0,
            act: |d| {
                fs::create_dir_all(d.join("pictures/2026/empty"))?;
                fs::write(d.join("pictures/2026/index"), "1\n")
            },
            arrived: |d| {
                has(d, "pictures/2026/index", b"1\n") && d.join("pictures/2026/empty").is_dir()
            },
        },
        Step {
            title: "writes a file of 8 MiB",
            writer: 0,
            act: |d| fs::write(d.join("large.bin"), &*LARGE),
            arrived: |d| has(d, "large.bin", &LARGE),
        },
        Step {
            title: "renames a directory",
            writer: 0,
            act: |d| fs::rename(d.join("pictures"), d.join("photos")),
            arrived: |d| has(d, "photos/2026/index", b"1\n") && is_gone(d, "pictures"),
        },
        Step {
            title: "edits the text file",
            writer: 1,
            act: |d| fs::write(d.join("note.txt"), EDITED),
            arrived: |d| has(d, "note.txt", EDITED.as_bytes()),
        },
        Step {
            title: "deletes the large file",
            writer: 2,
            act: |d| fs::remove_file(d.join("large.bin")),
            arrived: |d| is_gone(d, "large.bin"),
        },
    ]
}

/// Everything below `directory` but the node's own state: the content of files, `None` for
/// directories. `None` while it changes under our eyes.
pub fn tree(directory: &Path) -> Option<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut tree = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(directory.join(&below)).ok()? {
            let entry = entry.ok()?;
            let path = below.join(entry.file_name());
            if path == Path::new(STATE_DIR) {
                continue;
            }
            let is_directory = entry.file_type().ok()?.is_dir();
            let content = if is_directory { None } else { Some(fs::read(entry.path()).ok()?) };
            if is_directory {
                waiting.push(path.clone());
            }
            tree.insert(path, content);
        }
    }
    Some(tree)
}

fn has(directory: &Path, path: &str, content: &[u8]) -> bool {
    let path = directory.join(path);
    // Most looks at a file come before it is there: they should cost nothing.
    let is_long_enough = fs::metadata(&path).is_ok_and(|found| found.len() == content.len() as u64);
    is_long_enough && fs::read(&path).is_ok_and(|found| found == content)
}

fn is_gone(directory: &Path, path: &str) -> bool {
    matches!(directory.join(path).symlink_metadata(), Err(error)
        if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_arrived_where_it_was_done_and_not_before() {
        let here = tempfile::tempdir().unwrap();
        for step in all() {
            assert!(!step.has_arrived(here.path()), "{}", step.title);
            (step.act)(here.path()).unwrap();
            assert!(step.has_arrived(here.path()), "{}", step.title);
        }
        fs::create_dir(here.path().join(STATE_DIR)).unwrap();
        let paths: Vec<PathBuf> = tree(here.path()).unwrap().into_keys().collect();
        let wanted =
            ["note.txt", "photos", "photos/2026", "photos/2026/empty", "photos/2026/index"];
        assert_eq!(paths, wanted.map(PathBuf::from));
    }
}
