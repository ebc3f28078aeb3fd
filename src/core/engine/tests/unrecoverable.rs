//! Content that is nowhere any more, and what a power cut has left of files.

use super::*;
use crate::core::seam::Hint;

/// Node 1 is told of a large file, which is gone before it has asked for it; node 0 is killed and
/// does not know any more.
fn with_lost_content(holds_older: bool) -> World {
    let mut world = with_untold_content(holds_older);
    world.nodes[0].disk.tree.remove(&path("a"));
    world.crash(0);
    world.settle();
    world
}

fn with_untold_content(holds_older: bool) -> World {
    let mut world = linked(2);
    if holds_older {
        world.write(0, "a", b"older");
        world.settle();
    }
    world.write(0, "a", &large(1));
    world.messages_per_turn = 1;
    let told = |world: &World| {
        let row = world.nodes[1].engine.index().get(&path("a")).unwrap();
        row.is_some_and(|row| {
            row.entry.content.is_some_and(|content| content.size() == LARGE as u64)
        })
    };
    while !told(&world) {
        assert!(world.turn());
    }
    world.messages_per_turn = usize::MAX;
    world
}

/// Something is mounted over the file, or its disk fails: that is no reason to have an older
/// version come back.
#[test]
fn what_cannot_be_read_at_present_is_not_lost() {
    let mut world = with_untold_content(true);
    world.nodes[0].disk.closed.insert(path("a"), Err("Input/output error".to_owned()));
    world.settle();
    for _ in 0..10 {
        world.wait(RETRY_DELAY_MAX.as_secs());
        world.settle();
    }
    let status = world.nodes[1].engine.status().unwrap();
    let reason = "the node that has it cannot read it at present".to_owned();
    assert_eq!((status.wanted, status.problems), (1, vec![(path("a"), reason)]));
    world.nodes[0].disk.closed.clear();
    world.wait(RETRY_DELAY_MAX.as_secs());
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(large(1)));
    assert_eq!(names(&world.nodes[1]), ["a"]);
}

/// The power of node 0 is cut: the file is there, torn, and what it was to hold is nowhere. Node 1
/// has what it was before.
#[test]
fn what_a_power_cut_has_torn_does_not_replace_what_another_node_holds() {
    for left in [&b""[..], b"old"] {
        let mut world = with_untold_content(true);
        let mtime_ns = Some(world.nodes[0].disk.tree[&path("a")].stamp.mtime_ns);
        world.nodes[0].disk.put(&path("a"), Data::File(left.to_vec()), 0o644, mtime_ns);
        world.crash(0);
        world.nodes[0].engine.torn_before_ns = Some(i64::MAX);
        world.settle();
        world.link(0, 1);
        world.settle();
        world.assert_equal();
        assert_eq!(world.nodes[0].disk.tree[&path("a")].data, Data::File(b"older".into()));
        assert_eq!(names(&world.nodes[0]), ["a"]);
    }
}

/// Tears node 0's file, whose power was cut.
fn tear(world: &mut World, left: &[u8]) {
    world.nodes[0].disk.put(&path("a"), Data::File(left.to_vec()), 0o644, Some(0));
    world.crash(0);
    world.nodes[0].engine.torn_before_ns = Some(i64::MAX);
    world.settle();
}

#[test]
fn what_a_power_cut_has_torn_is_believed_within_a_minute_when_nobody_has_more() {
    let mut world = with_untold_content(false);
    tear(&mut world, b"rest");
    world.link(0, 1);
    world.wait(50);
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"rest".into()));
}

/// Its bits are not those that the index knows: that is no reason to read it again before each try,
/// which would make each the first one.
#[test]
fn what_a_power_cut_has_torn_is_believed_though_its_bits_were_set() {
    let mut world = with_untold_content(false);
    tear(&mut world, b"rest");
    world.nodes[0].disk.tree.get_mut(&path("a")).unwrap().mode = 0o600;
    let settled = Input::Changed(Change::Path { path: path("a"), hint: Hint::Settled });
    world.nodes[0].engine.handle_input(settled, world.time).unwrap();
    world.link(0, 1);
    world.wait(200);
    world.settle();
    world.assert_equal();
    let torn = &world.nodes[1].disk.tree[&path("a")];
    assert_eq!((&torn.data, torn.mode), (&Data::File(b"rest".into()), 0o600));
}

#[test]
fn what_a_power_cut_has_torn_is_not_believed_while_another_node_may_have_more() {
    let mut world = linked(2);
    world.write(0, "a", b"content");
    world.settle();
    tear(&mut world, b"");
    world.wait(600);
    assert_eq!(world.nodes[0].engine.status().unwrap().wanted, 1);
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[0].disk.tree[&path("a")].data, Data::File(b"content".into()));
}

#[test]
fn what_a_power_cut_has_torn_is_believed_where_there_is_no_other_node() {
    let mut world = World::new(1);
    world.settle();
    world.write(0, "a", b"content");
    world.settle();
    tear(&mut world, b"rest");
    world.wait(50);
    let row = world.nodes[0].engine.index().get(&path("a")).unwrap().unwrap();
    assert!(!row.is_wanted() && row.entry.content.unwrap().size() == 4);
}

/// A machine without a battery for its clock may come up in the past: what was written before the
/// power cut is then from the future.
#[test]
fn what_a_power_cut_has_torn_is_known_though_the_clock_is_not() {
    let mut world = linked(2);
    world.write(0, "a", b"content");
    world.settle();
    let next_hour_ns = (world.time.wall_ms as i64 + 3_600_000) * 1_000_000;
    world.nodes[0].disk.put(&path("a"), Data::File(Vec::new()), 0o644, Some(next_hour_ns));
    world.nodes[0].disk.tree.get_mut(&path("a")).unwrap().stamp.ctime_ns = next_hour_ns;
    world.crash(0);
    world.nodes[0].engine.torn_before_ns = Some(0);
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[0].disk.tree[&path("a")].data, Data::File(b"content".into()));
}

/// It is shorter, and older than the power cut: only that it is another file, which was given this
/// name since.
#[test]
fn what_a_user_puts_in_the_place_of_a_file_after_a_power_cut_is_not_torn() {
    let mut world = linked(2);
    world.write(0, "a", b"content");
    world.write(0, "b", b"short");
    world.settle();
    world.crash(0);
    world.nodes[0].engine.torn_before_ns = Some(world.time.wall_ms as i64 * 1_000_000);
    world.settle();
    world.link(0, 1);
    world.settle();
    world.rename(0, "b", "a");
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["a"]);
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"short".into()));
}

/// The mark of a torn file stands for no content that any node could ever have.
#[test]
fn what_is_torn_does_not_outlive_a_concurrent_delete() {
    let mut world = linked(2);
    world.write(0, "a", b"content");
    world.settle();
    world.cut(0, 1);
    world.write(0, "a", b"changed here");
    world.settle();
    world.delete(1, "a");
    world.settle();
    world.nodes[0].disk.put(&path("a"), Data::File(b"ch".to_vec()), 0o644, Some(0));
    world.crash(0);
    world.nodes[0].engine.torn_before_ns = Some(i64::MAX);
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert!(names(&world.nodes[0]).is_empty());
}

#[test]
fn a_newer_version_does_not_wait_for_the_next_try_of_the_last() {
    let mut world = with_lost_content(true);
    world.write(0, "a", b"newer");
    world.link(0, 1);
    let before = world.time.now;
    while world.turn() {}
    assert_eq!(
        (world.nodes[1].disk.tree[&path("a")].data.clone(), world.time.now),
        (Data::File(b"newer".into()), before)
    );
}

#[test]
fn what_was_gone_before_anybody_had_it_is_given_up() {
    for holds_older in [false, true] {
        let mut world = with_lost_content(holds_older);
        assert_eq!(
            world.nodes[1].engine.status().unwrap().wanted,
            1,
            "there is hope while nobody was asked"
        );
        world.link(0, 1);
        world.settle();
        world.assert_equal();
        assert!(names(&world.nodes[0]).is_empty());
    }
}

/// Node 2 has the file, and is away: it may come back.
#[test]
fn what_an_absent_node_has_is_not_given_up() {
    let mut world = linked(3);
    world.write(0, "a", &large(1));
    world.settle();
    world.cut(0, 2);
    world.cut(1, 2);
    world.settle();
    for node in [0, 1] {
        world.nodes[node].disk.tree.remove(&path("a"));
        // As after a power cut that took the file and left the index.
        let row = world.nodes[node].engine.index().get(&path("a")).unwrap().unwrap();
        world.nodes[node].engine.index.put(&path("a"), &Row { base: None, ..row }).unwrap();
        world.tell(node, path("a"));
    }
    world.nodes.iter_mut().for_each(|node| node.engine.placement.kick());
    world.settle();
    world.pass(2);
    assert_eq!(world.nodes[0].engine.status().unwrap().wanted, 1);
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["a"]);
}

/// Of `d` the last is told, since its bits were set last. So of what is in it is told first.
fn with_bits_set_last(world: &mut World) {
    world.put(0, "d", Data::Directory);
    world.put(0, "d/x", Data::Symlink(b"x".to_vec()));
    world.settle();
    world.nodes[0].disk.tree.get_mut(&path("d")).unwrap().mode = 0o750;
    world.tell(0, path("d"));
    world.settle();
}

/// Whoever knows of the directory is away, and there is another one.
#[test]
fn what_is_in_a_directory_of_which_nobody_has_told_comes_all_the_same() {
    let mut world = World::new(3);
    with_bits_set_last(&mut world);
    world.link(1, 2);
    world.settle();
    world.messages_per_turn = 1;
    world.link(0, 1);
    while world.nodes[1].engine.index().get(&path("d/x")).unwrap().is_none() {
        world.turn();
    }
    assert!(world.nodes[1].engine.index().get(&path("d")).unwrap().is_none());
    world.cut(0, 1);
    world.settle();
    let d = |world: &World, node: usize| world.nodes[node].disk.tree[&path("d")].mode;
    assert_eq!(
        (names(&world.nodes[1]), d(&world, 1)),
        (vec!["d".to_owned(), "d/x".to_owned()], 0o700)
    );
    world.messages_per_turn = usize::MAX;
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!((d(&world, 0), d(&world, 2)), (0o750, 0o750));
}

/// It is not away, and tells of it in a moment.
#[test]
fn a_directory_of_which_is_told_after_what_is_in_it_is_not_stated_by_others() {
    let mut world = World::new(2);
    with_bits_set_last(&mut world);
    world.messages_per_turn = 1;
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    let own = world.nodes[1].engine.origin();
    assert_eq!(world.nodes[0].engine.index().knowledge().get(own), 0);
}
