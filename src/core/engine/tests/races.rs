//! Bits or a time set on one machine, while another deletes or edits: only who changed the content
//! has something to lose.

use super::*;

/// Nodes that have one file, and are cut off from each other. `change` is made on the last node,
/// the bits are set on the first, before or after.
fn race(nodes: u8, bits_come_last: bool, change: impl Fn(&mut World, usize)) -> World {
    let mut world = linked(nodes);
    world.write(0, "a", b"base");
    world.settle();
    let last = usize::from(nodes) - 1;
    for other in 0..last {
        world.cut(other, last);
    }
    for is_bits in [!bits_come_last, bits_come_last] {
        world.time.wall_ms += 10_000;
        if is_bits {
            chmod(&mut world, 0, "a", 0o600)
        } else {
            change(&mut world, last)
        }
        world.settle();
    }
    for other in 0..last {
        world.link(other, last);
    }
    world.settle();
    world.assert_equal();
    world
}

fn each_race(change: impl Fn(&mut World, usize), expected: &[&str]) {
    for nodes in 2..4 {
        for bits_come_last in [false, true] {
            let world = race(nodes, bits_come_last, &change);
            assert_eq!(names(&world.nodes[0]), expected, "{nodes} nodes, {bits_come_last}");
        }
    }
}

#[test]
fn a_deletion_outlives_concurrent_bits() {
    each_race(|world, node| world.delete(node, "a"), &[]);
}

#[test]
fn an_edit_outlives_concurrent_bits_without_a_copy() {
    let edit = |world: &mut World, node| world.write(node, "a", b"edited");
    each_race(edit, &["a"]);
    let world = race(2, true, edit);
    assert_eq!(world.nodes[0].disk.tree[&path("a")].data, Data::File(b"edited".to_vec()));
}

#[test]
fn an_edit_is_no_change_of_bits() {
    let mut world = linked(2);
    world.write(0, "a", b"base");
    world.settle();
    world.cut(0, 1);
    world.write(0, "a", b"edited");
    chmod(&mut world, 0, "a", 0o600);
    world.delete(1, "a");
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
}
