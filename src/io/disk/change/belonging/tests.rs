use super::*;
use crate::{
    core::seam::{Action, Apply},
    io::{
        disk::{
            change::sync_batch::{Outcome, SyncBatch},
            testing::{NOW_MS, Tree, each_mode, path},
        },
        files::sys::Abilities,
    },
    model::entry::Stat,
};

/// Another user's right to read, and the right to write of all that are named.
const NAMED_ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 113, 18, 0, 0, 4, 0, 0, 0, 255, 255,
    255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

fn run(tree: &Tree, at: &str, action: Action) -> Outcome {
    let expect = tree.stat(at).map(|stat| stat.stamp);
    let mut batch = SyncBatch::default();
    batch.push(tree.staged(Apply { path: path(at), expect, keep: None, action })).unwrap();
    batch.run(&tree.root, NOW_MS).pop().unwrap().1
}

fn receive(tree: &Tree, at: &str, mode: u16) -> Stat {
    let source = tree.received(at, b"received");
    run(tree, at, Action::WriteFile { source, mode, mtime_ns: 7 }).unwrap().unwrap()
}

fn make(tree: &Tree, at: &str, mode: u16) -> Stat {
    run(tree, at, Action::MakeDirectory { mode }).unwrap().unwrap()
}

fn owner(tree: &Tree, at: &str) -> Owner {
    let parent = tree.root.parent(&path(at)).unwrap();
    tree.root.files().owner((&parent, path(at).name())).unwrap()
}

fn attribute(tree: &Tree, at: &str, name: &[u8]) -> Option<Vec<u8>> {
    let parent = tree.root.parent(&path(at)).unwrap();
    tree.root.files().attribute((&parent, path(at).name()), name).unwrap()
}

fn set(tree: &Tree, at: &str, name: &[u8], value: &[u8]) {
    let parent = tree.root.parent(&path(at)).unwrap();
    let set = tree.root.files().set_attribute((&parent, path(at).name()), name, Some(value));
    set.expect("the file system of the temporary directory keeps ACLs and attributes");
}

fn with_mode(tree: &Tree, at: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    tree.make_directory(at);
    std::fs::set_permissions(tree.at.join(at), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_group_of_a_shared_directory_can_do_what_the_owner_can() {
    each_mode(|tree| {
        with_mode(tree, "shared", 0o2770);
        for (said, found) in [(0o644, 0o664), (0o600, 0o660), (0o755, 0o775), (0o444, 0o444)] {
            assert_eq!(receive(tree, "shared/f", said).mode, found, "new, or in place of another");
        }
        assert_eq!(make(tree, "shared/d", 0o755).mode, 0o775);
        assert_eq!(owner(tree, "shared/d").mode, 0o2775, "what is made in it is shared, too");
        assert_eq!(receive(tree, "shared/d/f", 0o640).mode, 0o660);
        let set = Action::SetMetadata { mode: 0o600, mtime_ns: Some(7) };
        assert_eq!(run(tree, "shared/d/f", set).unwrap().unwrap().mode, 0o660);
    });
}

#[test]
fn a_file_of_a_directory_that_is_to_be_made_is_as_the_one_above() {
    each_mode(|tree| {
        with_mode(tree, "shared", 0o2770);
        let mut batch = SyncBatch::default();
        let source = tree.received("x", b"received");
        for (at, action) in [
            ("shared/d", Action::MakeDirectory { mode: 0o755 }),
            ("shared/d/f", Action::WriteFile { source, mode: 0o644, mtime_ns: 7 }),
        ] {
            let apply = Apply { path: path(at), expect: None, keep: None, action };
            batch.push(tree.staged(apply)).unwrap();
        }
        let outcomes = batch.run(&tree.root, NOW_MS);
        let modes = outcomes.iter().map(|(_, outcome)| match outcome {
            Ok(Some(stat)) => stat.mode,
            other => panic!("{other:?}"),
        });
        assert_eq!(modes.collect::<Vec<_>>(), [0o775, 0o664]);
    });
}

#[test]
fn elsewhere_bits_are_what_the_version_says() {
    each_mode(|tree| {
        // The group's bit alone is inherited by many, and means no more than the group.
        for (at, mode) in [("own", 0o755), ("open", 0o777), ("inherited", 0o2755)] {
            with_mode(tree, at, mode);
            assert_eq!(receive(tree, &format!("{at}/f"), 0o640).mode, 0o640, "{at}");
            assert_eq!(make(tree, &format!("{at}/d"), 0o750).mode, 0o750, "{at}");
        }
    });
}

#[test]
fn what_has_its_bits_and_its_time_is_left_alone() {
    each_mode(|tree| {
        with_mode(tree, "shared", 0o2770);
        let before = receive(tree, "shared/f", 0o644);
        let set = Action::SetMetadata { mode: 0o644, mtime_ns: Some(7) };
        assert_eq!(run(tree, "shared/f", set).unwrap(), Some(before));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_new_has_the_default_acl_of_its_directory() {
    each_mode(|tree| {
        tree.make_directory("d");
        set(tree, "d", DEFAULT_ACL, NAMED_ACL);
        assert_eq!(receive(tree, "d/f", 0o600).mode, 0o660, "the mask is the default's");
        assert_eq!(attribute(tree, "d/f", ACCESS_ACL).as_deref(), Some(NAMED_ACL));
        make(tree, "d/e", 0o700);
        assert_eq!(attribute(tree, "d/e", DEFAULT_ACL).as_deref(), Some(NAMED_ACL));
        assert!(attribute(tree, "d/e", ACCESS_ACL).is_some());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_replaces_another_file_has_its_acl_and_its_attributes() {
    each_mode(|tree| {
        tree.write("f", "old");
        set(tree, "f", ACCESS_ACL, NAMED_ACL);
        set(tree, "f", b"user.note", b"mine");
        receive(tree, "f", 0o660);
        assert_eq!(tree.read("f"), b"received");
        assert_eq!(attribute(tree, "f", ACCESS_ACL).as_deref(), Some(NAMED_ACL));
        assert_eq!(attribute(tree, "f", b"user.note").as_deref(), Some(&b"mine"[..]));
        // A directory's default is for what is new in it.
        tree.make_directory("d");
        tree.write("d/f", "old");
        set(tree, "d", DEFAULT_ACL, NAMED_ACL);
        receive(tree, "d/f", 0o640);
        assert_eq!(attribute(tree, "d/f", ACCESS_ACL), None);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_an_earlier_try_was_given_for_another_path_is_taken_off() {
    let tree = Tree::new(Abilities::ALL);
    let source = tree.received("f", b"received");
    let left = tree.staged(Apply {
        path: path("f"),
        expect: None,
        keep: None,
        action: Action::WriteFile { source, mode: 0o644, mtime_ns: 7 },
    });
    let temp = format!(".p2pnetwork/tmp/{}", left.temp().unwrap());
    set(&tree, &temp, ACCESS_ACL, NAMED_ACL);
    set(&tree, &temp, b"user.note", b"another's");
    let mut batch = SyncBatch::default();
    batch.push(left).unwrap();
    let outcome = batch.run(&tree.root, NOW_MS).pop().unwrap().1;
    assert_eq!(outcome.unwrap().unwrap().mode, 0o644);
    assert_eq!(attribute(&tree, "f", ACCESS_ACL), None);
    assert_eq!(attribute(&tree, "f", b"user.note"), None);
}

#[test]
fn what_is_new_is_the_users_of_whom_a_user_of_the_directory_would_be() {
    let directory = |mode| Owner { user: 1000, group: 2000, mode };
    assert_eq!(owner_in(&directory(0o755), (0, 0)), (1000, 2000));
    assert_eq!(owner_in(&directory(0o2775), (7, 8)), (7, 2000));
    let plain = if cfg!(target_os = "linux") { (7, 8) } else { (7, 2000) };
    assert_eq!(owner_in(&directory(0o775), (7, 8)), plain);
}

#[test]
fn an_acl_says_what_a_group_may_do() {
    assert!(is_extended(NAMED_ACL) && group_class(NAMED_ACL) == 0o6);
    let minimal = minimal_acl(0o2750);
    assert!(!is_extended(&minimal) && group_class(&minimal) == 0o7);
    assert_eq!(entries(&minimal).last(), Some((OTHERS, 0)));
    assert_eq!(group_class(b"nonsense"), 0);
}
