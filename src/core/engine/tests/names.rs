//! Files with several names: each has bits and a time in the index, and the disk has them once.

use super::*;

/// Two nodes, on each of which `a` and `b` are one file.
fn with_two_names() -> World {
    let mut world = linked(2);
    world.write(0, "a", b"content");
    world.settle();
    for node in 0..2 {
        let disk = &mut world.nodes[node].disk;
        disk.hard_link(&path("a"), &path("b"));
        disk.ticks += 10;
        world.tell(node, path("b"));
        world.settle();
    }
    world
}

fn set(world: &mut World, node: usize, name: &str, mode: u16) {
    world.nodes[node].disk.wall_ms = world.time.wall_ms;
    let mtime_ns = world.nodes[node].disk.stat(&path(name)).map(|stat| stat.stamp.mtime_ns);
    world.nodes[node].disk.set(&path(name), mode, mtime_ns);
    world.tell(node, path(name));
    world.turn();
}

fn look_at_all(world: &mut World) {
    for node in 0..world.nodes.len() {
        for name in ["a", "b"] {
            world.tell(node, path(name));
        }
    }
}

fn modes(world: &World) -> [u16; 4] {
    let mode = |(node, name): (usize, &str)| world.nodes[node].disk.tree[&path(name)].mode;
    [(0, "a"), (0, "b"), (1, "a"), (1, "b")].map(mode)
}

#[test]
fn bits_set_under_two_names_at_once_come_to_rest() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut world = with_two_names();
        world.cut(0, 1);
        set(&mut world, 0, order[0], 0o600);
        world.wait(1);
        set(&mut world, 1, order[1], 0o640);
        let known = |world: &World| world.nodes[0].engine.index().knowledge().clone();
        let mut before = known(&world);
        for _ in 0..10 {
            before = known(&world);
            world.link(0, 1);
            world.settle();
            world.cut(0, 1);
            look_at_all(&mut world);
            world.settle();
        }
        assert_eq!(modes(&world), [0o640; 4], "{order:?}");
        assert_eq!(known(&world), before, "nothing is published any more");
        world.assert_equal();
    }
}

#[test]
fn bits_that_a_user_sets_under_one_name_are_for_all() {
    let mut world = with_two_names();
    for mode in [0o755, 0o600] {
        set(&mut world, 1, "b", mode);
        world.settle();
        look_at_all(&mut world);
        world.settle();
        assert_eq!(modes(&world), [mode; 4]);
    }
}

/// The disk of node 1 has `a` and `b` as one file. What `b` is to have, which is newer, is just
/// what another file of this content has.
#[test]
fn another_file_of_the_same_content_is_no_other_name() {
    let mut world = linked(2);
    for (name, mode, mtime_ns) in [("A", 0o644, 5), ("a", 0o600, 7), ("b", 0o644, 5)] {
        let disk = &mut world.nodes[0].disk;
        disk.put(&path(name), Data::File(b"content".to_vec()), mode, Some(mtime_ns));
        world.tell(0, path(name));
        world.wait(1);
    }
    world.nodes[1].disk.hard_link(&path("a"), &path("b"));
    world.nodes[1].disk.ticks += 10;
    let look = |world: &mut World| {
        for name in ["b", "a"] {
            world.tell(1, path(name));
            world.settle();
        }
    };
    look(&mut world);
    let before = world.nodes[1].disk.stat(&path("a"));
    look(&mut world);
    assert_eq!(world.nodes[1].disk.stat(&path("a")), before, "nothing is set back any more");
    assert_eq!(modes(&world), [0o644; 4]);
    world.assert_equal();
}
