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
    model::{content::tests::noise, limits::SLICE_BYTES},
};

fn step(jobs: &mut Jobs, tree: &Tree) -> Vec<Input<'static>> {
    let mut inputs = VecDeque::new();
    jobs.step(
        &tree.root,
        &mut Watcher::Polling,
        &mut Partials::default(),
        &mut inputs,
        SLICE_BYTES,
    );
    inputs.into()
}

fn read_paths(inputs: &[Input<'_>]) -> Vec<String> {
    let path = |input: &Input<'_>| match input {
        Input::Read { path, found: Found::Content { .. } } => Some(path.to_string()),
        _ => None,
    };
    inputs.iter().filter_map(path).collect()
}

#[test]
fn small_files_and_listings_do_not_wait_for_a_large_one() {
    let tree = Tree::new(Abilities::ALL);
    let large = tree.write("large", noise(1, 20 << 20));
    let small = tree.write("small", "small");
    let mut jobs = Jobs::default();
    jobs.read(path("large"), large);
    assert!(step(&mut jobs, &tree).is_empty());
    jobs.read(path("small"), small);
    jobs.list(RelPath::root());
    let mut told = step(&mut jobs, &tree);
    assert!(matches!(&told[..], [Input::Read { .. }, Input::Listed { .. }]), "{told:?}");
    assert_eq!(read_paths(&told), ["small"]);
    while !jobs.is_idle() {
        told.extend(step(&mut jobs, &tree));
    }
    assert_eq!(read_paths(&told), ["small", "large"]);
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
        jobs.step(&tree.root, &mut Watcher::Polling, &mut partials, &mut inputs, SLICE_BYTES);
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
        jobs.step(&tree.root, &mut watcher, &mut Partials::default(), &mut inputs, SLICE_BYTES);
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
