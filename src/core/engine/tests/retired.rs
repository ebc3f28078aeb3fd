//! Origins under which nobody counts any more.

use super::*;
use crate::model::limits::{MAX_FORMER_ORIGINS, NODE_KEEP};

fn origins(world: &World) -> Vec<usize> {
    world.nodes.iter().map(|node| node.engine.index().knowledge().len()).collect()
}

/// Kills the node, and starts it again with all of its links.
fn restart(world: &mut World, node: usize) {
    world.crash(node);
    world.link_all();
    world.settle();
}

/// The most components that a row of the node has, and how many rows are settled.
fn components(node: &Node) -> (usize, usize) {
    let rows = node.engine.index().rows(None, usize::MAX).unwrap();
    let most = rows.iter().map(|(_, row)| row.entry.version.vector().len()).max();
    (most.unwrap_or(0), rows.iter().filter(|(_, row)| row.entry.version.is_settled()).count())
}

#[test]
fn nothing_grows_with_the_number_of_restarts() {
    let mut world = linked(3);
    for i in 0..60_u8 {
        let node = usize::from(i) % 3;
        restart(&mut world, node);
        world.write(node, "shared", &[i]);
        world.write(node, &format!("{}", i % 7), &[i]);
        world.settle();
        world.assert_equal();
        assert!(origins(&world).iter().all(|origins| *origins <= 6), "{:?}", origins(&world));
        assert!(world.nodes.iter().all(|node| components(node).0 <= 6));
    }
    assert!(world.nodes.iter().all(|node| components(node).1 >= 4), "not one is settled");
    world.nodes.iter().for_each(|node| node.engine.index().check_invariants().unwrap());
    assert_eq!(names(&world.nodes[0]).len(), 8, "without a conflict copy");
}

/// Node 2 has what the others had, and is away while all of its origins are retired.
fn with_one_away() -> World {
    let mut world = linked(3);
    for node in [2, 1, 0] {
        for name in ["edited", "deleted", "untouched", "both", "mine"] {
            world.write(node, name, format!("{name} by {node}").as_bytes());
            world.settle();
        }
    }
    world.assert_equal();
    world.cut(0, 2);
    world.cut(1, 2);
    world.pass(NODE_KEEP.as_secs() / 86_400 + 1);
    for i in 0..4_u8 {
        world.crash(usize::from(i) % 2);
        world.link(0, 1);
        world.settle();
        world.write(0, "other", &[i]);
        world.settle();
    }
    world
}

#[test]
fn who_was_away_gets_what_was_done_meanwhile_and_makes_no_conflict() {
    let mut world = with_one_away();
    world.write(0, "edited", b"anew");
    world.delete(1, "deleted");
    world.settle();
    world.write(2, "mine", b"edited while away");
    world.settle();
    assert!(components(&world.nodes[0]).1 > 0, "nothing is settled");
    world.link_all();
    world.settle();
    world.assert_equal();
    let expected = ["both", "edited", "mine", "other", "untouched"];
    assert_eq!(names(&world.nodes[2]), expected);
    assert_eq!(
        world.nodes[0].disk.tree[&path("mine")].data,
        Data::File(b"edited while away".into())
    );
    assert!(origins(&world).windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_edit_here_and_there_while_one_was_away_is_a_conflict() {
    for settled in [false, true] {
        let mut world = with_one_away();
        world.write(0, "both", b"here");
        world.settle();
        if settled {
            for _ in 0..2 {
                world.crash(0);
                world.link(0, 1);
                world.settle();
                world.write(0, "other", b"and on");
                world.settle();
            }
        }
        world.write(2, "both", b"there");
        world.settle();
        world.link_all();
        world.settle();
        world.assert_equal();
        let copies = names(&world.nodes[1]);
        let copies: Vec<_> = copies.iter().filter(|name| name.contains("conflict")).collect();
        assert_eq!(copies.len(), 1, "{settled}: {:?}", names(&world.nodes[1]));
    }
}

/// A newcomer that has other files under the same names.
#[test]
fn a_newcomer_learns_what_is_settled_and_loses_nothing() {
    let mut world = with_one_away();
    assert!(components(&world.nodes[0]).1 > 0, "nothing is settled");
    world.nodes[2] = Node::new(2, 77, Disk::default(), Storage::default(), world.time);
    world.write(2, "both", b"of the newcomer");
    world.write(2, "untouched", b"untouched by 0");
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    let names = names(&world.nodes[2]);
    assert_eq!(names.iter().filter(|name| name.contains("conflict")).count(), 1, "{names:?}");
    assert!(names.contains(&"edited".to_owned()));
    assert!(components(&world.nodes[2]).1 > 0, "it keeps all by number");
}

/// While somebody is away who is counted with, origins wait: but not more than a few.
#[test]
fn who_is_away_holds_up_a_few_origins_only() {
    let mut world = linked(3);
    world.write(2, "a", b"1");
    world.settle();
    world.cut(0, 2);
    world.cut(1, 2);
    for i in 0..40_u8 {
        world.crash(0);
        world.link(0, 1);
        world.settle();
        world.write(0, "b", &[i]);
        world.settle();
    }
    let most = origins(&world)[0];
    assert!((MAX_FORMER_ORIGINS..MAX_FORMER_ORIGINS + 4).contains(&most), "{most}");
    world.link_all();
    world.settle();
    world.assert_equal();
    restart(&mut world, 0);
    world.write(0, "b", b"last");
    world.settle();
    assert!(origins(&world).iter().all(|origins| *origins <= 4), "{:?}", origins(&world));
    assert_eq!(names(&world.nodes[2]), ["a", "b"]);
}
