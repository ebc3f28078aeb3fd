//! Whole engines together: what is done on one is on all, whatever happens meanwhile.

mod bits;
mod clocks;
mod closed;
mod crowds;
mod hostile;
mod ignored;
mod lost;
mod missing;
mod names;
mod races;
mod reread;
mod respelled;
mod rest;
mod retired;
mod serving;
mod slots;
mod unrecoverable;
mod unseen;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::*;
use super::*;
use crate::model::{
    entry::{FileKind, Row, Stamp, Stat},
    limits::{ORPHAN_WAIT, RETRY_DELAY_MAX},
    path::RelPath,
};

fn chmod(world: &mut World, node: usize, name: &str, mode: u16) {
    let disk = &mut world.nodes[node].disk;
    disk.ticks += 1;
    let (ticks, wall_ms) = (disk.ticks, world.time.wall_ms as i64);
    let inode = disk.tree.get_mut(&path(name)).unwrap();
    inode.mode = mode;
    if inode.data != Data::Directory {
        inode.stamp.ctime_ns = wall_ms * 1_000_000 + ticks;
    }
    world.tell(node, path(name));
}

#[test]
fn what_is_written_on_one_is_on_all() {
    let mut world = linked(3);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/empty", Data::Directory);
    world.write(0, "d/small", b"small");
    world.write(1, "nothing", b"");
    world.write(2, "large", &large(1));
    world.put(1, "link", Data::Symlink(b"../outside".to_vec()));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["d", "d/empty", "d/small", "large", "link", "nothing"]);
}

#[test]
fn a_change_arrives_before_any_time_passes() {
    let mut world = linked(2);
    let before = world.time.now;
    world.write(0, "a", b"now");
    while world.turn() {}
    assert_eq!(world.time.now, before);
    assert_eq!(names(&world.nodes[1]), ["a"]);
}

#[test]
fn nothing_is_said_when_nothing_changes() {
    let mut world = linked(3);
    world.write(0, "a", b"1");
    world.settle();
    let before = world.sent;
    world.settle();
    let keep_alives = 3 * 2 * (10 / 5 + 1);
    assert!(world.sent - before <= keep_alives, "{} bytes", world.sent - before);
}

#[test]
fn the_root_has_no_row() {
    let mut world = linked(2);
    let stamp = Stamp { device: 1, inode: 1, size: 0, mtime_ns: 0, ctime_ns: 0 };
    let stat = Stat { kind: FileKind::Directory, stamp, mode: 0o755, links: 1 };
    let seen = Input::Seen { path: RelPath::root(), stat: Ok(Some(stat)) };
    world.nodes[0].engine.handle_input(seen, world.time).unwrap();
    world.settle();
    assert_eq!(world.nodes[0].engine.index().rows(None, 9).unwrap(), []);
}

#[test]
fn deletions_and_renames_of_trees_arrive() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/e", Data::Directory);
    world.write(0, "d/e/f", b"f");
    world.write(0, "keep", b"k");
    world.settle();
    world.delete(0, "d");
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["keep"]);
}

#[test]
fn a_vanished_directory_takes_all_below_with_it() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/e", Data::Directory);
    (0..600).for_each(|at| world.write(0, &format!("d/e/{at}"), b"x"));
    world.settle();
    world.nodes[0].disk.tree.clear();
    world.tell(0, path("d"));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), Vec::<String>::new());
}

#[test]
fn data_on_both_sides_is_merged_and_equal_files_stay() {
    let mut world = World::new(2);
    world.write(0, "same", b"same");
    world.write(1, "same", b"same");
    world.write(0, "only0", &large(3));
    world.write(1, "only1", b"1");
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["only0", "only1", "same"]);
}

#[test]
fn edits_on_both_sides_leave_one_winner_and_one_copy_everywhere() {
    let mut world = linked(3);
    world.write(0, "a.txt", b"base");
    world.settle();
    world.cut(0, 1);
    world.cut(0, 2);
    world.write(0, "a.txt", b"zero");
    world.write(1, "a.txt", b"one");
    world.settle();
    world.link(0, 1);
    world.link(0, 2);
    world.settle();
    world.assert_equal();
    let names = names(&world.nodes[0]);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("a.sync-conflict-"), "{names:?}");
}

#[test]
fn an_edit_outlives_a_concurrent_delete() {
    for editor in 0..2 {
        let mut world = linked(2);
        world.put(0, "d", Data::Directory);
        world.write(0, "d/a", b"base");
        world.settle();
        world.cut(0, 1);
        world.write(editor, "d/a", b"edited");
        world.time.wall_ms += 10_000;
        world.delete(1 - editor, "d");
        world.settle();
        world.link(0, 1);
        world.settle();
        world.assert_equal();
        assert_eq!(names(&world.nodes[0]), ["d", "d/a"]);
    }
}

#[test]
fn one_side_alone_never_makes_a_copy() {
    let mut world = linked(2);
    world.write(0, "a", b"1");
    world.settle();
    world.cut(0, 1);
    for round in 0..5u8 {
        world.write(0, "a", &[round]);
        world.settle();
    }
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
}

#[test]
fn a_file_against_a_directory_keeps_both() {
    let mut world = linked(2);
    world.cut(0, 1);
    world.write(0, "x", b"file");
    world.put(1, "x", Data::Directory);
    world.write(1, "x/y", b"inside");
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    let names = names(&world.nodes[0]);
    assert!(names.iter().any(|name| name.starts_with("x.sync-conflict-")), "{names:?}");
    assert!(names.contains(&"x/y".to_owned()), "{names:?}");
}

#[test]
fn a_killed_node_makes_no_copies_of_what_it_forgot() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.write(1, "b", b"first");
    while world.turn() {}
    world.crash(0);
    world.crash(1);
    world.write(0, "a", b"second");
    world.write(1, "b", b"second");
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["a", "b"]);
}

#[test]
fn what_a_killed_node_had_received_does_not_win_against_a_later_edit() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.time.wall_ms += 10;
    world.turn();
    world.cut(0, 1);
    world.time.wall_ms += 10;
    // Applied on the other node later than the edit is made.
    let stale = path("a");
    world.nodes[1].disk.wall_ms = world.time.wall_ms + 500;
    if let Some(inode) = world.nodes[1].disk.tree.get_mut(&stale) {
        inode.stamp.ctime_ns += 500_000_000;
    }
    world.write(0, "a", b"second");
    world.time.wall_ms += 1000;
    world.crash(1);
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[1].disk.tree[&stale].data, Data::File(b"second".to_vec()));
}

#[test]
fn an_edit_of_a_large_file_sends_what_changed() {
    let mut world = linked(2);
    let mut bytes: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write(0, "big", &bytes);
    world.settle();
    let before = world.sent;
    bytes[1_500_000] ^= 1;
    world.write(0, "big", &bytes);
    world.settle();
    world.assert_equal();
    assert!(world.sent - before < 120_000, "{} bytes", world.sent - before);
}

#[test]
fn a_download_goes_on_where_it_was_cut_off() {
    let mut world = linked(2);
    world.messages_per_turn = 6;
    let bytes: Vec<u8> =
        (0..9_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write(0, "big", &bytes);
    while world.sent < 1_000_000 {
        world.turn();
    }
    let sent = world.sent;
    world.crash(1);
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert!(world.sent < 9_600_000, "{} bytes in all, {sent} before", world.sent);
}

#[test]
fn those_who_fetch_the_same_fetch_it_from_each_other() {
    let mut world = linked(5);
    (world.turn_time, world.messages_per_turn) = (Duration::from_millis(4), 6);
    let bytes: Vec<u8> =
        (0..24_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write(0, "big", &bytes);
    world.settle();
    world.assert_equal();
    assert!(world.sent_by[0] < 36_000_000, "{:?}", world.sent_by);
}

#[test]
fn what_was_deleted_does_not_come_back_after_a_year() {
    let mut world = linked(3);
    world.write(0, "a", b"old");
    world.write(0, "keep", b"kept");
    world.settle();
    (0..2).for_each(|at| world.cut(at, 2));
    world.delete(0, "a");
    world.settle();
    world.pass(365);
    let rows = world.nodes[0].engine.index().rows(None, 9).unwrap();
    assert_eq!(rows.len(), 1, "the tombstone is dropped");
    (0..2).for_each(|at| world.link(at, 2));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[2]), ["keep"]);
}

#[test]
fn a_tombstone_waits_for_those_seen_lately() {
    let mut world = linked(2);
    world.write(0, "a", b"old");
    world.settle();
    world.cut(0, 1);
    world.delete(0, "a");
    world.pass(90);
    assert_eq!(world.nodes[0].engine.index().rows(None, 9).unwrap().len(), 1);
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    world.pass(31);
    assert_eq!(world.nodes[0].engine.index().rows(None, 9).unwrap(), []);
}

#[test]
fn a_node_catches_up_from_any_other() {
    let mut world = World::new(3);
    world.settle();
    world.link(0, 1);
    world.write(0, "a", b"a");
    world.write(0, "big", &large(9));
    world.settle();
    world.cut(0, 1);
    world.link(1, 2);
    world.settle();
    assert_eq!(names(&world.nodes[2]), ["a", "big"]);
}

#[test]
fn ignored_paths_stay_where_they_are() {
    let mut world = linked(2);
    world.write(0, ".p2pignore", b"*.tmp\n/private/\n");
    world.settle();
    world.write(0, "a.tmp", b"mine");
    world.put(1, "private", Data::Directory);
    world.write(1, "private/x", b"mine");
    world.write(1, "b", b"ours");
    world.settle();
    assert_eq!(names(&world.nodes[0]), [".p2pignore", "a.tmp", "b"]);
    assert_eq!(names(&world.nodes[1]), [".p2pignore", "b", "private", "private/x"]);
    world.write(0, ".p2pignore", b"");
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]).len(), 5);
}

#[test]
fn what_cannot_be_written_is_said_and_tried_less_and_less_often_until_it_works() {
    const REASON: &str = "cannot make durable a: Input/output error";
    let mut world = linked(2);
    world.nodes[1].disk.refused.insert(path("a"), REASON);
    world.write(0, "a", b"refused");
    world.write(0, "b", b"taken");
    let mut tries = Vec::new();
    for second in 0..300 {
        while world.turn() {}
        tries.push(world.nodes[1].disk.refusals);
        world.time.now += Duration::from_secs(1);
        world.time.wall_ms += 1000;
        let problems = world.nodes[1].engine.status().unwrap().problems;
        assert_eq!(problems, [(path("a"), REASON.to_owned())], "after {second} s");
    }
    assert_eq!(names(&world.nodes[1]), ["b"]);
    let [first, then, last] = [tries[9], tries[59] - tries[49], tries[299] - tries[180]];
    assert!(
        first >= 4 && then <= 1 && (1..=2).contains(&last),
        "{first}, {then}, {last}: {tries:?}"
    );
    world.nodes[1].disk.refused.clear();
    for _ in 0..RETRY_DELAY_MAX.as_secs() {
        while world.turn() {}
        world.time.now += Duration::from_secs(1);
    }
    world.settle();
    world.assert_equal();
}

#[test]
fn a_file_that_grows_faster_than_it_travels_arrives() {
    let mut world = linked(2);
    (world.turn_time, world.messages_per_turn) = (Duration::from_millis(4), 6);
    let content: Vec<u8> =
        (0..6_000_000_u32).map(|at| (at / 3 % 253) as u8 ^ (at >> 16) as u8).collect();
    for length in (2..=6).map(|millions| millions * 1_000_000) {
        world.write(0, "log", &content[..length]);
        for _ in 0..2 {
            world.turn();
        }
    }
    assert_eq!(names(&world.nodes[1]), Vec::<String>::new(), "it was too fast");
    world.settle();
    world.assert_equal();
    let sent = world.sent_by[0];
    assert!(sent < content.len() as u64 * 3 / 2, "{sent} bytes for {}", content.len());
}

/// What `act` costs: files read on each of two nodes, bytes sent.
fn cost(world: &mut World, act: impl FnOnce(&mut World)) -> (u64, u64, u64) {
    let before = [world.nodes[0].disk.reads, world.nodes[1].disk.reads, world.sent];
    act(world);
    world.settle();
    world.assert_equal();
    let after = [world.nodes[0].disk.reads, world.nodes[1].disk.reads, world.sent];
    (after[0] - before[0], after[1] - before[1], after[2] - before[2])
}

#[test]
fn a_renamed_file_is_neither_read_nor_sent_and_stays_the_same_inode() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let inode = world.inode(1, "a");
    let (here, there, sent) = cost(&mut world, |world| world.rename(0, "a", "A"));
    assert_eq!((here, there, world.inode(1, "A")), (0, 0, inode));
    assert!(sent < 600, "{sent} bytes");
    assert_eq!(world.nodes[1].disk.trash, []);
}

#[test]
fn renamed_small_files_are_not_sent_either() {
    let mut world = linked(2);
    let content = |at: u16| at.to_be_bytes().repeat(2000);
    world.put(0, "old", Data::Directory);
    (0..300).for_each(|at| world.write(0, &format!("old/{at}"), &content(at)));
    world.settle();
    let inode = world.inode(1, "old/7");
    let (here, there, sent) = cost(&mut world, |world| world.rename(0, "old", "new"));
    assert_eq!((here, there, world.inode(1, "new/7")), (0, 0, inode));
    assert!(sent < 300 * 300, "{sent} bytes");
    // Who does not know the old content is sent the new one's: here, since it was edited there
    // meanwhile.
    world.cut(0, 1);
    world.write(1, "new/7", b"edited");
    world.rename(0, "new/7", "seven");
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[1].disk.tree[&path("seven")].data, Data::File(content(7)));
}

#[test]
fn a_renamed_directory_is_neither_read_nor_sent() {
    let mut world = linked(2);
    world.put(0, "old", Data::Directory);
    world.put(0, "old/e", Data::Directory);
    (0..100).for_each(|at| world.write(0, &format!("old/e/{at}"), &large(at)));
    world.settle();
    let inode = world.inode(1, "old/e/7");
    let (here, there, sent) = cost(&mut world, |world| world.rename(0, "old", "new"));
    assert_eq!((here, there, world.inode(1, "new/e/7")), (0, 0, inode));
    assert!(sent < 40_000, "{sent} bytes");
    assert_eq!(names(&world.nodes[1]).len(), 102);
}

/// Another directory is at the old path when the watch tells of the rename, and so has lost its
/// watch by that. Before it there was a file, of which it is kept in mind that it was read in the
/// second in which it was written.
#[test]
fn what_took_the_place_of_a_renamed_directory_is_listed_whatever_was_there() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.settle();
    let ctime_ns = world.time.wall_ms as i64 / 1000 * 1_000_000_000;
    let stamp = Stamp { device: 1, inode: 99, size: 1, mtime_ns: ctime_ns, ctime_ns };
    let (engine, time) = (&mut world.nodes[0].engine, world.time);
    engine.paths.handle_known(&path("d"), &stamp, time.wall_ms, time.now);
    assert!(engine.paths.is_racy(&path("d"), time.now));
    engine
        .handle_input(Input::Changed(Change::Renamed { from: path("d"), to: path("e") }), time)
        .unwrap();
    world.nodes[0].disk.put(&path("d/unseen"), Data::File(b"content".to_vec()), 0o644, None);
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["d", "d/unseen"]);
}

#[test]
fn files_that_change_places_are_not_read_and_not_sent() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.write(0, "b", &large(2));
    world.settle();
    let inodes = (world.inode(1, "a"), world.inode(1, "b"));
    let (here, there, sent) = cost(&mut world, |world| {
        world.rename(0, "a", "c");
        world.rename(0, "b", "a");
        world.rename(0, "c", "b");
    });
    assert_eq!((here, there), (0, 0));
    assert_eq!((world.inode(1, "b"), world.inode(1, "a")), inodes);
    assert!(sent < 1000, "{sent} bytes");
    assert_eq!(names(&world.nodes[1]), ["a", "b"]);
}

#[test]
fn a_renamed_file_with_other_bits_gets_them_too() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let inode = world.inode(1, "a");
    let (_, _, sent) = cost(&mut world, |world| {
        world.rename(0, "a", "b");
        let disk = &mut world.nodes[0].disk;
        disk.tree.get_mut(&path("b")).unwrap().mode = 0o600;
        world.tell(0, path("b"));
    });
    assert!(sent < 600, "{sent} bytes");
    assert_eq!(world.nodes[1].disk.tree[&path("b")].mode, 0o600);
    assert_eq!(world.inode(1, "b"), inode);
}

#[test]
fn a_write_that_hides_behind_a_rename_is_noticed() {
    for told_before in [true, false] {
        let mut world = linked(2);
        world.write(0, "a", &large(1));
        world.settle();
        let forge = |world: &mut World, name: &str| {
            let inode = world.nodes[0].disk.tree.get_mut(&path(name)).unwrap();
            inode.data = Data::File(large(2));
            inode.stamp.ctime_ns += 1;
        };
        if told_before {
            forge(&mut world, "a");
            world.tell(0, path("a"));
            world.rename(0, "a", "b");
        } else {
            world.rename(0, "a", "b");
            forge(&mut world, "b");
            while world.turn() {}
            world.time.now += Duration::from_millis(1);
            world.tell(0, path("b"));
        }
        world.settle();
        world.assert_equal();
        assert_eq!(world.nodes[1].disk.tree[&path("b")].data, Data::File(large(2)));
    }
}

#[test]
fn a_copy_is_copied_there_and_both_stay() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let (_, there, sent) = cost(&mut world, |world| world.write(0, "b", &large(1)));
    assert_eq!(there, 1, "it is copied");
    assert!(sent < 600, "{sent} bytes");
    assert_eq!(names(&world.nodes[1]), ["a", "b"]);
}

#[derive(Debug, Clone)]
enum Step {
    Rename { node: usize, from: usize, to: usize },
    Write { node: usize, name: usize, content: u8 },
    WriteLarge { node: usize, name: usize, content: u8 },
    MakeDirectory { node: usize, name: usize },
    Delete { node: usize, name: usize },
    Cut { a: usize, b: usize },
    Link { a: usize, b: usize },
    Crash { node: usize },
    Settle,
}

const NAMES: [&str; 7] = ["a", "b", "d", "d/x", "d/e", "d/e/y", "d/z"];

fn steps(nodes: usize) -> impl Strategy<Value = Vec<Step>> {
    let (node, name) = (0..nodes, 0..NAMES.len());
    let step = prop_oneof![
        4 => (node.clone(), name.clone(), 0..4u8)
            .prop_map(|(node, name, content)| Step::Write { node, name, content }),
        1 => (node.clone(), name.clone(), 0..4u8)
            .prop_map(|(node, name, content)| Step::WriteLarge { node, name, content }),
        2 => (node.clone(), name.clone())
            .prop_map(|(node, name)| Step::MakeDirectory { node, name }),
        2 => (node.clone(), name.clone(), name.clone())
            .prop_map(|(node, from, to)| Step::Rename { node, from, to }),
        3 => (node.clone(), name).prop_map(|(node, name)| Step::Delete { node, name }),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Cut { a, b }),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Link { a, b }),
        1 => node.prop_map(|node| Step::Crash { node }),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 0..30)
}

fn run(world: &mut World, step: &Step) {
    let may_hold = |world: &World, node: usize, name: &str| {
        let parent = path(name).parent().unwrap();
        let inode = world.nodes[node].disk.tree.get(&parent);
        parent.is_root() || inode.is_some_and(|inode| inode.data == Data::Directory)
    };
    match *step {
        Step::Write { node, name, content } if may_hold(world, node, NAMES[name]) => {
            world.delete(node, NAMES[name]);
            world.write(node, NAMES[name], &[content]);
        }
        Step::WriteLarge { node, name, content } if may_hold(world, node, NAMES[name]) => {
            world.delete(node, NAMES[name]);
            world.write(node, NAMES[name], &large(content));
        }
        Step::MakeDirectory { node, name } if may_hold(world, node, NAMES[name]) => {
            world.delete(node, NAMES[name]);
            world.put(node, NAMES[name], Data::Directory);
        }
        Step::Rename { node, from, to } if may_hold(world, node, NAMES[to]) => {
            let (source, target) = (path(NAMES[from]), path(NAMES[to]));
            let tree = &world.nodes[node].disk.tree;
            if tree.contains_key(&source)
                && from != to
                && !target.is_below(&source)
                && !source.is_below(&target)
            {
                world.delete(node, NAMES[to]);
                world.rename(node, NAMES[from], NAMES[to]);
            }
        }
        Step::Delete { node, name } => world.delete(node, NAMES[name]),
        Step::Cut { a, b } if a != b => world.cut(a, b),
        Step::Link { a, b } if a != b => world.link(a, b),
        Step::Crash { node } => world.crash(node),
        Step::Settle => world.settle(),
        _ => {}
    }
    world.time.wall_ms += 1000;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000,
        ..ProptestConfig::default() })]

    /// Whatever is done where, and whoever is linked with whom meanwhile: once all are linked, all
    /// are equal.
    #[test]
    fn all_trees_become_equal(steps in steps(3)) {
        let mut world = World::new(3);
        world.settle();
        steps.iter().for_each(|step| run(&mut world, step));
        for a in 0..3 {
            (0..a).for_each(|b| world.cut(a, b));
        }
        world.link_all();
        world.settle();
        world.assert_equal();
    }
}
