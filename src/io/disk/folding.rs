//! A file system that takes names for one which differ by case, as macOS and FAT do, and that may
//! store accents decomposed, as HFS+ does, over the real one; and what the program makes of it.

use std::{path::Path, rc::Rc};

use rustix::io::{Errno, Result};
use unicode_normalization::UnicodeNormalization;

use crate::{
    core::seam::{Action, Apply},
    io::{
        disk::{
            change::{
                error::ApplyError,
                sync_batch::{Outcome, SyncBatch},
            },
            testing::{NOW_MS, Tree, path},
        },
        files::{At, FileSystem, Handle, How, Kernel, Names, Owner, Owners, Space, sys::Abilities},
    },
    model::entry::Stat,
};

/// Keeps the case of a name as it was made, and finds it by any.
#[derive(Debug, Default)]
struct Folding {
    decomposes: bool,
    /// Each spelling has an inode number of its own, as with exfat-fuse.
    numbers_spellings: bool,
    /// Dots at the end of a name are dropped, and signs that have a meaning refused, as on FAT.
    is_fat: bool,
    /// `#` is stored as `_`, and is not found again.
    hides_names: bool,
    bits: BitsOf,
}

/// What becomes of permission bits.
#[derive(Debug, Default)]
enum BitsOf {
    #[default]
    Kept,
    /// FAT, which refuses what it cannot keep.
    Refused,
    /// FAT, which makes something else of it.
    Rounded,
    /// They are kept, but the file of this name belongs to somebody else.
    Anothers(&'static str),
}

/// A user that this is not run by.
const ANOTHER: u32 = 4711;

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
    /// The name that is there and may be taken for this one; else what a new file of this name
    /// gets.
    fn find(&self, (directory, name): At<'_>) -> Result<Box<[u8]>> {
        let stored = self.stored(name);
        if self.hides_names && name.contains(&b'#') {
            return Ok(name.into());
        }
        let mut names = Kernel.list(Kernel.open_at((directory, b"."), How::List)?)?;
        while let Some(listed) = names.next_name().transpose()? {
            if are_same(&listed, &stored) {
                return Ok(listed);
            }
        }
        Ok(stored)
    }

    fn stored(&self, name: &[u8]) -> Box<[u8]> {
        let end = name.iter().rposition(|byte| *byte != b'.').map_or(0, |at| at + 1);
        let kept = if self.is_fat && end > 0 { &name[..end] } else { name };
        let hidden = |byte: &u8| if self.hides_names && *byte == b'#' { b'_' } else { *byte };
        kept.iter().map(hidden).collect()
    }

    /// As [`Self::find`], for something new.
    fn take(&self, at: At<'_>) -> Result<Box<[u8]>> {
        match self.is_fat && at.1.iter().any(|byte| b"\"*:<>?|\\".contains(byte)) {
            true => Err(Errno::INVAL),
            false if self.hides_names => Ok(self.stored(at.1)),
            false => self.find(at),
        }
    }

    fn is_there(&self, at: At<'_>) -> Result<bool> {
        Ok(Kernel.stat_at((at.0, &self.take(at)?), 0).is_ok())
    }

    fn is_anothers(&self, handle: &Handle) -> bool {
        let BitsOf::Anothers(name) = self.bits else { return false };
        let path =
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle.fd().unwrap()));
        std::fs::read_link(path).unwrap().file_name().is_some_and(|last| last == name)
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

impl Owners for Folding {
    fn user(&self) -> Option<(u32, u32)> {
        Kernel.user()
    }

    fn owner(&self, at: At<'_>) -> Result<Owner> {
        let owner = Kernel.owner((at.0, &self.find(at)?))?;
        let is_anothers = matches!(self.bits, BitsOf::Anothers(name) if name.as_bytes() == at.1);
        Ok(if is_anothers { Owner { user: ANOTHER, ..owner } } else { owner })
    }
}

impl FileSystem for Folding {
    as_kernel! {
        open_root(path: &Path) -> Result<Handle>;
        identity_of_path(path: &Path) -> Result<(u64, u64)>;
        try_clone(handle: &Handle) -> Result<Handle>;
        stat_of(handle: &Handle, device: u64) -> Result<Stat>;
        identity(handle: &Handle) -> Result<(u64, u64)>;
        check_writable(directory: &Handle) -> Result<()>;
        space(handle: &Handle) -> Result<Space>;
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
        read_link_at() -> Result<Box<[u8]>>;
        unlink() -> Result<()>;
        remove_directory() -> Result<()>;
        set_mtime(mtime_ns: i64) -> Result<()>;
    }

    fn create_at(&self, at: At<'_>) -> Result<Handle> {
        Kernel.create_at((at.0, &self.take(at)?))
    }

    fn make_directory(&self, at: At<'_>) -> Result<()> {
        Kernel.make_directory((at.0, &self.take(at)?))
    }

    fn stat_at(&self, at: At<'_>, device: u64) -> Result<Stat> {
        let listed = self.find(at)?;
        let mut stat = Kernel.stat_at((at.0, &listed), device)?;
        if self.numbers_spellings && *listed != *at.1 {
            stat.stamp.inode += 1 << 40;
        }
        Ok(stat)
    }

    fn set_mode(&self, handle: &Handle, mode: u16) -> Result<()> {
        match self.bits {
            BitsOf::Refused if mode != 0o644 => Err(Errno::PERM),
            BitsOf::Anothers(_) if self.is_anothers(handle) => Err(Errno::PERM),
            BitsOf::Rounded => Kernel.set_mode(handle, 0o644),
            _ => Kernel.set_mode(handle, mode),
        }
    }

    fn list(&self, directory: Handle) -> Result<Box<dyn Names>> {
        let names = Kernel.list(directory)?;
        Ok(if self.decomposes { Box::new(Decomposed(names)) } else { names })
    }

    fn open_beneath(&self, _root: &Handle, _path: &[u8], _how: How) -> Result<Handle> {
        Err(Errno::NOSYS)
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        let (source, target) = (self.find(from)?, self.take(to)?);
        if *source == *target {
            return Kernel.rename((from.0, &source), (to.0, &self.stored(to.1)));
        }
        Kernel.rename((from.0, &source), (to.0, &target))
    }

    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        if self.is_there(to)? {
            return Err(Errno::EXIST);
        }
        Kernel.rename_no_replace((from.0, &self.find(from)?), (to.0, &self.take(to)?))
    }

    fn exchange(&self, a: At<'_>, b: At<'_>) -> Result<()> {
        Kernel.exchange((a.0, &self.find(a)?), (b.0, &self.find(b)?))
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        if self.is_there(to)? {
            return Err(Errno::EXIST);
        }
        Kernel.link((from.0, &self.find(from)?), (to.0, &self.take(to)?))
    }

    fn symlink(&self, target: &[u8], at: At<'_>) -> Result<()> {
        if self.is_there(at)? {
            return Err(Errno::EXIST);
        }
        Kernel.symlink(target, (at.0, &self.take(at)?))
    }
}

/// With all that such a file system may be able to, and with nothing; with one inode number a file,
/// and with one a spelling.
fn each_folding(test: impl Fn(&Tree)) {
    for numbers_spellings in [false, true] {
        each_ability(|| Folding { numbers_spellings, ..Folding::default() }, &test);
    }
}

fn each_ability(files: impl Fn() -> Folding, test: impl Fn(&Tree)) {
    for able in [Abilities { resolve_beneath: false, ..Abilities::ALL }, Abilities::NONE] {
        test(&Tree::on(Rc::new(files()), able));
    }
}

fn run(tree: &Tree, at: &str, expect: Option<Stat>, keep: Option<&str>, action: Action) -> Outcome {
    let mut batch = SyncBatch::default();
    let expect = expect.map(|stat| stat.stamp);
    let apply = Apply { path: path(at), expect, keep: keep.map(path), action };
    batch.push(tree.staged(apply)).unwrap();
    batch.run(&tree.root, NOW_MS).pop().unwrap().1
}

fn content(tree: &Tree) -> Action {
    Action::WriteFile { source: tree.received("a", b"new"), mode: 0o644, mtime_ns: 0 }
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
        assert_eq!(
            (tree.stat("readme"), tree.stat("docs"), tree.stat("docs/a")),
            (None, None, None)
        );
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
        assert_told_apart(
            &run(tree, "docs", None, None, Action::MakeDirectory { mode: 0o755 }),
            "Docs",
        );
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
    let tree =
        Tree::on(Rc::new(Folding { decomposes: true, ..Folding::default() }), Abilities::NONE);
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

fn refusal(outcome: Outcome) -> String {
    match outcome {
        Err(error @ ApplyError::Io { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn listed(tree: &Tree, directory: &str) -> Vec<String> {
    let mut listed = Vec::new();
    assert!(tree.root.list(&path(directory)).unwrap().next_batch(99, &mut listed).unwrap());
    let mut names: Vec<_> =
        listed.into_iter().map(|(name, _)| String::from_utf8(name.into()).unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_name_that_would_become_another_is_refused_before_anything_is_touched() {
    each_ability(
        || Folding { is_fat: true, ..Folding::default() },
        |tree| {
            assert!(refusal(run(tree, "notes.", None, None, content(tree))).contains("\"notes\""));
            let link = Action::MakeSymlink { target: b"to".as_slice().into() };
            refusal(run(tree, "link.", None, None, link));
            refusal(run(tree, "d.", None, None, Action::MakeDirectory { mode: 0o755 }));
            let old = tree.write("old", "old");
            let rename = Action::RenameFrom { from: path("old"), stamp: old.stamp };
            refusal(run(tree, "new.", None, None, rename));
            refusal(run(tree, "old", Some(old), Some("kept."), content(tree)));
            assert_eq!(
                (listed(tree, ""), tree.read("old")),
                (vec!["old".to_owned()], b"old".to_vec())
            );
            for plain in ["notes", "d", "kept"] {
                run(tree, plain, None, None, content(tree)).unwrap();
            }
            assert!(listed(tree, ".p2pnetwork/tmp").is_empty());
        },
    );
}

#[test]
fn a_name_that_the_file_system_does_not_take_is_refused_with_the_way_out() {
    each_ability(
        || Folding { is_fat: true, ..Folding::default() },
        |tree| {
            assert!(refusal(run(tree, "who?", None, None, content(tree))).contains("rename it"));
            refusal(run(tree, "a:b", None, None, Action::MakeDirectory { mode: 0o755 }));
            assert!(listed(tree, "").is_empty());
        },
    );
}

#[test]
fn what_is_not_seen_under_the_name_that_it_was_given_is_not_said_to_be_there() {
    each_ability(
        || Folding { hides_names: true, ..Folding::default() },
        |tree| {
            let outcome = run(tree, "a#b", None, None, content(tree));
            assert!(
                matches!(outcome, Err(ApplyError::UnknownOutcome(_) | ApplyError::Io { .. })),
                "{outcome:?}"
            );
            assert!(outcome.unwrap_err().to_string().contains("a_b"));
            refusal(run(tree, "c#d", None, None, content(tree)));
            assert!(!listed(tree, "").contains(&"c_d".to_owned()), "it is known by now");
        },
    );
}

#[test]
fn bits_of_another_users_file_are_a_problem_that_names_its_owner() {
    each_ability(
        || Folding { bits: BitsOf::Anothers("theirs"), ..Folding::default() },
        |tree| {
            tree.make_directory("d");
            for name in ["theirs", "d/theirs"] {
                let old = tree.write(name, "x");
                let set = |mode| Action::SetMetadata { mode, mtime_ns: Some(old.stamp.mtime_ns) };
                let reason = refusal(run(tree, name, Some(old), None, set(0o600)));
                assert!(reason.contains("belongs to user 4711"), "{reason}");
                assert_eq!(tree.stat(name).map(|stat| stat.mode), Some(old.mode));
                let same = tree.stat(name);
                run(tree, name, same, None, set(old.mode)).unwrap();
            }
        },
    );
}

#[test]
fn bits_that_the_file_system_does_not_keep_are_read_back() {
    for rounds in [false, true] {
        let bits = || if rounds { BitsOf::Rounded } else { BitsOf::Refused };
        each_ability(
            || Folding { bits: bits(), ..Folding::default() },
            |tree| {
                assert!(!tree.root.nature().keeps_bits);
                let old = tree.write("a", "x");
                let set = Action::SetMetadata { mode: 0o751, mtime_ns: Some(old.stamp.mtime_ns) };
                let found = run(tree, "a", Some(old), None, set).unwrap().unwrap().mode;
                assert_eq!((found, tree.stat("a").map(|stat| stat.mode)), (0o644, Some(0o644)));
                run(tree, "b", None, None, content(tree)).unwrap();
            },
        );
    }
}

#[test]
fn a_faithful_file_system_is_known_as_one() {
    use crate::io::files::Nature;
    assert_eq!(Tree::new(Abilities::ALL).root.nature(), Nature::FAITHFUL);
}
