//! A file that is read once more, since a write may have left its stamp as it was.

use super::{super::paths, *};
use crate::{
    core::seam::Found,
    model::{content::Chunk, entry::Content},
};

/// A node that has a file, which holds something else by now, under the same stamp.
fn written_unseen() -> (World, Found, Content) {
    let mut world = World::new(1);
    world.write(0, "a", b"one");
    world.settle();
    let stat = world.nodes[0].disk.stat(&path("a")).unwrap();
    let content = Content::File { size: 3, digest: Chunk::of(b"two").digest };
    let found =
        Found::Content { stat, content: content.clone(), chunks: Vec::new(), has_grown: false };
    (world, found, content)
}

fn reread(world: &mut World, found: Found) {
    let input = Input::Reread { path: path("a"), found };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
}

fn stated(world: &World) -> Option<Content> {
    world.nodes[0].engine.index.get(&path("a")).unwrap().unwrap().entry.content
}

#[test]
fn what_is_found_by_reading_once_more_is_a_change() {
    let (mut world, found, content) = written_unseen();
    reread(&mut world, found);
    assert_eq!(stated(&world), Some(content));
}

#[test]
fn what_is_found_while_something_else_is_put_there_is_no_change() {
    let (mut world, found, _) = written_unseen();
    let before = stated(&world);
    let row = world.nodes[0].engine.index.get(&path("a")).unwrap().unwrap();
    world.nodes[0].engine.paths.begin_change(&path("a"), paths::Pending::to(&row));
    reread(&mut world, found);
    assert_eq!(stated(&world), before);
}

#[test]
fn what_cannot_be_read_once_more_is_looked_at_soon() {
    let (mut world, _, _) = written_unseen();
    reread(&mut world, Found::Gone);
    assert!(world.nodes[0].engine.paths.is_settling(&path("a")));
    let reads = world.nodes[0].disk.reads;
    world.settle();
    assert_eq!(world.nodes[0].disk.reads, reads + 1, "its stamp is no proof any more");
}
