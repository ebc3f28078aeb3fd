//! A file system that takes names for one which differ by case, as macOS and FAT do, and that may store accents
//! decomposed, as HFS+ does, over the real one; and what the program makes of it.

use std::{path::Path, rc::Rc};

use rustix::io::{Errno, Result};
use unicode_normalization::UnicodeNormalization;

use crate::{
    core::entry::Stat,
    io::{
        apply::{Action, Apply, ApplyError},
        barrier::{Barrier, Outcome},
        files::{At, FileSystem, Handle, How, Kernel, Names},
        sys::Abilities,
        temp,
        testing::{NOW_MS, Tree, path},
    },
};

/// Keeps the case of a name as it was made, and finds it by any.
#[derive(Debug)]
struct Folding {
    decomposes: bool,
}

/// Lists names with their accents apart.
struct Decomposed(Box<dyn Names>);

impl Names for Decomposed {
    fn directory(&self) -> &Handle {
        self.0.directory()
    }

    fn next_name(&mut self) -> Option<Result<Box<[u8]>>> {
        let apart = |name: Box<[u8]>| match str::from_utf8(&name) {
            Ok(text) => text.nfd().collect::<String>().into_bytes().into(),
            Err(_) => name,
        };
        Some(self.0.next_name()?.map(apart))
    }
}

fn are_same(a: &[u8], b: &[u8]) -> bool {
    let apart = |name| String::from_utf8_lossy(name).to_lowercase().nfd().collect::<String>();
    apart(a) == apart(b)
}

impl Folding {
    /// The name that is there and differs by case alone; else the name itself.
    fn find(&self, (directory, name): At<'_>) -> Result<Box<[u8]>> {
        let mut names = Kernel.list(Kernel.open_at((directory, b"."), How::List)?)?;
        while let Some(listed) = names.next_name().transpose()? {
            if are_same(&listed, name) {
                return Ok(listed);
            }
        }
        Ok(name.into())
    }

    fn is_there(&self, at: At<'_>) -> Result<bool> {
        Ok(Kernel.stat_at((at.0, &self.find(at)?), 0).is_ok())
    }
}

macro_rules! as_kernel {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> $result {
            Kernel.$name($($argument),*)
        })*
    };
}

macro_rules! by_folded_name {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, at: At<'_>, $($argument: $type),*) -> $result {
            Kernel.$name((at.0, &self.find(at)?), $($argument),*)
        })*
    };
}

impl FileSystem for Folding {
    as_kernel! {
        open_root(path: &Path) -> Result<Handle>;
        identity_of_path(path: &Path) -> Result<(u64, u64)>;
        try_clone(handle: &Handle) -> Result<Handle>;
        stat_of(handle: &Handle, device: u64) -> Result<Stat>;
        identity(handle: &Handle) -> Result<(u64, u64)>;
        check_writable(directory: &Handle) -> Result<()>;
        space(handle: &Handle) -> Result<(u64, u64)>;
        set_mode(handle: &Handle, mode: u16) -> Result<()>;
        set_mtime_of(handle: &Handle, mtime_ns: i64) -> Result<()>;
        read_at(file: &Handle, buffer: &mut [u8], offset: u64) -> Result<usize>;
        write_at(file: &Handle, bytes: &[u8], offset: u64) -> Result<()>;
        set_len(file: &Handle, length: u64) -> Result<()>;
        reserve(file: &Handle, length: u64) -> Result<()>;
        sync_content(file: &Handle) -> Result<()>;
        sync_all(handle: &Handle) -> Result<()>;
    }

    by_folded_name! {
        open_at(how: How) -> Result<Handle>;
        create_at() -> Result<Handle>;
        stat_at(device: u64) -> Result<Stat>;
        read_link_at() -> Result<Box<[u8]>>;
        unlink() -> Result<()>;
        remove_directory() -> Result<()>;
        make_directory() -> Result<()>;
        set_mtime(mtime_ns: i64) -> Result<()>;
    }

    fn list(&self, directory: Handle) -> Result<Box<dyn Names>> {
        let names = Kernel.list(directory)?;
        Ok(if self.decomposes { Box::new(Decomposed(names)) } else { names })
    }

    fn open_beneath(&self, _root: &Handle, _path: &[u8], _how: How) -> Result<Handle> {
        Err(Errno::NOSYS)
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        let (source, target) = (self.find(from)?, self.find(to)?);
        if *source == *target {
            return Kernel.rename((from.0, &source), to);
        }
        Kernel.rename((from.0, &source), (to.0, &target))
    }

    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        if self.is_there(to)? {
            return Err(Errno::EXIST);
        }
        Kernel.rename_no_replace((from.0, &self.find(from)?), to)
    }

    fn exchange(&self, a: At<'_>, b: At<'_>) -> Result<()> {
        Kernel.exchange((a.0, &self.find(a)?), (b.0, &self.find(b)?))
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        if self.is_there(to)? {
            return Err(Errno::EXIST);
        }
        Kernel.link((from.0, &self.find(from)?), to)
    }

    fn symlink(&self, target: &[u8], at: At<'_>) -> Result<()> {
        if self.is_there(at)? {
            return Err(Errno::EXIST);
        }
        Kernel.symlink(target, at)
    }
}

/// With all that such a file system may be able to, and with nothing.
fn each_folding(test: impl Fn(&Tree)) {
    for able in [Abilities { resolve_beneath: false, ..Abilities::ALL }, Abilities::NONE] {
        test(&Tree::on(Rc::new(Folding { decomposes: false }), able));
    }
}

fn run(tree: &Tree, at: &str, expect: Option<Stat>, keep: Option<&str>, action: Action) -> Outcome {
    let mut barrier = Barrier::default();
    let expect = expect.map(|stat| stat.stamp);
    barrier.push(Apply { path: path(at), expect, keep: keep.map(path), action }).unwrap();
    barrier.run(&tree.root, NOW_MS).pop().unwrap().1
}

fn content(tree: &Tree) -> Action {
    // Left of a change that was refused.
    temp::remove(&tree.root, b"temp").unwrap();
    Action::WriteFile { temp: tree.temp("temp", b"new"), mode: 0o644, mtime_ns: 0 }
}

fn assert_told_apart(outcome: &Outcome, other: &str) {
    match outcome {
        Err(error @ ApplyError::Io { .. }) => assert!(error.to_string().contains(other), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_name_itself_is_there() {
    each_folding(|tree| {
        tree.write("README", "old");
        tree.make_directory("Docs");
        tree.write("Docs/a", "old");
        assert!(tree.stat("README").is_some() && tree.stat("Docs/a").is_some());
        assert_eq!((tree.stat("readme"), tree.stat("docs"), tree.stat("docs/a")), (None, None, None));
        assert!(tree.root.list(&path("docs")).is_err());
    });
}

#[test]
fn a_name_that_differs_by_case_is_refused_and_nothing_is_overwritten() {
    each_folding(|tree| {
        let old = tree.write("README", "old");
        tree.make_directory("Docs");
        tree.write("Docs/a", "old");
        assert_told_apart(&run(tree, "readme", None, None, content(tree)), "README");
        assert_told_apart(&run(tree, "docs", None, None, Action::MakeDirectory { mode: 0o755 }), "Docs");
        let link = Action::MakeSymlink { target: b"to".as_slice().into() };
        assert_told_apart(&run(tree, "ReadMe", None, None, link), "README");
        let outcome = run(tree, "docs/b", None, None, content(tree));
        assert!(matches!(outcome, Err(ApplyError::Parent)), "{outcome:?}");
        assert_eq!((tree.read("README"), tree.stat("README")), (b"old".to_vec(), Some(old)));
        assert_eq!(tree.trash(), []);
    });
}

#[test]
fn what_is_removed_under_another_case_stays() {
    each_folding(|tree| {
        tree.write("README", "old");
        assert!(matches!(run(tree, "readme", None, None, Action::RemoveFile), Ok(None)));
        assert_eq!(tree.read("README"), b"old");
    });
}

#[test]
fn a_loser_is_not_taken_for_kept_under_another_name() {
    each_folding(|tree| {
        let old = tree.write("a", "old");
        tree.write("A-KEPT", "other");
        let outcome = run(tree, "a", Some(old), Some("a-kept"), content(tree));
        assert_told_apart(&outcome, "A-KEPT");
        assert_eq!((tree.read("a"), tree.read("A-KEPT")), (b"old".to_vec(), b"other".to_vec()));
    });
}

#[test]
fn a_rename_to_another_case_is_one() {
    each_folding(|tree| {
        let old = tree.write("README", "old");
        let action = Action::RenameFrom { from: path("README"), stamp: old.stamp };
        let new = run(tree, "readme", None, None, action).unwrap();
        assert_eq!((tree.stat("readme"), tree.stat("README")), (new, None));
        assert_eq!(tree.read("readme"), b"old");
    });
}

#[test]
fn decomposed_names_are_known_composed() {
    let tree = Tree::on(Rc::new(Folding { decomposes: true }), Abilities::NONE);
    let (composed, apart) = ("d\u{e9}j\u{e0}", "de\u{301}ja\u{300}");
    let placed = run(&tree, composed, None, None, content(&tree)).unwrap();
    assert_eq!(tree.stat(composed), placed, "what was written is there under its name");
    let mut listed = Vec::new();
    assert!(tree.root.list(&path("")).unwrap().next_batch(9, &mut listed).unwrap());
    let names: Vec<_> = listed.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    assert_eq!(names, [composed], "it is listed under its name");
    // The other spelling cannot be held apart, so it is not there, and is not written.
    assert_eq!(tree.stat(apart), None);
    assert_told_apart(&run(&tree, apart, None, None, content(&tree)), "accents");
    assert_told_apart(&run(&tree, "D\u{c9}J\u{c0}", None, None, content(&tree)), composed);
    assert_eq!(tree.read(composed), b"new");
}
