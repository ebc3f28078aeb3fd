use std::{
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    process::Command,
};

use super::*;
use crate::{
    core::seam::{Apply, Source},
    io::{
        disk::{
            change::{
                partial,
                stage::Stage,
                sync_batch::{Outcome, SyncBatch},
                temp::{self, Temp},
            },
            testing::*,
        },
        files::{Kernel, sys::Abilities},
    },
    model::entry::Digest,
};

fn run(tree: &Tree, at: &RelPath, expect: Option<Stat>, action: Action) -> Outcome {
    let mut batch = SyncBatch::default();
    let apply =
        Apply { path: at.clone(), expect: expect.map(|stat| stat.stamp), keep: None, action };
    batch.push(tree.staged(apply)).unwrap();
    batch.run(&tree.root, NOW_MS).pop().unwrap().1
}

fn write_file(tree: &Tree, content: &[u8]) -> Action {
    let source = tree.received("a", content);
    Action::WriteFile { source, mode: 0o751, mtime_ns: 1_234_567_890_123_456_789 }
}

fn trashed(entries: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    entries.iter().map(|(name, content)| (name.to_string(), content.as_bytes().to_vec())).collect()
}

fn link_action(target: &str) -> Action {
    Action::MakeSymlink { target: target.as_bytes().into() }
}

#[test]
fn writes_where_nothing_was() {
    each_mode(|tree| {
        let stat = run(tree, &path("a"), None, write_file(tree, b"new")).unwrap().unwrap();
        assert_eq!(tree.read("a"), b"new");
        assert_eq!((stat.mode, stat.stamp.mtime_ns), (0o751, 1_234_567_890_123_456_789));
        assert_eq!((tree.stat("a"), stat.links, tree.temps()), (Some(stat), 1, 0));
        assert_eq!(tree.trash(), []);
    });
}

#[test]
fn replaces_and_keeps_the_old_in_the_trash() {
    each_mode(|tree| {
        tree.make_directory("d/e");
        let old = tree.write("d/e/a", "old");
        let new = run(tree, &path("d/e/a"), Some(old), write_file(tree, b"new")).unwrap();
        assert_eq!((tree.read("d/e/a"), tree.stat("d/e/a")), (b"new".to_vec(), new));
        let link = run(tree, &path("d/e/a"), new, link_action("nowhere")).unwrap();
        assert_eq!(tree.root.read_link(&path("d/e/a")).unwrap().as_deref(), Some(&b"nowhere"[..]));
        run(tree, &path("d/e/a"), link, write_file(tree, b"newer")).unwrap();
        let all = [("d/e/a", "old"), ("d/e/a~2", "new"), ("d/e/a~3", "nowhere")];
        assert_eq!((tree.trash(), tree.temps()), (trashed(&all), 0));
    });
}

#[test]
fn kinds_replace_each_other() {
    each_mode(|tree| {
        let file = tree.write("a", "file");
        let directory =
            run(tree, &path("a"), Some(file), Action::MakeDirectory { mode: 0o750 }).unwrap();
        assert_eq!(
            directory.map(|stat| (stat.kind, stat.mode)),
            Some((FileKind::Directory, 0o750))
        );
        tree.write("a/child", "");
        let refused = run(tree, &path("a"), directory, write_file(tree, b"new"));
        assert!(matches!(refused, Err(ApplyError::NotEmpty)), "{refused:?}");
        run(tree, &path("a/child"), tree.stat("a/child"), Action::RemoveFile).unwrap();
        let link = run(tree, &path("a"), directory, link_action("x")).unwrap();
        run(tree, &path("a"), link, Action::MakeDirectory { mode: 0o700 }).unwrap();
        run(tree, &path("a"), tree.stat("a"), write_file(tree, b"last")).unwrap();
        assert_eq!(tree.read("a"), b"last");
        let names: Vec<_> = tree.trash().into_iter().map(|(name, _)| name).collect();
        // "a" is a file there, so "a/child" goes beside it, under its digest.
        assert_eq!(names.len(), 3);
        assert!(names.iter().any(|name| name.ends_with("-child")), "{names:?}");
    });
}

#[test]
fn removes() {
    each_mode(|tree| {
        let (file, link) = (tree.write("a", "old"), tree.symlink("l", "/etc"));
        assert_eq!(run(tree, &path("a"), Some(file), Action::RemoveFile).unwrap(), None);
        assert_eq!(run(tree, &path("l"), Some(link), Action::RemoveFile).unwrap(), None);
        assert_eq!(run(tree, &path("l"), None, Action::RemoveFile).unwrap(), None);
        let directory = tree.make_directory("d");
        tree.write("d/a", "");
        let refused = run(tree, &path("d"), Some(directory), Action::RemoveDirectory);
        assert!(matches!(refused, Err(ApplyError::NotEmpty)), "{refused:?}");
        std::fs::remove_file(tree.at.join("d/a")).unwrap();
        assert_eq!(run(tree, &path("d"), Some(directory), Action::RemoveDirectory).unwrap(), None);
        assert_eq!((tree.stat("a"), tree.stat("l"), tree.stat("d")), (None, None, None));
        assert_eq!(tree.trash(), trashed(&[("a", "old"), ("l", "/etc")]));
    });
}

#[test]
fn sets_metadata() {
    each_mode(|tree| {
        let (file, directory, link) =
            (tree.write("a", "x"), tree.make_directory("d"), tree.symlink("l", "a"));
        let action = || Action::SetMetadata { mode: 0o401, mtime_ns: Some(-1) };
        let after = run(tree, &path("a"), Some(file), action()).unwrap().unwrap();
        assert_eq!((after.mode, after.stamp.mtime_ns, Some(after)), (0o401, -1, tree.stat("a")));
        let after = run(tree, &path("d"), Some(directory), action()).unwrap().unwrap();
        assert_eq!((after.mode, after.stamp), (0o401, directory.stamp));
        assert_eq!(run(tree, &path("l"), Some(link), action()).unwrap(), Some(link));
        assert_eq!(tree.stat("a").unwrap().stamp.mtime_ns, -1);
    });
}

#[test]
fn renames() {
    each_mode(|tree| {
        let file = tree.write("a", "x");
        let action =
            |from: &str, stat: Stat| Action::RenameFrom { from: path(from), stamp: stat.stamp };
        let after = run(tree, &path("b"), None, action("a", file)).unwrap();
        assert_eq!((tree.stat("a"), tree.stat("b")), (None, after));
        let directory = tree.make_directory("d");
        tree.write("d/in", "in");
        run(tree, &path("e"), None, action("d", directory)).unwrap();
        assert_eq!((tree.stat("d"), tree.read("e/in")), (None, b"in".to_vec()));
        run(tree, &path("e/in"), tree.stat("e/in"), action("b", after.unwrap())).unwrap();
        assert_eq!((tree.read("e/in"), tree.trash()), (b"x".to_vec(), trashed(&[("e/in", "in")])));
        let stale = run(tree, &path("f"), None, action("e/in", file));
        assert!(matches!(stale, Err(ApplyError::Unexpected(Some(_)))), "{stale:?}");
    });
}

#[test]
fn two_files_change_places() {
    let tree = Tree::new(Abilities::ALL);
    tree.make_directory("d");
    let (a, b) = (tree.write("a", "of a"), tree.write("d/b", "of b"));
    let exchange = |stamp| Action::Exchange { with: path("d/b"), stamp };
    let stale = run(&tree, &path("a"), Some(a), exchange(a.stamp));
    assert!(matches!(stale, Err(ApplyError::Unexpected(Some(_)))), "{stale:?}");
    assert_eq!((tree.stat("a"), tree.stat("d/b")), (Some(a), Some(b)));
    let after = run(&tree, &path("a"), Some(a), exchange(b.stamp)).unwrap();
    assert_eq!(
        (tree.stat("a"), tree.read("a"), tree.read("d/b")),
        (after, b"of b".to_vec(), b"of a".to_vec())
    );
    assert_eq!(tree.stat("d/b").unwrap().stamp.inode, a.stamp.inode);
    assert_eq!(tree.trash(), vec![]);
    // Where names cannot be exchanged, nothing happens.
    let tree = Tree::new(Abilities::NONE);
    let (a, b) = (tree.write("a", "of a"), tree.write("b", "of b"));
    let exchange = Action::Exchange { with: path("b"), stamp: b.stamp };
    assert!(run(&tree, &path("a"), Some(a), exchange).is_err());
    assert_eq!((tree.stat("a"), tree.stat("b")), (Some(a), Some(b)));
}

/// As a second name would: where there are no links, a copy has the content, its time and its bits.
#[test]
fn what_is_kept_beside_has_the_bits_that_it_had() {
    each_mode(|tree| {
        tree.write("a", "old");
        std::fs::set_permissions(tree.at.join("a"), std::fs::Permissions::from_mode(0o640))
            .unwrap();
        let old = tree.stat("a").unwrap();
        let keep = Some(path("a.kept"));
        let apply = Apply {
            path: path("a"),
            expect: Some(old.stamp),
            keep,
            action: write_file(tree, b"new"),
        };
        let mut batch = SyncBatch::default();
        batch.push(tree.staged(apply)).unwrap();
        batch.run(&tree.root, NOW_MS).pop().unwrap().1.unwrap();
        let kept = tree.stat("a.kept").unwrap();
        assert_eq!((tree.read("a.kept"), kept.mode), (b"old".to_vec(), 0o640));
        assert_eq!((tree.read("a"), kept.stamp.mtime_ns), (b"new".to_vec(), old.stamp.mtime_ns));
    });
}

/// Every action, and what the path would have to be for it.
fn all_actions(tree: &Tree) -> Vec<Action> {
    let source = tree.stat("source").unwrap_or_else(|| tree.write("source", "source"));
    vec![
        write_file(tree, b"new"),
        Action::MakeDirectory { mode: 0o700 },
        link_action("target"),
        Action::SetMetadata { mode: 0o777, mtime_ns: Some(5) },
        Action::RemoveFile,
        Action::RemoveDirectory,
        Action::RenameFrom { from: path("source"), stamp: source.stamp },
    ]
}

#[test]
fn what_was_not_expected_stays_untouched() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("edited", |at| std::fs::write(at, "edited by a user").unwrap()),
        ("vanished", |at| std::fs::remove_file(at).unwrap()),
        ("became a directory", |at| {
            std::fs::remove_file(at).unwrap();
            std::fs::create_dir(at).unwrap();
            std::fs::write(at.join("child"), "kept").unwrap();
        }),
        ("became a link", |at| {
            std::fs::remove_file(at).unwrap();
            symlink("/etc/passwd", at).unwrap();
        }),
        ("became a socket", |at| {
            std::fs::remove_file(at).unwrap();
            std::os::unix::net::UnixListener::bind(at).unwrap();
        }),
    ];
    each_mode(|tree| {
        for (what, change) in changes {
            let old = tree.write("a", "old");
            change(&tree.at.join("a"));
            let now = tree.stat("a");
            for action in all_actions(tree) {
                let outcome = run(tree, &path("a"), Some(old), action.clone());
                assert!(
                    matches!(outcome, Err(ApplyError::Unexpected(found)) if found == now),
                    "{what}: {action:?}"
                );
                assert_eq!(tree.stat("a"), now, "{what}: {action:?}");
            }
            assert_eq!(tree.trash(), []);
            assert_eq!(tree.read("source"), b"source");
            let at = tree.at.join("a");
            let _ = std::fs::remove_file(&at).or_else(|_| std::fs::remove_dir_all(&at));
        }
    });
}

#[test]
fn what_appeared_stays_untouched() {
    each_mode(|tree| {
        let appeared = tree.write("a", "appeared");
        for action in all_actions(tree) {
            let outcome = run(tree, &path("a"), None, action.clone());
            assert!(
                matches!(outcome, Err(ApplyError::Unexpected(Some(found))) if found == appeared),
                "{action:?}"
            );
        }
        assert_eq!((tree.read("a"), tree.trash()), (b"appeared".to_vec(), vec![]));
    });
}

/// The user is faster than the comparison: the edit lies between the look and the rename.
#[test]
fn an_edit_in_the_last_instant_is_put_back() {
    each_mode(|tree| {
        let old = tree.write("a", "old");
        std::fs::remove_file(tree.at.join("a")).unwrap();
        let edit = tree.write("a", "edit");
        let at = path("a");
        let site = Site::new(&tree.root, &at, NOW_MS).unwrap();
        tree.temp("temp", b"new");
        assert!(matches!(site.install(b"temp", Some(old)), Err(ApplyError::Unexpected(Some(_)))));
        assert!(matches!(site.remove_file(Some(old)), Err(ApplyError::Unexpected(Some(_)))));
        let now = tree.stat("a").unwrap();
        assert!(is_same(&edit, &now));
        assert_eq!((tree.read("a"), tree.temps(), tree.trash()), (b"edit".to_vec(), 1, vec![]));
        assert!(matches!(site.install(b"temp", None), Err(ApplyError::Unexpected(Some(_)))));
        std::fs::remove_file(tree.at.join("a")).unwrap();
        assert!(matches!(site.install(b"temp", Some(old)), Err(ApplyError::Unexpected(None))));
        assert_eq!((tree.temps(), tree.trash()), (1, vec![]));
    });
}

#[test]
fn parents_must_be_directories_of_the_root() {
    each_mode(|tree| {
        tree.make_directory("inside");
        tree.symlink("to-inside", "inside");
        tree.symlink("to-outside", tree.outside.to_str().unwrap());
        tree.write("file", "");
        for target in [tree.at.join("inside/x"), tree.outside.join("x")] {
            std::fs::write(target, "untouched").unwrap();
        }
        let seen = tree.stat("inside/x");
        for parent in ["to-inside", "to-outside", "file", "missing", "to-outside/deeper"] {
            for action in all_actions(tree) {
                let at = path(format!("{parent}/x"));
                for expect in [None, seen] {
                    let outcome = run(tree, &at, expect, action.clone());
                    assert!(
                        matches!(outcome, Err(ApplyError::Parent)),
                        "{at}: {action:?}: {outcome:?}"
                    );
                }
                let from = Action::RenameFrom { from: at, stamp: seen.unwrap().stamp };
                assert!(matches!(run(tree, &path("new"), None, from), Err(ApplyError::Parent)));
            }
        }
        assert_eq!(std::fs::read(tree.outside.join("x")).unwrap(), b"untouched");
        assert_eq!(std::fs::read_dir(&tree.outside).unwrap().count(), 1);
        assert_eq!((tree.stat("inside/x"), tree.trash()), (seen, vec![]));
    });
}

#[test]
fn the_trash_is_not_led_outside() {
    each_mode(|tree| {
        let old = tree.write("a", "old");
        symlink(&tree.outside, tree.at.join(".p2pnetwork/trash")).unwrap();
        assert!(run(tree, &path("a"), Some(old), Action::RemoveFile).is_err());
        assert!(run(tree, &path("a"), Some(old), write_file(tree, b"new")).is_err());
        assert_eq!((tree.read("a"), tree.stat("a")), (b"old".to_vec(), Some(old)));
        assert_eq!(std::fs::read_dir(&tree.outside).unwrap().count(), 0);
    });
}

#[test]
fn the_nodes_own_directory_is_refused() {
    each_mode(|tree| {
        for reserved in ["", ".p2pnetwork", ".p2pnetwork/tmp/x", ".P2Pnetwork/x"] {
            for action in all_actions(tree) {
                assert!(matches!(
                    run(tree, &path(reserved), None, action),
                    Err(ApplyError::Reserved)
                ));
            }
        }
    });
}

#[test]
fn any_name_goes() {
    each_mode(|tree| {
        for name in [&b"line\nbreak"[..], b"\xff\xfe", &[b'n'; 255], b" ", b"~", b"-rf"] {
            let at = path(name);
            let first = run(tree, &at, None, write_file(tree, b"1")).unwrap();
            let second = run(tree, &at, first, write_file(tree, b"2")).unwrap();
            let third = run(tree, &at, second, write_file(tree, b"3")).unwrap();
            assert_eq!(
                std::fs::read(tree.at.join(std::ffi::OsStr::from_bytes(name))).unwrap(),
                b"3"
            );
            run(tree, &at, third, Action::RemoveFile).unwrap();
            assert_eq!(tree.root.stat(&at).unwrap(), None);
        }
        assert_eq!(tree.trash().len(), 6 * 3);
    });
}

#[test]
fn a_path_as_long_as_can_be_fits_into_the_trash() {
    let test = |tree: &Tree, depth: usize, name_bytes: usize| {
        let mut at = RelPath::root();
        for _ in 0..depth {
            at = at.join(&[b'd'; 250]).unwrap();
            run(tree, &at, None, Action::MakeDirectory { mode: 0o755 }).unwrap();
        }
        at = at.join(&vec![b'f'; name_bytes]).unwrap();
        let first = run(tree, &at, None, write_file(tree, b"1")).unwrap();
        let second = run(tree, &at, first, write_file(tree, b"2")).unwrap();
        run(tree, &at, second, Action::RemoveFile).unwrap();
        let mut contents: Vec<_> = tree.trash().into_iter().map(|(_, content)| content).collect();
        contents.sort();
        assert_eq!(contents, [b"1", b"2"]);
    };
    each_mode(|tree| test(tree, 15, 255));
    each_mode(|tree| test(tree, 16, 79));
}

#[test]
fn hard_links_are_not_written_through() {
    each_mode(|tree| {
        let target = tree.outside.join("linked");
        std::fs::write(&target, "shared").unwrap();
        std::fs::hard_link(&target, tree.at.join("a")).unwrap();
        run(tree, &path("a"), tree.stat("a"), write_file(tree, b"new")).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"shared");
    });
}

/// Tests run as root do not feel permissions: the test starts itself again as nobody.
#[test]
fn directories_without_write_permission_do_not_block() {
    const AGAIN: &str = "P2PNETWORK_TEST_AS_NOBODY";
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let copy = place.path().join("tests");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let name =
            "io::disk::change::apply::tests::directories_without_write_permission_do_not_block";
        let again = Command::new(copy)
            .args(["--exact", name, "--nocapture"])
            .env(AGAIN, "1")
            .env("TMPDIR", place.path())
            .current_dir(place.path())
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[again.stdout, again.stderr].concat()).into_owned();
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    each_mode(|tree| {
        for mode in [0o444, 0o000] {
            let action =
                Action::WriteFile { source: tree.received("sealed", b"x"), mode, mtime_ns: 0 };
            let at = path(format!("sealed{mode:o}"));
            let wrong = tree.stat("").unwrap();
            assert!(matches!(
                run(tree, &at, Some(wrong), action.clone()),
                Err(ApplyError::Unexpected(None))
            ));
            assert_eq!(run(tree, &at, None, action).unwrap().unwrap().mode, mode);
        }
        for mode in [0o555, 0o500, 0o100, 0o000] {
            let name = format!("d{mode:o}");
            let directory = tree.make_directory(&name);
            let (a, b) = (path(format!("{name}/a")), path(format!("{name}/b")));
            run(tree, &path(&name), Some(directory), Action::MakeDirectory { mode }).unwrap();
            let first = run(tree, &a, None, write_file(tree, b"1")).unwrap();
            let second = run(tree, &a, first, write_file(tree, b"2")).unwrap();
            let from = Action::RenameFrom { from: a.clone(), stamp: second.unwrap().stamp };
            let third = run(tree, &b, None, from).unwrap();
            let silent = Action::SetMetadata { mode: 0, mtime_ns: Some(1) };
            let third = run(tree, &b, third, silent.clone()).unwrap();
            let third = run(tree, &b, third, silent).unwrap();
            run(tree, &b, third, Action::RemoveFile).unwrap();
            let now = std::fs::metadata(tree.at.join(&name)).unwrap();
            assert_eq!(now.mode() & 0o7777, u32::from(mode));
            let nested = path(format!("{name}/e/f"));
            for directory in [nested.parent().unwrap(), nested.clone()] {
                run(tree, &directory, None, Action::MakeDirectory { mode }).unwrap();
            }
            let deep = path(format!("{name}/e/f/deep"));
            run(tree, &deep, None, write_file(tree, b"deep")).unwrap();
            let sealed = tree.stat(&name).unwrap();
            let from = Action::RenameFrom { from: path(&name), stamp: sealed.stamp };
            run(tree, &path(format!("moved-{name}")), None, from).unwrap();
        }
    });
}

/// A small file system of its own, unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        assert!(std::env::var_os("CI").is_none(), "this test needs the right to mount");
        // Past the test harness, which keeps what a passing test prints to itself.
        let said = std::io::stderr().write_all(b"NOT TESTED: what needs the right to mount\n");
        assert!(said.is_ok());
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = Mounted::new("size=1m,nr_inodes=20") else { return };
    for able in [Abilities::ALL, Abilities::NONE] {
        let at = disk.0.path().join(format!("{}", able.rename_flags));
        std::fs::create_dir(&at).unwrap();
        let root = Root::open_on(Rc::new(Kernel), &at, able).unwrap();
        root.make_state_directory().unwrap();
        std::fs::write(at.join("a"), "old").unwrap();
        let old = root.stat(&path("a")).unwrap();
        let digest = Digest([7; 32]);
        let temp = Temp::create(&root, &partial::name(&digest)).unwrap();
        let too_much = temp.write_at(0, &vec![1; 2 << 20]).unwrap_err();
        assert!(temp::is_no_space(&too_much), "{too_much}");
        assert!(temp::is_no_space(&temp.reserve(2 << 20).unwrap_err()));
        temp.set_len(3).unwrap();
        let fillers: Vec<_> = (0..20)
            .map(|n| disk.0.path().join(format!("filler{n}")))
            .take_while(|name| std::fs::create_dir(name).is_ok())
            .collect();
        let outcome = |action, expect: Option<Stat>, name: &str| {
            let mut batch = SyncBatch::default();
            let expect = expect.map(|stat| stat.stamp);
            let apply = Apply { path: path(name), expect, keep: None, action };
            let staged = Stage::default().prepare(&root, apply);
            batch.push(staged.map_err(|failure| format!("{failure:?}"))?).unwrap();
            batch.run(&root, NOW_MS).pop().unwrap().1.map_err(|error| error.to_string())
        };
        let replace =
            || Action::WriteFile { source: Source::Partial(digest), mode: 0o600, mtime_ns: 0 };
        for (action, expect, name) in [
            (replace(), old, "a"),
            (Action::RemoveFile, old, "a"),
            (Action::MakeDirectory { mode: 0o700 }, None, "d"),
            (link_action("x"), None, "l"),
        ] {
            let outcome = outcome(action.clone(), expect, name);
            let reason = outcome.unwrap_err();
            assert!(reason.contains("the disk is full"), "{action:?}: {reason}");
        }
        assert_eq!(std::fs::read(at.join("a")).unwrap(), b"old");
        fillers.iter().for_each(|name| std::fs::remove_dir(name).unwrap());
        outcome(replace(), old, "a").unwrap();
        assert_eq!(std::fs::read(at.join("a")).unwrap().len(), 3);
        drop(temp);
        std::fs::remove_dir_all(&at).unwrap();
    }
}

#[test]
fn another_file_system_inside_is_not_entered() {
    each_mode(|tree| {
        let Some(disk) = Mounted::new("size=1m") else { return };
        std::fs::write(disk.0.path().join("x"), "other").unwrap();
        let at = tree.at.join("mounted");
        std::fs::create_dir(&at).unwrap();
        // One on another device; and one of the same, which is still not the same.
        for from in [disk.0.path(), &tree.outside] {
            assert!(
                Command::new("mount").arg("--bind").arg(from).arg(&at).status().unwrap().success()
            );
            assert_eq!(tree.stat("mounted").unwrap().kind, FileKind::Foreign);
            let hidden = tree.root.stat(&path("mounted/x")).unwrap_err();
            assert!(hidden.to_string().contains("mounted"), "covered is not missing: {hidden}");
            assert!(tree.root.list(&path("mounted")).is_err());
            let below = all_actions(tree).into_iter().map(|action| ("mounted/x", action));
            for (at, action) in below.chain([("mounted", Action::RemoveDirectory)]) {
                let outcome = run(tree, &path(at), None, action);
                assert!(matches!(outcome, Err(ApplyError::Io { .. })), "{outcome:?}");
            }
            assert!(Command::new("umount").arg("--lazy").arg(&at).status().unwrap().success());
            assert_eq!(tree.stat("mounted").unwrap().kind, FileKind::Directory);
        }
    });
}
