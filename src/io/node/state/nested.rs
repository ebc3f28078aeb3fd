//! Directories of other nodes around a directory and in it.
//!
//! Two groups may share what is in both. If it is one group, its directory would be put into
//! itself, again and again.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

use super::{GROUP_FILE, StateError, read_key, state_dir};
use crate::{
    model::{limits::MAX_NESTED_ENTRIES, path::STATE_DIR},
    wire::join_code::GroupKey,
};

/// Warns of each, and refuses one that is in the same group.
pub(super) fn look(root: &Path, group: &GroupKey) -> Result<(), StateError> {
    for other in above(root).into_iter().chain(below(root)) {
        if matches!(read_key(&state_dir(&other)), Ok(Some(key)) if key == *group) {
            return Err(StateError::InItself { directory: root.to_owned(), other });
        }
        let (inner, outer) =
            if other.starts_with(root) { (&*other, root) } else { (root, &*other) };
        log::warn!(
            "{} is p2pnetwork's, too, and in {}: what is in it is synchronised with both groups",
            inner.display(),
            outer.display()
        );
    }
    Ok(())
}

fn above(root: &Path) -> Option<PathBuf> {
    root.ancestors().skip(1).find(|directory| is_of_a_node(directory)).map(Path::to_owned)
}

/// Those that are not too deep to be found at a glance. No link is followed.
fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = VecDeque::from([root.to_owned()]);
    let mut left = MAX_NESTED_ENTRIES;
    while let Some(directory) = waiting.pop_front() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            left = left.saturating_sub(1);
            if left == 0 {
                return found;
            }
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match entry.file_name() == STATE_DIR {
                true if directory != root && is_of_a_node(&directory) => {
                    found.push(directory.clone())
                }
                false if is_directory => waiting.push_back(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// One whose state cannot be looked into is.
fn is_of_a_node(directory: &Path) -> bool {
    let is_missing = |error: io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    };
    !fs::symlink_metadata(state_dir(directory).join(GROUP_FILE)).is_err_and(is_missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::node::{config::GroupChoice, state::State};

    fn node(directory: &Path, group: u8) -> Result<State, StateError> {
        State::open(directory, &GroupChoice::Join(GroupKey::new([group; 16])))
    }

    #[test]
    fn a_directory_in_another_of_its_group_is_refused_and_says_which() {
        let parent = tempfile::tempdir().unwrap();
        let [outer, inner] = ["a", "a/b/c"].map(|name| parent.path().join(name));
        for (first, second) in [(&outer, &inner), (&inner, &outer)] {
            fs::create_dir_all(&inner).unwrap();
            drop(node(first, 1).unwrap());
            let error = node(second, 1).unwrap_err();
            assert!(matches!(&error, StateError::InItself { other, .. } if other.ends_with(first)));
            assert!(error.to_string().contains(first.to_str().unwrap()), "{error}");
            // It is in no group by that; and two groups may have it.
            assert!(node(second, 2).is_ok());
            fs::remove_dir_all(&outer).unwrap();
        }
    }

    #[test]
    fn those_around_and_below_are_found() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        for name in ["a/b/c", "a/b/d", "a/b/d/e", "x"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::create_dir(at("a/b/c").join(STATE_DIR)).unwrap();
        for name in ["a", "a/b/d", "x"] {
            fs::create_dir(at(name).join(STATE_DIR)).unwrap();
            fs::write(at(name).join(STATE_DIR).join(GROUP_FILE), "").unwrap();
        }
        assert_eq!((above(&at("a/b")), below(&at("a/b"))), (Some(at("a")), vec![at("a/b/d")]));
        assert_eq!((above(&at("x")), below(&at("x"))), (None, Vec::new()));
        assert_eq!(below(&at("a")), [at("a/b/d")]);
    }
}
