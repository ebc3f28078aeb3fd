use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::io::disk::testing::*;

fn names(tree: &Tree, at: &str, batch: usize) -> Vec<Box<[u8]>> {
    let mut listing = tree.root.list(&path(at)).unwrap();
    let (mut all, mut found) = (vec![], vec![]);
    loop {
        let is_done = listing.next_batch(batch, &mut found).unwrap();
        assert!(found.len() <= batch);
        all.append(&mut found);
        if is_done {
            break;
        }
    }
    for (name, stat) in &all {
        assert_eq!(tree.root.stat(&path(at).join(name).unwrap()).unwrap(), stat.clone().ok());
    }
    let mut names: Vec<_> = all.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

#[test]
fn a_root_that_cannot_be_one_is_named() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("x");
    let said = |at: &Path| Root::open(at).unwrap_err().to_string();
    assert!(said(&at).ends_with("x: no such directory; make it first"));
    fs::write(&at, "").unwrap();
    assert!(said(&at).ends_with("x: not a directory; name a directory"));
    assert!(said(&at.join("y")).contains("not a directory"));
    assert!(OpenError::Denied(at).to_string().contains("permission denied"));
}

#[test]
fn sees_that_the_root_is_gone_or_replaced() {
    each_mode(|tree| {
        assert_eq!(tree.root.check(), RootState::Present);
        let state = tree.at.join(STATE_DIR);
        fs::rename(&state, tree.outside.join("state")).unwrap();
        assert_eq!(tree.root.check(), RootState::Stateless);
        fs::write(&state, "").unwrap();
        assert_eq!(tree.root.check(), RootState::Stateless);
        fs::remove_file(&state).unwrap();
        fs::rename(tree.outside.join("state"), &state).unwrap();
        assert_eq!(tree.root.check(), RootState::Present);
        let away = tree.outside.join("away");
        fs::rename(&tree.at, &away).unwrap();
        assert_eq!(tree.root.check(), RootState::Gone);
        fs::create_dir_all(&state).unwrap();
        assert_eq!(tree.root.check(), RootState::Replaced);
    });
}

#[test]
fn what_runs_with_whose_rights_is_the_machines_own() {
    each_mode(|tree| {
        for (name, special) in [("d", 0o2000), ("f", 0o4000)] {
            if name == "d" {
                tree.make_directory(name)
            } else {
                tree.write(name, "")
            };
            let at = tree.at.join(name);
            fs::set_permissions(&at, fs::Permissions::from_mode(special | 0o755)).unwrap();
            assert_eq!(tree.stat(name).unwrap().mode, 0o755, "nobody is told");
            let files = tree.root.files();
            let handle =
                files.open_at((tree.root.directory(), name.as_bytes()), How::ForMode).unwrap();
            files.set_mode(&handle, 0o750).unwrap();
            assert_eq!(
                fs::metadata(&at).unwrap().permissions().mode() & 0o7777,
                special | 0o750,
                "nobody else's say"
            );
        }
    });
}

#[test]
fn tells_what_a_path_is() {
    each_mode(|tree| {
        let file = tree.write("a", "12345");
        fs::set_permissions(tree.at.join("a"), fs::Permissions::from_mode(0o4712)).unwrap();
        let file = Stat {
            stamp: Stamp { ctime_ns: tree.stat("a").unwrap().stamp.ctime_ns, ..file.stamp },
            mode: 0o712,
            ..file
        };
        assert_eq!((tree.stat("a"), file.kind, file.stamp.size), (Some(file), FileKind::File, 5));
        let directory = tree.make_directory("d");
        assert_eq!(
            (directory.kind, directory.stamp.size, directory.stamp.ctime_ns),
            (FileKind::Directory, 0, 0)
        );
        tree.write("d/x", "");
        assert_eq!(tree.stat("d").unwrap().stamp, directory.stamp);
        let link = tree.symlink("l", "d");
        assert_eq!((link.kind, link.mode), (FileKind::Symlink, 0));
        let socket = std::os::unix::net::UnixListener::bind(tree.at.join("s")).unwrap();
        assert_eq!(tree.stat("s").unwrap().kind, FileKind::Other);
        drop(socket);
        for absent in ["none", "none/x", "a/x", "l/x", "s/x"] {
            assert_eq!(tree.stat(absent), None, "{absent}");
        }
        assert_eq!(tree.root.stat(&RelPath::root()).unwrap().unwrap().kind, FileKind::Directory);
    });
}

#[test]
fn lists_in_batches_without_the_nodes_own() {
    each_mode(|tree| {
        for n in 0..300 {
            tree.write(&format!("f{n:03}"), "");
        }
        tree.make_directory("d/.p2pnetwork");
        tree.symlink("l", "d");
        fs::write(
            tree.at.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\n")),
            "",
        )
        .unwrap();
        for batch in [1, 7, 1000] {
            let names = names(tree, "", batch);
            assert_eq!(names.len(), 303);
            assert!(names.contains(&b"\xff\n"[..].into()));
        }
        assert_eq!(names(tree, "d", 10), [STATE_DIR.as_bytes().into()]);
        for no_directory in ["l", "f000", "none", "l/x"] {
            assert!(tree.root.list(&path(no_directory)).is_err(), "{no_directory}");
        }
    });
}

#[test]
fn a_listing_outlives_what_it_lists() {
    each_mode(|tree| {
        tree.write("d", "");
        fs::remove_file(tree.at.join("d")).unwrap();
        tree.make_directory("d");
        tree.write("d/a", "");
        tree.write("d/b", "");
        let mut listing = tree.root.list(&path("d")).unwrap();
        assert!(listing.directory().fd().is_ok());
        fs::remove_dir_all(tree.at.join("d")).unwrap();
        let mut found = vec![];
        assert!(listing.next_batch(10, &mut found).unwrap());
        assert!(found.is_empty());
    });
}

#[test]
fn reads_only_what_is_expected() {
    each_mode(|tree| {
        let (stamp, mut out) = (tree.write("a", "content").stamp, vec![9]);
        assert_eq!(tree.root.read_small(&path("a"), &stamp, &mut out).unwrap(), Some(()));
        assert_eq!(out, b"content");
        assert_eq!(tree.root.read_range(&path("a"), &stamp, 3, 4, &mut out).unwrap(), Some(()));
        assert_eq!(out, b"tent");
        for (offset, length) in [(3, 5), (8, 1), (u64::MAX, 1)] {
            assert_eq!(
                tree.root.read_range(&path("a"), &stamp, offset, length, &mut out).unwrap(),
                None
            );
            assert!(out.is_empty());
        }
        let large = Stamp { size: 65_537, ..stamp };
        assert!(tree.root.read_small(&path("a"), &large, &mut out).is_err());
        tree.symlink("l", "a");
        tree.symlink("d", ".");
        tree.make_directory("e");
        for not_it in ["l", "d/a", "e", "none", "a/x"] {
            assert_eq!(
                tree.root.read_small(&path(not_it), &stamp, &mut out).unwrap(),
                None,
                "{not_it}"
            );
        }
        fs::write(tree.at.join("a"), "CONTENT").unwrap();
        assert_eq!(tree.root.read_small(&path("a"), &stamp, &mut out).unwrap(), None);
        assert!(out.is_empty());
    });
}

#[test]
fn reads_links_without_following() {
    each_mode(|tree| {
        tree.symlink("l", "/no/where");
        tree.symlink("d", ".");
        tree.write("a", "");
        let read = |name: &str| tree.root.read_link(&path(name)).unwrap();
        assert_eq!(read("l").as_deref(), Some(&b"/no/where"[..]));
        assert_eq!((read("a"), read("none"), read("d/l"), read("a/x")), (None, None, None, None));
        tree.symlink("long", &"x".repeat(4000));
        assert_eq!(read("long").unwrap().len(), 4000);
    });
}

#[test]
fn a_pipe_does_not_block() {
    each_mode(|tree| {
        let made = std::process::Command::new("mkfifo").arg(tree.at.join("p")).status();
        assert!(made.unwrap().success());
        let stat = tree.stat("p").unwrap();
        assert_eq!(stat.kind, FileKind::Other);
        assert_eq!(tree.root.read_range(&path("p"), &stat.stamp, 0, 0, &mut vec![]).unwrap(), None);
    });
}

#[test]
fn a_kept_directory_is_forgotten_after_the_turn() {
    each_mode(|tree| {
        tree.make_directory("d");
        tree.write("d/a", "");
        fs::rename(tree.at.join("d"), tree.at.join("e")).unwrap();
        tree.make_directory("d");
        tree.root.end_of_turn();
        assert_eq!(tree.stat("d/a"), None);
        assert!(tree.stat("e/a").is_some());
    });
}

#[test]
fn tells_the_space() {
    each_mode(|tree| {
        let space = tree.root.space().unwrap();
        assert!(space.total_bytes >= space.free_bytes && space.free_bytes > 0);
        assert!(space.total_files >= space.free_files);
    });
}

#[test]
fn offsets_beyond_32_bits_and_times_beyond_2038_are_kept() {
    each_mode(|tree| {
        // A hole with a few bytes at its end; the time is in 2116.
        let (offset, mtime_ns) = ((1_u64 << 32) + 5, 1_i64 << 62);
        let temp = crate::io::disk::change::temp::Temp::create(&tree.root, "big").unwrap();
        temp.write_at(offset, b"beyond").unwrap();
        temp.set_metadata(&tree.root, 0o600, mtime_ns).unwrap();
        assert_eq!(temp.len().unwrap(), offset + 6);
        fs::rename(tree.at.join(STATE_DIR).join("tmp/big"), tree.at.join("big")).unwrap();
        let stat = tree.stat("big").unwrap();
        assert_eq!((stat.stamp.size, stat.stamp.mtime_ns), (offset + 6, mtime_ns));
        let mut bytes = Vec::new();
        let read =
            tree.root.read_range(&path("big"), &stat.stamp, offset - 1, 7, &mut bytes).unwrap();
        assert_eq!((read, bytes.as_slice()), (Some(()), &b"\0beyond"[..]));
    });
}

/// `/proc` is one below the root of the machine.
#[cfg(target_os = "linux")]
#[test]
fn what_is_on_another_file_system_is_said_to_be_whatever_is_asked_of_it() {
    let (root, at) = (Root::open(Path::new("/")).unwrap(), path("proc/version"));
    let stamp = Stamp { device: root.device(), inode: 1, size: 0, mtime_ns: 0, ctime_ns: 0 };
    let mut out = Vec::new();
    let said = [
        root.stat(&at).map(drop).unwrap_err().to_string(),
        root.list(&path("proc/self")).map(drop).unwrap_err().to_string(),
        root.read_link(&at).map(drop).unwrap_err().to_string(),
        root.open_file(&at, &stamp).map(drop).unwrap_err().to_string(),
        root.read_small(&at, &stamp, &mut out).map(drop).unwrap_err().to_string(),
    ];
    assert!(said.iter().all(|said| said == crate::core::seam::COVERED), "{said:?}");
}
