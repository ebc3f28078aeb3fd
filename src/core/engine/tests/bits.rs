//! Disks that do not keep permission bits: what they make of them is no edit of anybody.

use super::*;
use crate::model::entry::{Base, Bits};

/// Two linked nodes. The disk of node 1 gives all files the same bits, which the node has found out
/// or not.
fn on_fat(test: impl Fn(&mut World)) {
    for is_known in [false, true] {
        let mut world = linked(2);
        world.nodes[1].disk.has_flat_bits = true;
        world.nodes[1].engine.config.keeps_bits = !is_known;
        world.write(0, "key", b"secret");
        world.write(0, "run", b"script");
        world.put(0, "d", Data::Directory);
        for (name, mode) in [("key", 0o600), ("run", 0o755), ("d", 0o700)] {
            chmod(&mut world, 0, name, mode);
        }
        world.settle();
        assert_eq!([mode(&world, 1, "key"), mode(&world, 1, "d")], [0o644, 0o755]);
        test(&mut world);
    }
}

fn mode(world: &World, node: usize, name: &str) -> u16 {
    world.nodes[node].disk.tree[&path(name)].mode
}

fn modes(world: &World, names: [&str; 2]) -> [u16; 2] {
    names.map(|name| mode(world, 0, name))
}

#[test]
fn an_edit_hands_on_the_bits_that_its_disk_did_not_keep() {
    on_fat(|world| {
        for _ in 0..2 {
            world.nodes[1].disk.ticks += 100;
            world.write(1, "key", format!("more {}", world.nodes[1].disk.ticks).as_bytes());
            world.write(1, "run", format!("more {}", world.nodes[1].disk.ticks).as_bytes());
            world.settle();
        }
        assert_eq!(modes(world, ["key", "run"]), [0o600, 0o755]);
        assert_eq!(
            world.nodes[0].disk.tree[&path("key")].data,
            world.nodes[1].disk.tree[&path("key")].data
        );
    });
}

#[test]
fn a_chmod_elsewhere_is_handed_on_too() {
    on_fat(|world| {
        chmod(world, 0, "key", 0o640);
        world.settle();
        world.write(1, "key", b"more");
        world.settle();
        assert_eq!(mode(world, 0, "key"), 0o640);
    });
}

#[test]
fn a_rename_hands_on_the_bits() {
    on_fat(|world| {
        world.rename(1, "key", "key2");
        world.rename(1, "d", "e");
        world.settle();
        assert_eq!(modes(world, ["key2", "e"]), [0o600, 0o700]);
        world.write(1, "e/new", b"in it");
        world.settle();
        assert_eq!(mode(world, 0, "e"), 0o700);
    });
}

#[test]
fn an_edit_that_outlives_a_deletion_hands_on_the_bits() {
    on_fat(|world| {
        world.cut(0, 1);
        world.write(1, "key", b"more");
        world.settle();
        world.delete(0, "key");
        world.settle();
        world.link(0, 1);
        world.settle();
        assert_eq!(mode(world, 0, "key"), 0o600);
    });
}

#[test]
fn what_lost_is_kept_with_the_bits_that_it_had() {
    on_fat(|world| {
        world.cut(0, 1);
        world.write(1, "key", b"loses");
        world.settle();
        world.write(0, "key", b"wins");
        chmod(world, 0, "key", 0o600);
        world.settle();
        world.link(0, 1);
        world.settle();
        let copies: Vec<_> =
            names(&world.nodes[0]).into_iter().filter(|name| name.contains("conflict")).collect();
        assert_eq!(copies.len(), 1, "{copies:?}");
        assert_eq!(modes(world, ["key", &copies[0]]), [0o600, 0o600]);
    });
}

/// A newer version of another file's bits has come, and cannot be placed, when the file is edited.
#[test]
fn an_edit_of_an_older_version_hands_on_the_older_ones_bits() {
    on_fat(|world| {
        world.nodes[1].disk.refused.insert(path("key"), "not now");
        world.write(0, "key", b"newer");
        chmod(world, 0, "key", 0o640);
        world.settle();
        world.write(1, "key", b"edit");
        world.nodes[1].disk.refused.clear();
        world.settle();
        for name in names(&world.nodes[0]).iter().filter(|name| name.starts_with("key")) {
            assert!([0o600, 0o640].contains(&mode(world, 0, name)), "{name}");
        }
    });
}

#[test]
fn a_disk_that_is_mounted_with_other_bits_is_no_edit() {
    let mut world = linked(2);
    world.nodes[1].disk.has_flat_bits = true;
    world.nodes[1].engine.config.keeps_bits = false;
    world.write(0, "key", b"secret");
    chmod(&mut world, 0, "key", 0o600);
    world.settle();
    chmod(&mut world, 1, "key", 0o755);
    world.settle();
    assert_eq!(mode(&world, 0, "key"), 0o600);
    world.write(1, "key", b"more");
    world.settle();
    assert_eq!(mode(&world, 0, "key"), 0o600);
}

/// A file has come by a rename, and its bits are still to be set, when it is edited.
#[test]
fn bits_that_are_handed_on_and_can_be_kept_are_set() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    chmod(&mut world, 0, "a", 0o600);
    world.settle();
    let index = &mut world.nodes[1].engine.index;
    let mut row = index.get(&path("a")).unwrap().unwrap();
    let bits = Bits { found: 0o644, said: 0o600 };
    row.base = row.base.map(|base| Base { bits, ..base.outdated(|| row.entry.version.clone()) });
    index.put(&path("a"), &row).unwrap();
    world.write(1, "a", b"second");
    assert_eq!(mode(&world, 1, "a"), 0o644);
    world.settle();
    world.assert_equal();
    assert_eq!(mode(&world, 1, "a"), 0o600);
}

/// Whoever has the bytes is not sent them again, whatever else of the file has changed.
#[test]
fn a_change_of_bits_or_time_or_of_the_name_sends_no_content() {
    let mut world = linked(3);
    world.write(0, "a", &[7; 60_000]);
    world.write(0, "b", b"x");
    world.settle();
    let before = world.sent;
    for node in [0, 1] {
        world.nodes[node].disk.set(&path("a"), 0o600 + node as u16, None);
        world.tell(node, path("a"));
        world.settle();
        world.nodes[node].disk.set(&path("a"), 0o640, Some(5 + node as i64));
        world.tell(node, path("a"));
        world.settle();
    }
    world.rename(0, "a", "c");
    world.settle();
    world.nodes[2].disk.set(&path("c"), 0o755, None);
    world.tell(2, path("c"));
    world.settle();
    world.assert_equal();
    let sent = world.sent - before;
    assert!(sent < 20_000, "{sent} bytes sent");
    assert_eq!(world.nodes[1].disk.tree[&path("c")].data, Data::File(vec![7; 60_000]));
}
