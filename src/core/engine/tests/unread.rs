//! What could not be looked at on this disk is looked at again, whatever other nodes say of the path meanwhile.

use super::*;

fn looks_in_vain(world: &mut World, node: usize, name: &str) {
    let seen = Input::Seen { path: path(name), stat: Err("Input/output error".to_owned()) };
    world.nodes[node].engine.handle_input(seen, world.time).unwrap();
}

/// A file that nobody was told of, since its disk could not be read just then.
fn with_unseen_file() -> World {
    let mut world = linked(2);
    world.settle();
    world.nodes[0].disk.put(&path("a"), Data::File(b"unseen".to_vec()), 0o644, None);
    looks_in_vain(&mut world, 0, "a");
    world
}

fn wait(world: &mut World) {
    world.settle();
    for _ in 0..RETRY_DELAY_MAX.as_secs() {
        world.time.now += Duration::from_secs(1);
        while world.turn() {}
    }
    world.settle();
}

#[test]
fn what_could_not_be_looked_at_is_looked_at_after_a_newer_version_of_it() {
    let mut world = with_unseen_file();
    // Its deletion is what this node holds already, as far as it knows.
    world.cut(0, 1);
    world.put(1, "a", Data::Directory);
    while world.turn() {}
    world.delete(1, "a");
    while world.turn() {}
    world.link(0, 1);
    wait(&mut world);
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
    assert_eq!(world.nodes[0].engine.status().unwrap().problems, []);
}

#[test]
fn what_could_not_be_looked_at_is_looked_at_though_nobody_has_its_newest_version() {
    let mut world = with_unseen_file();
    world.nodes[0].engine.placement.block(&path("a"), super::super::place::NO_SOURCE, world.time.now);
    world.nodes[0].engine.placement.handle_newer(&path("a"), true);
    world.nodes[0].engine.placement.handle_new_source();
    wait(&mut world);
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
}
