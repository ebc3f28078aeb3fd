//! Many short-lived names: the index keeps few tombstones, and nothing comes back.

use super::*;

const MOST: u64 = 20;

fn crowded(world: &mut World) -> &mut World {
    for node in &mut world.nodes {
        node.engine.forgetting.most = MOST;
    }
    world
}

fn make_and_delete(world: &mut World, names: std::ops::Range<u64>) {
    for number in names {
        let name = format!("n{number}");
        world.write(0, &name, b"for a moment");
        while world.turn() {}
        world.delete(0, &name);
        while world.turn() {}
    }
}

fn tombstones(world: &World, node: usize) -> u64 {
    world.nodes[node].engine.index().summary().tombstones
}

#[test]
fn tombstones_that_all_know_are_few() {
    let mut world = linked(2);
    make_and_delete(crowded(&mut world), 0..3 * MOST);
    assert_eq!([0, 1].map(|node| tombstones(&world, node)), [3 * MOST; 2]);
    world.wait(200);
    world.assert_equal();
    assert_eq!([0, 1].map(|node| tombstones(&world, node)), [MOST; 2]);
}

/// It has nothing of what was deleted, or all of it; and there are so many that it is not waited
/// for.
#[test]
fn a_node_that_was_away_gets_nothing_back_and_brings_nothing_back() {
    let mut world = linked(3);
    crowded(&mut world);
    world.write(0, "kept", b"kept");
    for number in 0..5 * MOST {
        world.write(0, &format!("n{number}"), b"here for long");
    }
    world.settle();
    [0, 1].into_iter().for_each(|other| world.cut(other, 2));
    for number in 0..5 * MOST {
        world.delete(0, &format!("n{number}"));
    }
    world.settle();
    world.wait(4000);
    let left = tombstones(&world, 0);
    assert!((MOST..=4 * MOST).contains(&left), "{left} tombstones");
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[2]), ["kept"]);
}
