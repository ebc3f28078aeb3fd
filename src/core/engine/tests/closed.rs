//! Stores to mapped files leave no trace in a stamp: what tells of them is the end of the mapping.

use super::*;
use crate::{
    core::seam::{Found, Hint},
    model::entry::Content,
};

fn store(world: &mut World, name: &str, bytes: &[u8]) {
    world.nodes[0].disk.tree.get_mut(&path(name)).unwrap().data = Data::File(bytes.to_vec());
}

fn input(world: &mut World, input: Input<'static>) {
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
}

fn close(world: &mut World, name: &str) {
    input(world, Input::Changed(Change::Path { path: path(name), hint: Hint::Closed }));
}

fn there(world: &World, name: &str) -> Data {
    world.nodes[1].disk.tree[&path(name)].data.clone()
}

/// What is asked for first that is no look at a path; looks are answered.
fn next_output(world: &mut World) -> Output {
    loop {
        match world.nodes[0].engine.poll_output().unwrap() {
            Output::Inspect { path } => {
                let stat = Ok(world.nodes[0].disk.stat(&path));
                input(world, Input::Seen { path, stat });
            }
            other => return other,
        }
    }
}

#[test]
fn a_file_that_was_closed_is_read_at_once_though_its_stamp_is_what_it_was() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    store(&mut world, "a", b"other");
    close(&mut world, "a");
    while world.turn() {}
    assert_eq!(there(&world, "a"), Data::File(b"other".to_vec()));
}

#[test]
fn a_file_that_is_closed_while_it_is_read_is_read_again() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    store(&mut world, "a", b"other");
    close(&mut world, "a");
    let Output::Read { path: read, .. } = next_output(&mut world) else { panic!("it is not read") };
    let found = world.nodes[0].disk.read(&read);
    store(&mut world, "a", b"third");
    close(&mut world, "a");
    while let Some(Output::Inspect { path }) = world.nodes[0].engine.poll_output() {
        let stat = Ok(world.nodes[0].disk.stat(&path));
        input(&mut world, Input::Seen { path, stat });
    }
    assert!(matches!(found, Found::Content { content: Content::File { size: 5, .. }, .. }));
    input(&mut world, Input::Read { path: read, found });
    world.settle();
    assert_eq!(there(&world, "a"), Data::File(b"third".to_vec()));
}

#[test]
fn a_file_that_is_closed_while_it_is_changed_is_read_afterwards() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    // Its time is set elsewhere.
    let (data, stamp) = {
        let inode = &world.nodes[1].disk.tree[&path("a")];
        (inode.data.clone(), inode.stamp)
    };
    world.nodes[1].disk.put(&path("a"), data, 0o600, Some(stamp.mtime_ns + 1));
    world.tell(1, path("a"));
    world.nodes[1].work(world.time);
    while let Some((_, message)) = world.nodes[1].say(world.time) {
        let message = crate::wire::message::Message::decode(&message).unwrap();
        world.nodes[0]
            .engine
            .handle_input(Input::Message { node: id(1), message }, world.time)
            .unwrap();
    }
    let Output::Apply(apply) = next_output(&mut world) else { panic!("nothing is changed") };
    close(&mut world, "a");
    let Some(Output::Inspect { path: seen }) = world.nodes[0].engine.poll_output() else {
        panic!("no look")
    };
    let stat = Ok(world.nodes[0].disk.stat(&seen));
    input(&mut world, Input::Seen { path: seen, stat });
    let result = world.nodes[0].disk.apply(apply);
    store(&mut world, "a", b"other");
    input(&mut world, Input::Applied { path: path("a"), result });
    world.settle();
    assert_eq!(there(&world, "a"), Data::File(b"other".to_vec()));
}

/// It was told that it was closed, and could not be read yet.
#[test]
fn a_file_in_doubt_is_not_believed_under_its_new_name() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    world.wait(5);
    store(&mut world, "a", b"other");
    world.nodes[0].engine.mark_for_reread(&path("a")).unwrap();
    world.time.now += Duration::from_secs(1);
    world.rename(0, "a", "b");
    world.settle();
    assert_eq!(there(&world, "b"), Data::File(b"other".to_vec()));
}

#[test]
fn a_file_that_is_closed_in_the_turn_in_which_it_is_renamed_is_read() {
    for is_closed_first in [true, false] {
        let mut world = linked(2);
        world.write(0, "a", b"first");
        world.settle();
        world.wait(5);
        store(&mut world, "a", b"other");
        if is_closed_first {
            close(&mut world, "a");
        }
        world.rename(0, "a", "b");
        if !is_closed_first {
            close(&mut world, "b");
        }
        world.settle();
        assert_eq!(there(&world, "b"), Data::File(b"other".to_vec()));
    }
}
