//! The index's file in the node's own directory: opened; or, when it is no index any more, set
//! aside, and made anew as that of a node that has forgotten what it knew.
//!
//! A file that was closed in an orderly way is believed, and what is damaged in it may end the
//! process: by a panic, by asking for all memory, by a stack without end. So each start leaves
//! `index.opening` from before the file is opened until the index is made durable for the first
//! time. From then on the database itself looks at all of the file after an end that was not
//! orderly; before that, the next start asks for it, because of what was left.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use log::{debug, info, warn};

use crate::{
    index::{Index, IndexError},
    model::{
        calendar::Date,
        limits::{INDEX_OPEN_TRIES, MAX_DAMAGED_INDEXES, MAX_FORMER_ORIGINS},
        version::Origin,
    },
};

const INDEX: &str = "index";
const OPENING: &str = "index.opening";
const DAMAGED: &str = "index.damaged-";
const ORIGINS: &str = "origins";

/// Opens the index in `state_dir`, or makes it. A node that `has_run` before, and finds none, has
/// lost it.
pub fn open(state_dir: &Path, has_run: bool, now_ms: u64) -> Result<Index, IndexError> {
    let path = state_dir.join(INDEX);
    let tries = begin_opening(state_dir);
    match open_as_found(&path, tries) {
        Ok(Some(index)) => Ok(index),
        Ok(None) if has_run => {
            warn!(
                "the index is lost, and is made anew: what is here is compared with what the other \
                 machines have, and their deletions and newer versions hold"
            );
            Index::make_lost(&path, now_ms, read_origins(state_dir))
        }
        Ok(None) => Index::open(&path),
        Err(error) if error.is_damage() => {
            let kept = set_aside(state_dir, now_ms).map_err(redb_error)?;
            warn!(
                "{error}: it is kept as {}, and made anew: what is here is compared with what the \
                 other machines have, and their deletions and newer versions hold",
                kept.display()
            );
            Index::make_lost(&path, now_ms, read_origins(state_dir))
        }
        Err(error) => Err(error),
    }
}

/// The index was opened, and made durable: nothing in it ends the process before that. The node
/// counts under this origin, which is known also when the index is lost.
pub fn handle_opened(state_dir: &Path, origin: Origin) {
    let mut origins = read_origins(state_dir);
    if !origins.contains(&origin) {
        origins.push(origin);
        if let Err(error) = write_origins(state_dir, &origins) {
            debug!("should the index be lost, its origin is named for ever: {ORIGINS}: {error}");
        }
    }
    end_opening(state_dir);
}

fn end_opening(state_dir: &Path) {
    match fs::remove_file(state_dir.join(OPENING)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            debug!("the next start looks at the whole index: {OPENING}: {error}");
        }
        _ => {}
    }
}

/// What the file holds is no index any more: the next start does not open it.
pub fn condemn(state_dir: &Path) {
    let mark = "x".repeat(INDEX_OPEN_TRIES as usize);
    if let Err(error) = fs::write(state_dir.join(OPENING), mark) {
        warn!("the next start believes the damaged index once more: {OPENING}: {error}");
    }
}

/// `None`: there is no file. `tries`: how often it was opened in vain.
fn open_as_found(path: &Path, tries: u64) -> Result<Option<Index>, IndexError> {
    if !Index::is_there(path)? {
        return Ok(None);
    }
    if tries >= INDEX_OPEN_TRIES {
        return Err(IndexError::Corrupt("page"));
    }
    if tries > 0 {
        return open_checked(path).map(Some);
    }
    match Index::open(path) {
        // Of another version; or that is what is damaged.
        Err(error @ IndexError::Format(_)) => match open_checked(path) {
            Err(damage) if damage.is_damage() => Err(damage),
            _ => Err(error),
        },
        result => result.map(Some),
    }
}

fn open_checked(path: &Path) -> Result<Index, IndexError> {
    info!("the index may be damaged: all of it is checked, which may take a while");
    Index::open_checked(path)
}

/// Says that the file is about to be opened; how often that was said before in vain.
fn begin_opening(state_dir: &Path) -> u64 {
    let path = state_dir.join(OPENING);
    let tries = fs::metadata(&path).map_or(0, |found| found.len());
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(b"x")) {
        debug!("should this start fail, the next one will not know: {}: {error}", path.display());
    }
    tries
}

/// Of many the first are of no use any more: they are retired by now.
fn write_origins(state_dir: &Path, origins: &[Origin]) -> io::Result<()> {
    let last = &origins[origins.len().saturating_sub(MAX_FORMER_ORIGINS)..];
    let text: String = last.iter().map(|origin| format!("{:016x}\n", origin.0)).collect();
    let new = state_dir.join("origins.new");
    fs::write(&new, text)?;
    fs::rename(&new, state_dir.join(ORIGINS))
}

/// Under what the node has counted its changes, as far as that is on record.
fn read_origins(state_dir: &Path) -> Vec<Origin> {
    let text = fs::read_to_string(state_dir.join(ORIGINS)).unwrap_or_default();
    let origin = |line| u64::from_str_radix(line, 16).ok().map(Origin);
    text.lines().take(MAX_FORMER_ORIGINS).filter_map(origin).collect()
}

/// Gives the file a name under which nobody opens it. Of more than [`MAX_DAMAGED_INDEXES`] the
/// oldest go: they are as large as the index was.
fn set_aside(state_dir: &Path, now_ms: u64) -> io::Result<PathBuf> {
    let Date { hour, minute, second, .. } = Date::from_ms(now_ms);
    let day = Date::from_ms(now_ms).day_name();
    let name = format!("{DAMAGED}{day}-{hour:02}{minute:02}{second:02}");
    let kept = state_dir.join(&name);
    fs::rename(state_dir.join(INDEX), &kept)?;
    let mut others = list_damaged(state_dir)?;
    others.retain(|other| *other != kept);
    others.sort();
    for old in others.iter().rev().skip(MAX_DAMAGED_INDEXES - 1) {
        fs::remove_file(old)?;
    }
    end_opening(state_dir);
    Ok(kept)
}

fn list_damaged(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DAMAGED) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn redb_error(error: io::Error) -> IndexError {
    redb::Error::Io(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_300_000_000;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_lost(index: &Index) -> bool {
        let is_lost = index.summary().lost.is_some();
        assert_eq!(index.summary().clean_stop, !is_lost);
        is_lost
    }

    #[test]
    fn a_node_that_has_run_knows_that_it_has_lost_its_index() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_lost(&open(dir.path(), false, NOW_MS).unwrap()), "it is its first start");
        end_opening(dir.path());
        assert!(!is_lost(&open(dir.path(), true, NOW_MS).unwrap()), "there is one");
        end_opening(dir.path());
        fs::write(dir.path().join(INDEX), "").unwrap();
        assert!(is_lost(&open(dir.path(), true, NOW_MS).unwrap()), "it is empty");
        end_opening(dir.path());
        assert!(is_lost(&open(dir.path(), true, NOW_MS).unwrap()), "nobody has used the new one");
        end_opening(dir.path());
        assert_eq!(names(dir.path()), [INDEX]);
        fs::remove_file(dir.path().join(INDEX)).unwrap();
        assert!(is_lost(&open(dir.path(), true, NOW_MS).unwrap()), "it is gone");
    }

    #[test]
    fn what_is_no_index_is_set_aside_and_few_of_them_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for day in 0..4 {
            fs::write(dir.path().join(INDEX), [day; 9000]).unwrap();
            let index = open(dir.path(), day > 0, NOW_MS + u64::from(day) * 86_400_000).unwrap();
            assert!(is_lost(&index));
        }
        end_opening(dir.path());
        let kept = ["index.damaged-2026-11-23-222640", "index.damaged-2026-11-24-222640"];
        assert_eq!(names(dir.path()), [&[INDEX][..], &kept].concat());
        assert_eq!(fs::read(dir.path().join(kept[1])).unwrap(), [3; 9000]);
    }

    #[test]
    fn a_start_that_did_not_get_far_has_the_file_checked_and_then_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(INDEX);
        drop(Index::make_lost(&path, NOW_MS, Vec::new()).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let page = bytes.len() - 4096 * 2;
        bytes[page..].fill(0xa5);
        for tries in 1..=INDEX_OPEN_TRIES {
            fs::write(&path, &bytes).unwrap();
            fs::write(dir.path().join(OPENING), "x".repeat(tries as usize)).unwrap();
            open(dir.path(), true, NOW_MS + tries).unwrap();
            assert!(!dir.path().join(OPENING).exists(), "what is new is believed");
        }
    }

    #[test]
    fn under_what_it_has_counted_outlives_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let most = MAX_FORMER_ORIGINS as u64;
        for origin in (0..most + 3).chain([most]) {
            handle_opened(dir.path(), Origin(origin));
        }
        let index = open(dir.path(), true, NOW_MS).unwrap();
        let expected: Vec<Origin> = (3..most + 3).map(Origin).collect();
        assert_eq!(index.summary().former, expected);
    }

    #[test]
    fn what_is_condemned_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), false, NOW_MS).unwrap());
        end_opening(dir.path());
        condemn(dir.path());
        assert!(is_lost(&open(dir.path(), true, NOW_MS).unwrap()));
        assert_eq!(names(dir.path()), [INDEX, "index.damaged-2026-11-21-222640"]);
    }

    #[test]
    fn what_a_newer_version_has_written_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(INDEX);
        drop(open(dir.path(), false, NOW_MS).unwrap());
        crate::index::tests::write_format(&path, 99);
        let Err(error) = open(dir.path(), true, NOW_MS) else { panic!("it was opened") };
        assert!(matches!(error, IndexError::Format(99)), "{error}");
    }
}
