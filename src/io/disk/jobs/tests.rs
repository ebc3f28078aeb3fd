//! Jobs on the real file system.

use std::{cell::RefCell, io, rc::Rc};

use super::*;
use crate::{
    core::seam::{Change, Found, Listed},
    io::{
        disk::testing::*,
        files::{Handle, sys::Abilities},
        watch::{AddError, Watch, Watched},
    },
    model::{
        content::tests::noise,
        limits::{SLICE_BYTES, STAMP_GRANULARITY},
    },
};

/// Jobs on a file system whose times are coarse.
fn coarse() -> Jobs {
    let mut jobs = Jobs::default();
    jobs.reads.fresh.has_fine_times = Some(false);
    jobs
}

fn step(jobs: &mut Jobs, tree: &Tree, time: Time) -> Vec<Input<'static>> {
    let mut inputs = VecDeque::new();
    jobs.step(
        &tree.root,
        &mut Watcher::Polling,
        &mut Partials::default(),
        &mut inputs,
        (time, SLICE_BYTES),
    );
    inputs.into()
}

/// So long after the file was touched.
fn after(stat: &Stat, ms: u64) -> Time {
    Time { now: Instant::now(), wall_ms: (stat.stamp.ctime_ns / 1_000_000) as u64 + ms }
}

fn read_paths(inputs: &[Input<'_>]) -> Vec<String> {
    let path = |input: &Input<'_>| match input {
        Input::Read { path, found: Found::Content { .. } } => Some(path.to_string()),
        Input::Reread { path, found: Found::Content { .. } } => Some(format!("{path} again")),
        _ => None,
    };
    inputs.iter().filter_map(path).collect()
}

#[test]
fn small_files_and_listings_do_not_wait_for_a_large_one() {
    let tree = Tree::new(Abilities::ALL);
    let large = tree.write("large", noise(1, 20 << 20));
    let small = tree.write("small", "small");
    let time = after(&small, 1000);
    let mut jobs = Jobs::default();
    jobs.read(path("large"), large);
    assert!(step(&mut jobs, &tree, time).is_empty());
    jobs.read(path("small"), small);
    jobs.list(RelPath::root());
    let mut told = step(&mut jobs, &tree, time);
    assert!(matches!(&told[..], [Input::Read { .. }, Input::Listed { .. }]), "{told:?}");
    assert_eq!(read_paths(&told), ["small"]);
    while !jobs.is_idle() {
        told.extend(step(&mut jobs, &tree, time));
    }
    assert_eq!(read_paths(&told), ["small", "large"]);
}

#[test]
fn what_was_touched_just_before_it_was_read_is_read_again() {
    let tree = Tree::new(Abilities::ALL);
    let stat = tree.write("a", "first");
    let (time, mut jobs) = (after(&stat, 3), coarse());
    jobs.read(path("a"), stat);
    assert_eq!(read_paths(&step(&mut jobs, &tree, time)), ["a"]);
    assert!(jobs.is_idle() && jobs.poll_timeout() == Some(time.now + STAMP_GRANULARITY));
    let later = Time { now: time.now + STAMP_GRANULARITY, ..after(&stat, 23) };
    let mut as_if_written = coarse();
    as_if_written.reads.fresh.waiting = std::mem::take(&mut jobs.reads.fresh.waiting);
    assert!(step(&mut as_if_written, &tree, time).is_empty(), "not yet");
    as_if_written.reads.fresh.waiting[0].found = Some(Digest([0; 32]));
    assert_eq!(read_paths(&step(&mut as_if_written, &tree, later)), ["a again"]);
    assert_eq!(as_if_written.poll_timeout(), None);

    jobs.read(path("a"), stat);
    assert_eq!(read_paths(&step(&mut jobs, &tree, time)), ["a"]);
    assert!(step(&mut jobs, &tree, later).is_empty(), "nothing has changed");
    jobs.read(path("a"), stat);
    assert_eq!(read_paths(&step(&mut jobs, &tree, later)), ["a"]);
    assert_eq!(jobs.poll_timeout(), None, "no longer in doubt");
}

#[test]
fn what_would_be_read_again_is_told_at_the_end() {
    let tree = Tree::new(Abilities::ALL);
    let stat = tree.write("a", "first");
    let mut jobs = coarse();
    jobs.read(path("a"), stat);
    step(&mut jobs, &tree, after(&stat, 3));
    assert_eq!(jobs.take_fresh().collect::<Vec<_>>(), [path("a")]);
    assert_eq!(jobs.poll_timeout(), None);
}

#[test]
fn a_large_file_is_not_read_just_after_it_was_touched() {
    let tree = Tree::new(Abilities::ALL);
    let stat = tree.write("a", noise(1, 100_000));
    let (time, mut jobs) = (after(&stat, 3), coarse());
    jobs.read(path("a"), stat);
    assert!(step(&mut jobs, &tree, time).is_empty() && jobs.is_idle());
    let later = Time { now: time.now + STAMP_GRANULARITY, ..after(&stat, 23) };
    assert_eq!(read_paths(&step(&mut jobs, &tree, later)), ["a"]);
}

#[test]
fn a_copy_has_the_holes_of_its_original() {
    use std::os::unix::fs::MetadataExt;
    let tree = Tree::new(Abilities::ALL);
    let file = std::fs::File::create(tree.at.join("a")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 30 << 20).unwrap();
    file.set_len(50 << 20).unwrap();
    let stat = tree.stat("a").unwrap();
    let (mut jobs, mut partials, mut inputs) =
        (Jobs::default(), Partials::default(), VecDeque::new());
    let digest = Digest([7; 32]);
    partials.write(&tree.root, &digest, 5 << 20, b"left by an earlier try").unwrap();
    jobs.copy((path("a"), stat.stamp), path("b"), digest, stat.stamp.size);
    while !jobs.is_idle() {
        jobs.step(
            &tree.root,
            &mut Watcher::Polling,
            &mut partials,
            &mut inputs,
            (after(&stat, 0), SLICE_BYTES),
        );
    }
    assert!(matches!(inputs.pop_front(), Some(Input::Copied { result: Ok(()), .. })));
    let copy = tree.at.join(".p2pnetwork/tmp").join(digest.to_string());
    assert_eq!(std::fs::read(&copy).unwrap(), tree.read("a"));
    assert!(copy.metadata().unwrap().blocks() * 512 < 4 << 20);
}

/// A watch that has to be told of each file, and has room for `room` of them.
struct FileByFile {
    room: usize,
    watched: Rc<RefCell<Vec<String>>>,
}

impl Watch for FileByFile {
    fn add(&mut self, _directory: &RelPath, _handle: &Handle) -> Result<Watched, AddError> {
        Ok(Watched::Watched)
    }

    fn watches_files(&self) -> bool {
        true
    }

    fn add_file(&mut self, file: &RelPath, _directory: &Handle) -> Result<Watched, AddError> {
        let mut watched = self.watched.borrow_mut();
        if watched.len() == self.room {
            return Err(AddError::TableFull);
        }
        watched.push(file.to_string());
        Ok(Watched::Watched)
    }

    fn remove_below(&mut self, _directory: &RelPath) {}

    fn poll_change(&mut self) -> io::Result<Option<Change>> {
        Ok(None)
    }

    fn watch_count(&self) -> usize {
        self.watched.borrow().len()
    }
}

#[test]
fn files_are_watched_one_by_one_where_needed_and_the_rest_is_left_to_the_timer() {
    for (room, is_watched) in [(2, true), (1, false)] {
        let tree = Tree::new(Abilities::ALL);
        tree.make_directory("d/below");
        tree.write("d/a", "");
        tree.write("d/b", "");
        tree.symlink("d/link", "a");
        let watched = Rc::new(RefCell::default());
        let mut watcher =
            Watcher::Foreign(Box::new(FileByFile { room, watched: Rc::clone(&watched) }));
        let (mut jobs, mut inputs) = (Jobs::default(), VecDeque::new());
        jobs.list(path("d"));
        let time = Time { now: Instant::now(), wall_ms: NOW_MS };
        jobs.step(
            &tree.root,
            &mut watcher,
            &mut Partials::default(),
            &mut inputs,
            (time, SLICE_BYTES),
        );
        let Some(Input::Listed {
            listed: Listed::Batch { watched: said, entries, last: true },
            ..
        }) = inputs.pop_front()
        else {
            panic!("no listing")
        };
        assert_eq!((said, entries.len()), (is_watched, 4));
        let mut names = watched.borrow().clone();
        names.sort();
        assert!(names.iter().all(|name| ["d/a", "d/b"].contains(&name.as_str())), "{names:?}");
        assert_eq!(names.len(), room);
    }
}
