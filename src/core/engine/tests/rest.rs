//! Nodes that are killed, or cut off from power, when nothing has happened for a while, and just
//! after something has.

use super::*;
use crate::model::{limits::REST_AFTER, version::Origin};
use crate::{core::seam::Transmit, wire::message::Message};

fn origin(world: &World, node: usize) -> Origin {
    world.nodes[node].engine.origin()
}

fn is_complete(world: &World, node: usize) -> bool {
    world.nodes[node].engine.complete_index().is_some()
}

fn assert_tells_nothing(node: &mut Node, time: Time) {
    for _ in 0..3 {
        let told = node.engine.poll_transmit(id(1), time).unwrap();
        assert!(told.is_none_or(|told| told == Transmit::Message(Message::KeepAlive)));
    }
}

/// Two nodes in sync, with whose indexes nothing has happened for a while.
fn at_rest() -> World {
    let mut world = linked(2);
    world.write(0, "a", b"content");
    world.settle();
    assert!(!is_complete(&world, 0), "it has just changed");
    world.wait(2 * REST_AFTER.as_secs());
    world.settle();
    world
}

#[test]
fn who_is_killed_at_rest_counts_on() {
    let mut world = at_rest();
    let before = [origin(&world, 0), origin(&world, 1)];
    assert!(is_complete(&world, 0) && is_complete(&world, 1));
    world.crash(0);
    world.write(0, "b", b"while it was down");
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!([origin(&world, 0), origin(&world, 1)], before);
    world.crash(0);
    assert_ne!(origin(&world, 0), before[0], "it was not at rest");
}

#[test]
fn nothing_is_done_or_told_before_the_index_says_that_it_is_not_complete() {
    let mut world = at_rest();
    world.write(0, "a", b"changed");
    let time = world.time;
    let node = &mut world.nodes[0];
    let mut told = Vec::new();
    while node.engine.complete_index().is_some() {
        let output = node.engine.poll_output().expect("the file is looked at and read");
        node.perform(output, time);
    }
    node.engine.handle_timeout(time).unwrap();
    assert_tells_nothing(node, time);
    while let Some(output) = node.engine.poll_output() {
        told.push(output);
    }
    assert_eq!(told, [Output::SyncNames]);
    assert!(node.engine.index().summary().origin.is_some() && node.engine.index().is_dirty());
    let failed = Input::NamesSynced { result: Err("the disk is full".to_owned()) };
    node.engine.handle_input(failed, time).unwrap();
    assert_tells_nothing(node, time);
    world.settle();
    world.assert_equal();
}

#[test]
fn who_cannot_do_something_is_not_at_rest() {
    let mut world = at_rest();
    world.nodes[1].disk.refused.insert(path("b"), "it is refused");
    world.write(0, "b", b"refused");
    world.settle();
    world.wait(2 * REST_AFTER.as_secs());
    world.settle();
    assert!(is_complete(&world, 0) && !is_complete(&world, 1));
}

#[test]
fn what_is_learnt_of_other_nodes_is_kept_without_an_end_of_the_rest() {
    let mut world = at_rest();
    let before = world.nodes[0].engine.complete_index();
    world.cut(0, 1);
    world.wait(2);
    world.settle();
    let after = world.nodes[0].engine.complete_index();
    assert!(before.is_some() && after > before, "its file has changed");
}
