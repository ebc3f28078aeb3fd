//! Real directories, the real inotify.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::{fd::AsFd, unix::ffi::OsStrExt},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, openat},
};
use tempfile::TempDir;

use super::*;
use crate::{core::seam::Hint, io::disk::testing::BOUND};

struct Lab {
    directory: TempDir,
    watcher: InotifyWatcher,
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn change(text: &str, hint: Hint) -> Change {
    Change::Path { path: path(text), hint }
}

fn renamed(from: &str, to: &str) -> Change {
    Change::Renamed { from: path(from), to: path(to) }
}

impl Lab {
    /// A root with these directories, all watched.
    fn new(directories: &[&str]) -> Self {
        Self::with_limit(directories, MAX_WATCHES)
    }

    fn with_limit(directories: &[&str], limit: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut lab =
            Self { watcher: InotifyWatcher::with_limit(&root, limit).unwrap(), directory };
        lab.add("").unwrap();
        for name in directories {
            fs::create_dir(lab.at(name)).unwrap();
            lab.add(name).unwrap();
        }
        lab.drain();
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn add(&mut self, name: &str) -> Result<Watched, AddError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, self.at(name), flags, Mode::empty()).unwrap();
        self.watcher.add(&path(name), fd.as_fd())
    }

    /// What is there now; inotify queues before the call that caused it returns.
    fn drain(&mut self) -> Vec<Change> {
        std::iter::from_fn(|| self.watcher.poll_change().unwrap()).collect()
    }

    /// Waits for a change.
    fn wait_for(&mut self, wanted: &Change) {
        loop {
            while let Some(change) = self.watcher.poll_change().unwrap() {
                if change == *wanted {
                    return;
                }
            }
            let queue = self.watcher.translator.source.inotify.as_fd();
            let mut polled = [PollFd::new(&queue, PollFlags::IN)];
            let limit = Timespec { tv_sec: BOUND.as_secs() as i64, tv_nsec: 0 };
            assert_eq!(poll(&mut polled, Some(&limit)), Ok(1), "never saw {wanted:?}");
        }
    }
}

#[test]
fn a_file_is_created_written_closed_renamed_deleted() {
    let mut lab = Lab::new(&["d"]);
    let mut file = File::create(lab.at("d/f")).unwrap();
    file.write_all(b"x").unwrap();
    assert_eq!(lab.drain(), [change("d/f", Hint::Created), change("d/f", Hint::Writing)]);
    drop(file);
    assert_eq!(lab.drain(), [change("d/f", Hint::Closed)]);
    fs::rename(lab.at("d/f"), lab.at("g")).unwrap();
    assert_eq!(lab.drain(), [renamed("d/f", "g")]);
    fs::remove_file(lab.at("g")).unwrap();
    assert_eq!(lab.drain().last(), Some(&change("g", Hint::Settled)));
}

#[test]
fn a_renamed_directory_takes_its_subtree_along() {
    let mut lab = Lab::new(&["a", "a/b", "a/b/c", "d"]);
    fs::rename(lab.at("a"), lab.at("d/e")).unwrap();
    assert_eq!(lab.drain(), [renamed("a", "d/e")]);
    File::create(lab.at("d/e/b/c/f")).unwrap();
    lab.wait_for(&change("d/e/b/c/f", Hint::Closed));
    assert_eq!(lab.add("d/e").unwrap(), Watched::AlreadyWatched);
    assert_eq!(lab.watcher.watch_count(), 5);
}

#[test]
fn a_directory_moved_out_is_silent_until_it_is_back() {
    let mut lab = Lab::new(&["a", "a/b"]);
    fs::rename(lab.at("a"), lab.outside("a")).unwrap();
    assert_eq!(lab.drain(), [change("a", Hint::Settled)]);
    assert_eq!(lab.watcher.watch_count(), 1);
    File::create(lab.outside("a/b/f")).unwrap();
    assert_eq!(lab.drain(), []);
    fs::rename(lab.outside("a"), lab.at("z")).unwrap();
    assert_eq!(lab.drain(), [change("z", Hint::Arrived)]);
    assert_eq!(lab.add("z").unwrap(), Watched::Watched);
    assert_eq!(lab.add("z/b").unwrap(), Watched::Watched);
    File::create(lab.at("z/b/g")).unwrap();
    lab.wait_for(&change("z/b/g", Hint::Closed));
}

#[test]
fn added_under_its_new_path_before_the_rename_was_heard_of() {
    let mut lab = Lab::new(&["a", "a/b"]);
    fs::rename(lab.at("a"), lab.at("z")).unwrap();
    assert_eq!(lab.add("z").unwrap(), Watched::AlreadyWatched);
    assert_eq!(lab.drain(), [renamed("a", "z")]);
    File::create(lab.at("z/b/f")).unwrap();
    lab.wait_for(&change("z/b/f", Hint::Closed));
}

#[test]
fn a_child_that_replaced_its_parent_is_watched_under_the_parents_path() {
    let mut lab = Lab::new(&["x", "x/y"]);
    fs::rename(lab.at("x/y"), lab.at("t")).unwrap();
    fs::remove_dir(lab.at("x")).unwrap();
    fs::rename(lab.at("t"), lab.at("x")).unwrap();
    assert_eq!(lab.add("x").unwrap(), Watched::Watched);
    lab.drain();
    lab.add("x").unwrap();
    File::create(lab.at("x/f")).unwrap();
    lab.wait_for(&change("x/f", Hint::Closed));
}

#[test]
fn exchanged_directories_are_put_right_by_adding_them() {
    let mut lab = Lab::new(&["a", "a/b", "c", "c/d"]);
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(CWD, lab.at("a"), CWD, lab.at("c"), flags).unwrap();
    assert_eq!(lab.drain().len(), 2);
    for name in ["a", "a/d", "c", "c/b"] {
        lab.add(name).unwrap();
    }
    File::create(lab.at("a/d/f")).unwrap();
    lab.wait_for(&change("a/d/f", Hint::Closed));
    assert_eq!(lab.watcher.watch_count(), 5);
}

#[test]
fn names_are_bytes() {
    let mut lab = Lab::new(&[]);
    for name in [b"new\nline".to_vec(), b"\xff\xfe".to_vec(), vec![b'n'; 255]] {
        File::create(lab.at("").join(OsStr::from_bytes(&name))).unwrap();
        let path = RelPath::new(&name).unwrap();
        assert_eq!(lab.drain().last(), Some(&Change::Path { path, hint: Hint::Closed }));
    }
}

#[test]
fn more_events_than_the_buffer_holds_keep_their_order() {
    let mut lab = Lab::new(&[]);
    let names: Vec<String> = (0..1000).map(|at| format!("{at:0200}")).collect();
    for name in &names {
        fs::create_dir(lab.at(name)).unwrap();
        fs::rename(lab.at(name), lab.at(&format!("{name}x"))).unwrap();
    }
    let wanted: Vec<Change> = names
        .iter()
        .flat_map(|name| [change(name, Hint::Settled), renamed(name, &format!("{name}x"))])
        .collect();
    assert_eq!(lab.drain(), wanted);
}

#[test]
fn a_deleted_tree_leaves_no_watch() {
    let mut lab = Lab::new(&["a", "a/b", "a/b/c"]);
    fs::remove_dir_all(lab.at("a")).unwrap();
    let changes = lab.drain();
    assert!(changes.contains(&change("a", Hint::Settled)), "{changes:?}");
    assert_eq!(lab.watcher.watch_count(), 1);
    fs::create_dir(lab.at("a")).unwrap();
    assert_eq!(lab.add("a").unwrap(), Watched::Watched);
    lab.drain();
    assert_eq!(lab.watcher.watch_count(), 2);
}

#[test]
fn the_root_deleted_or_moved_is_said() {
    let mut lab = Lab::new(&["a"]);
    fs::remove_dir_all(lab.at("")).unwrap();
    lab.wait_for(&Change::RootGone);
    assert_eq!((lab.drain(), lab.watcher.watch_count()), (vec![], 0));

    let mut lab = Lab::new(&["a"]);
    fs::rename(lab.at(""), lab.outside("elsewhere")).unwrap();
    assert_eq!(lab.drain(), [Change::RootGone]);
    assert_eq!(lab.watcher.watch_count(), 0);
}

#[test]
fn a_full_table_refuses_and_recovers() {
    let mut lab = Lab::with_limit(&["a"], 2);
    fs::create_dir(lab.at("b")).unwrap();
    assert!(matches!(lab.add("b"), Err(AddError::TableFull)));
    assert_eq!(lab.add("a").unwrap(), Watched::AlreadyWatched);
    lab.watcher.remove_below(&path("a"));
    assert_eq!(lab.add("b").unwrap(), Watched::Watched);
    fs::create_dir(lab.at("a/x")).unwrap();
    assert!(matches!(lab.add("a/x"), Err(AddError::ParentUnwatched)));
}

#[test]
fn a_file_is_no_directory() {
    let mut lab = Lab::new(&[]);
    let file = File::create(lab.at("f")).unwrap();
    assert!(matches!(lab.watcher.add(&path("f"), file.as_fd()), Err(AddError::Gone)));
}

/// Half of what the kernel lets a user watch in all on a small machine.
#[test]
fn four_thousand_directories() {
    let mut lab = Lab::new(&[]);
    for at in 0..4_000 {
        let name = format!("d{at}");
        fs::create_dir(lab.at(&name)).unwrap();
        lab.add(&name).unwrap();
    }
    lab.drain();
    assert_eq!(lab.watcher.watch_count(), 4_001);
    File::create(lab.at("d3999/f")).unwrap();
    lab.wait_for(&change("d3999/f", Hint::Closed));
}
