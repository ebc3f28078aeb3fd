//! Tells an index that was put back from a backup, or copied, from the one that the last run left.
//!
//! A node numbers its changes, and an older index would number other changes the same. The peers'
//! knowledge tells that only as long as the node has not yet counted past it, so the file
//! `index.left` beside the index keeps when the index was last changed (ctime, which nobody can
//! set). It is written when the index is closed, and whenever it is complete at rest; without it
//! the last run counts as one that was killed.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

const FILE: &str = "index.left";
const TITLE: &str = "p2pnetwork index left at ";
/// FAT and its like keep times in units of 2 s, but tell finer ones until they are unmounted.
const COARSE_NS: i128 = 10_000_000;
const COARSEST_NS: u128 = 2_000_000_000;

/// Keeps the present state of the index in `state_dir`, durably. It must be closed, or not change
/// any more.
pub fn write(state_dir: &Path) -> io::Result<()> {
    let text = format!("{TITLE}{}\n", changed_ns(state_dir)?);
    let mut file = File::create(state_dir.join(FILE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    File::open(state_dir)?.sync_all()
}

/// Is the index in `state_dir` as [`write`] found it?
pub fn holds(state_dir: &Path) -> bool {
    let left = fs::read_to_string(state_dir.join(FILE)).ok();
    let left = left.and_then(|text| text.strip_prefix(TITLE)?.trim_end().parse().ok());
    left.zip(changed_ns(state_dir).ok()).is_some_and(|(left, now)| is_same(left, now))
}

fn changed_ns(state_dir: &Path) -> io::Result<i128> {
    let found = fs::metadata(state_dir.join("index"))?;
    Ok(i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec()))
}

fn is_same(left: i128, now: i128) -> bool {
    left == now || now % COARSE_NS == 0 && left.abs_diff(now) < COARSEST_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_until_the_index_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path()).is_err());
        fs::write(dir.path().join("index"), "x").unwrap();
        assert!(!holds(dir.path()), "there is no mark yet");
        write(dir.path()).unwrap();
        assert!(holds(dir.path()));
        // The clock of a file system ticks every few milliseconds.
        let before = changed_ns(dir.path()).unwrap();
        while changed_ns(dir.path()).unwrap() == before {
            fs::copy(dir.path().join("index"), dir.path().join("copy")).unwrap();
            fs::rename(dir.path().join("copy"), dir.path().join("index")).unwrap();
        }
        assert!(!holds(dir.path()));
        fs::write(dir.path().join(FILE), "something else").unwrap();
        assert!(!holds(dir.path()));
    }

    #[test]
    fn coarse_times_are_compared_coarsely() {
        let second = 1_000_000_000;
        assert!(is_same(7 * second + 123_456_789, 6 * second));
        assert!(!is_same(7 * second + 123_456_789, 7 * second + 123_456_788));
        assert!(!is_same(9 * second, 6 * second));
    }
}
