//! A file that is read once more, since a write may have left its stamp as it was.

use super::{super::paths, *};
use crate::{
    core::seam::Found,
    model::{content::Chunk, entry::Content, limits::STAMP_GRANULARITY},
};

/// A node, on a disk whose times are coarse, that has just read a file, and was not told of another
/// write in the same tick of the clock.
fn written_unseen(first: &[u8], second: &[u8]) -> World {
    let mut world = World::new(1);
    world.settle();
    world.nodes[0].engine.config.has_fine_times = false;
    world.write(0, "a", first);
    while world.turn() {}
    world.nodes[0].disk.tree.get_mut(&path("a")).unwrap().data = Data::File(second.to_vec());
    world
}

fn published(world: &World) -> Option<Content> {
    world.nodes[0].engine.index.get(&path("a")).unwrap()?.entry.content
}

fn file(bytes: &[u8]) -> Option<Content> {
    Some(Content::File { size: bytes.len() as u64, digest: Chunk::of(bytes).digest })
}

fn wait_for_the_clock(world: &mut World) {
    world.time.now += STAMP_GRANULARITY;
    while world.turn() {}
}

#[test]
fn what_is_found_by_reading_once_more_is_a_change() {
    let mut world = written_unseen(b"one", b"two");
    assert_eq!(published(&world), file(b"one"), "it is told at once");
    wait_for_the_clock(&mut world);
    assert_eq!(published(&world), file(b"two"));
    let reads = world.nodes[0].disk.reads;
    world.time.now += STAMP_GRANULARITY;
    while world.turn() {}
    assert_eq!(world.nodes[0].disk.reads, reads, "a clock that stands still is waited for once");
}

#[test]
fn a_large_file_is_not_read_just_after_it_was_touched() {
    let mut world = written_unseen(&large(1), &large(2));
    assert_eq!((published(&world), world.nodes[0].disk.reads), (None, 0));
    assert_eq!(world.nodes[0].engine.paths.reads(), 1, "it waits to be read");
    wait_for_the_clock(&mut world);
    assert_eq!(world.nodes[0].disk.reads, 1);
    assert_eq!(published(&world).map(|content| content.size()), Some(LARGE as u64));
}

#[test]
fn what_is_changed_when_it_would_be_read_once_more_is_read_afterwards() {
    let mut world = written_unseen(b"one", b"two");
    let row = world.nodes[0].engine.index.get(&path("a")).unwrap().unwrap();
    world.nodes[0].engine.paths.begin_change(&path("a"), paths::Pending::to(&row));
    wait_for_the_clock(&mut world);
    assert_eq!(published(&world), file(b"one"));
    let result = Ok(world.nodes[0].disk.stat(&path("a")));
    let applied = Input::Applied { path: path("a"), result };
    world.nodes[0].engine.handle_input(applied, world.time).unwrap();
    while world.turn() {}
    assert_eq!(published(&world), file(b"two"));
}

#[test]
fn what_cannot_be_read_once_more_is_looked_at_soon() {
    let mut world = written_unseen(b"one", b"two");
    world.time.now += STAMP_GRANULARITY;
    world.nodes[0].engine.handle_timeout(world.time).unwrap();
    let Some(Output::Read { path: read, .. }) = world.nodes[0].engine.poll_output() else {
        panic!("it is not read once more")
    };
    let input = Input::Read { path: read, found: Found::Gone };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
    assert!(world.nodes[0].engine.paths.is_settling(&path("a")));
    world.settle();
    assert_eq!(published(&world), file(b"two"), "its stamp is no proof any more");
}

#[test]
fn what_would_be_read_once_more_is_in_doubt_at_the_end() {
    for is_asked in [false, true] {
        let mut world = written_unseen(b"one", b"two");
        if is_asked {
            world.time.now += STAMP_GRANULARITY;
            world.nodes[0].engine.handle_timeout(world.time).unwrap();
        }
        world.nodes[0].engine.handle_input(Input::Stopped, world.time).unwrap();
        let row = world.nodes[0].engine.index.get(&path("a")).unwrap().unwrap();
        assert_eq!(row.base.unwrap().seen.proof(), None, "asked for: {is_asked}");
    }
}
