//! A node that has lost its index: what was deleted and replaced meanwhile stays so, what is its
//! own is told, and nothing is lost.

use super::*;
use crate::model::limits::LOST_PATIENCE;

/// Every kind of thing is on both nodes; then one of them is away.
fn apart() -> World {
    let mut world = linked(2);
    for name in ["same", "edited", "deleted"] {
        world.write(0, name, b"old");
        world.put(0, &format!("d-{name}"), Data::Directory);
        world.write(0, &format!("d-{name}/large"), &large(name.len() as u8));
    }
    world.settle();
    world.assert_equal();
    world.cut(0, 1);
    world.time.wall_ms += 5000;
    world
}

fn change_without_it(world: &mut World) {
    world.write(0, "edited", b"new");
    world.write(0, "d-edited/large", &large(100));
    for name in ["deleted", "d-deleted/large", "d-deleted"] {
        world.delete(0, name);
    }
    world.settle();
}

fn expect_changed(world: &World) {
    world.assert_equal();
    let expected = ["d-edited", "d-edited/large", "d-same", "d-same/large", "edited", "same"];
    assert_eq!(names(&world.nodes[0]), expected);
    assert_eq!(world.nodes[1].disk.tree[&path("edited")].data, Data::File(b"new".to_vec()));
}

#[test]
fn what_was_done_without_it_stays_done() {
    let mut world = apart();
    change_without_it(&mut world);
    world.lose_index(1);
    world.link_all();
    world.settle();
    expect_changed(&world);
    assert!(world.nodes[1].disk.trash.contains(&Data::File(b"old".to_vec())));
}

/// Both publish what they have before they meet.
#[test]
fn what_was_done_without_it_stays_done_though_nobody_is_linked_at_first() {
    let mut world = apart();
    world.lose_index(1);
    world.wait(LOST_PATIENCE.as_secs() + 5);
    change_without_it(&mut world);
    world.link_all();
    world.settle();
    expect_changed(&world);
}

#[test]
fn what_is_the_same_is_not_told_again() {
    let mut world = apart();
    world.lose_index(1);
    world.link_all();
    world.settle();
    world.assert_equal();
    let index = [0, 1].map(|node| world.nodes[node].engine.index());
    assert_eq!(index.map(|index| index.knowledge().len()), [1, 1]);
    assert_eq!(index[1].summary().former, [], "its former origin is none of those that are known");
    let lost = world.nodes[1].engine.index().summary().lost;
    assert!(lost.is_some_and(|lost| lost.is_compared));
}

#[test]
fn what_nobody_else_has_is_told_and_nothing_is_lost() {
    let mut world = apart();
    world.write(1, "made", b"made here");
    world.write(1, "edited", b"edited here");
    world.time.wall_ms += 5000;
    world.lose_index(1);
    world.link_all();
    world.settle();
    world.assert_equal();
    let tree = &world.nodes[0].disk.tree;
    assert_eq!(tree[&path("made")].data, Data::File(b"made here".to_vec()));
    assert_eq!(tree[&path("edited")].data, Data::File(b"edited here".to_vec()));
}

/// Somebody goes on working while the node waits for others, or compares.
#[test]
fn an_edit_of_what_is_forgotten_makes_no_copy_of_what_it_replaced() {
    let mut world = apart();
    world.lose_index(1);
    world.write(1, "edited", b"edited here");
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert!(!names(&world.nodes[0]).iter().any(|name| name.contains("conflict")));
    let edited = &world.nodes[0].disk.tree[&path("edited")];
    assert_eq!(edited.data, Data::File(b"edited here".to_vec()));
}

/// The next start is in its place.
#[test]
fn a_node_that_is_killed_before_it_has_compared_has_forgotten_still() {
    let mut world = apart();
    change_without_it(&mut world);
    world.lose_index(1);
    world.turn();
    world.crash(1);
    assert!(world.nodes[1].engine.lost.is_waiting());
    world.link_all();
    world.settle();
    expect_changed(&world);
}

/// What is there seems to be newer than what was done without it.
#[test]
fn what_was_done_without_it_stays_done_whatever_the_clocks_say() {
    for waits in [false, true] {
        let mut world = apart();
        change_without_it(&mut world);
        let later_ns = 86_400_000_000_000;
        for name in ["same", "edited", "deleted", "d-deleted/large", "d-edited/large"] {
            let stamp = &mut world.nodes[1].disk.tree.get_mut(&path(name)).unwrap().stamp;
            (stamp.mtime_ns, stamp.ctime_ns) =
                (stamp.mtime_ns + later_ns, stamp.ctime_ns + later_ns);
        }
        world.time.wall_ms += 3 * 86_400_000;
        world.lose_index(1);
        if waits {
            world.wait(LOST_PATIENCE.as_secs() + 5);
        }
        world.link_all();
        world.settle();
        let disk = &world.nodes[0].disk.tree;
        assert_eq!(disk[&path("edited")].data, Data::File(b"new".to_vec()));
        let expected = ["d-edited", "d-edited/large", "d-same", "d-same/large", "edited", "same"];
        assert_eq!(names(&world.nodes[0]), expected);
        world.assert_equal();
    }
}
