//! A mass of missing paths is held, and asked about; a few were deleted.

use super::*;
use crate::{
    core::seam::{Change, Hint},
    index::Hold,
    model::limits::{FULL_SCAN_INTERVAL, MISSING_WALK_DELAY, POLL_INTERVAL},
};

const FILES: usize = 100;

/// A branch of a pool.
type Branch = Vec<(RelPath, Inode)>;

/// Two nodes with 1 directory and 100 files of one branch, and 51 of others.
fn pool() -> World {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    (0..FILES).for_each(|at| world.write(0, &format!("d/{at}"), format!("{at}").as_bytes()));
    world.put(0, "e", Data::Directory);
    (0..FILES / 2).for_each(|at| world.write(0, &format!("e/{at}"), format!("e{at}").as_bytes()));
    world.settle();
    world.assert_equal();
    world
}

/// Nothing is told of it.
fn take_away(world: &mut World, node: usize, directory: &str) -> Branch {
    let top = path(directory);
    let tree = &mut world.nodes[node].disk.tree;
    let is_in = |path: &RelPath| *path == top || path.is_below(&top);
    let paths: Vec<_> = tree.keys().filter(|path| is_in(path)).cloned().collect();
    paths.into_iter().map(|path| (path.clone(), tree.remove(&path).unwrap())).collect()
}

fn bring_back(world: &mut World, node: usize, branch: Branch) {
    world.nodes[node].disk.tree.extend(branch);
}

fn walk(world: &mut World, node: usize) {
    let engine = &mut world.nodes[node].engine;
    engine.handle_input(Input::Changed(Change::Overflow), world.time).unwrap();
    world.settle();
}

fn answer(world: &mut World, node: usize, were_deleted: bool) {
    let engine = &mut world.nodes[node].engine;
    engine.handle_input(Input::MissingDecided { were_deleted }, world.time).unwrap();
    world.settle();
}

fn restart(world: &mut World, node: usize) {
    world.nodes[node].engine.handle_input(Input::Stopped, world.time).unwrap();
    world.crash(node);
}

fn missing(world: &World, node: usize) -> MissingPaths {
    world.nodes[node].engine.status().unwrap().missing
}

fn is_held(world: &World, node: usize) -> bool {
    missing(world, node).is_asked
}

fn is_there(world: &World, node: usize, name: &str) -> bool {
    world.nodes[node].disk.tree.contains_key(&path(name))
}

/// A pool of which the branch is away, and held.
fn held() -> (World, Branch) {
    let mut world = pool();
    let branch = take_away(&mut world, 0, "d");
    walk(&mut world, 0);
    assert!(is_held(&world, 0));
    (world, branch)
}

#[test]
fn a_mass_of_missing_paths_is_held_and_everything_else_goes_on() {
    let (mut world, _) = held();
    let found = missing(&world, 0);
    assert_eq!((found.count, found.of), (FILES as u64 + 1, FILES as u64 * 3 / 2 + 2));
    assert_eq!(found.named.first(), Some(&path("d")));
    assert_eq!(world.nodes[1].disk.tree.len(), FILES * 3 / 2 + 2, "nothing is deleted");
    world.write(0, "e/0", b"edited");
    world.write(0, "new", b"new");
    world.write(1, "e/other", b"other");
    world.delete(0, "e/1");
    world.settle();
    assert_eq!(world.nodes[1].disk.tree[&path("e/0")].data, Data::File(b"edited".to_vec()));
    assert!(is_there(&world, 0, "e/other") && is_there(&world, 1, "new"));
    assert!(!is_there(&world, 1, "e/1"), "the watch has told of that");
    assert!(is_held(&world, 0) && is_there(&world, 1, "d/7"));
}

#[test]
fn what_is_held_stays_so_over_a_stop_and_a_kill() {
    for is_killed in [false, true, true] {
        let (mut world, branch) = held();
        for _ in 0..2 {
            if is_killed {
                world.crash(0)
            } else {
                restart(&mut world, 0)
            }
            world.settle();
            world.link_all();
            world.settle();
            assert!(is_held(&world, 0) && is_there(&world, 1, "d/7"));
        }
        bring_back(&mut world, 0, branch);
        world.wait(FULL_SCAN_INTERVAL.as_secs());
        world.settle();
        assert_eq!(missing(&world, 0).count, 0);
        world.assert_equal();
        assert!(is_there(&world, 0, "d/7"));
    }
}

#[test]
fn what_went_while_the_node_was_down_is_held() {
    for is_killed in [false, true] {
        let mut world = pool();
        if !is_killed {
            restart(&mut world, 0);
        }
        take_away(&mut world, 0, "d");
        if is_killed {
            world.crash(0);
        }
        world.settle();
        world.link_all();
        world.settle();
        assert!(is_held(&world, 0) && is_there(&world, 1, "d/7"));
    }
}

#[test]
fn what_is_back_is_held_no_more_and_soon() {
    let (mut world, branch) = held();
    bring_back(&mut world, 0, branch);
    world.wait(POLL_INTERVAL.as_secs() * 3);
    assert_eq!((missing(&world, 0).count, is_held(&world, 0)), (0, false));
    let before = world.sent;
    world.settle();
    assert!(world.sent - before < 300, "nothing is to be told");
    world.assert_equal();
}

/// Until all is back, what is not stays held, however little it is.
#[test]
fn what_is_back_in_part_leaves_the_rest_held() {
    let (mut world, mut branch) = held();
    let rest = branch.split_off(FILES / 2);
    bring_back(&mut world, 0, branch);
    world.wait(FULL_SCAN_INTERVAL.as_secs());
    world.settle();
    assert_eq!((missing(&world, 0).count, is_held(&world, 0)), (rest.len() as u64, true));
    assert_eq!(world.nodes[1].disk.tree.len(), FILES * 3 / 2 + 2);
    bring_back(&mut world, 0, rest);
    world.wait(FULL_SCAN_INTERVAL.as_secs());
    world.settle();
    world.assert_equal();
}

#[test]
fn what_is_accepted_is_deleted_everywhere() {
    let (mut world, _) = held();
    world.write(1, "e/other", b"other");
    answer(&mut world, 0, true);
    world.assert_equal();
    assert!(!is_there(&world, 1, "d") && is_there(&world, 0, "e/other"));
    assert_eq!(world.nodes[1].disk.trash.len(), FILES + 1);
    assert_eq!(world.nodes[0].engine.hold(), Hold::Undecided);
}

#[test]
fn an_answer_outlives_a_kill() {
    for were_deleted in [false, true] {
        let (mut world, _) = held();
        let input = Input::MissingDecided { were_deleted };
        world.nodes[0].engine.handle_input(input, world.time).unwrap();
        world.nodes[0].engine.handle_input(Input::Stopped, world.time).unwrap();
        world.crash(0);
        world.settle();
        world.link_all();
        world.settle();
        world.assert_equal();
        assert_eq!(is_there(&world, 0, "d/7"), !were_deleted);
    }
}

#[test]
fn what_is_refused_is_fetched() {
    let (mut world, _) = held();
    answer(&mut world, 0, false);
    world.assert_equal();
    assert!(is_there(&world, 0, "d/7"));
    assert_eq!(world.nodes[1].disk.trash, []);
}

#[test]
fn what_is_refused_and_nobody_has_is_a_problem() {
    let (mut world, _) = held();
    world.cut(0, 1);
    answer(&mut world, 0, false);
    let status = world.nodes[0].engine.status().unwrap();
    assert_eq!(status.wanted, FILES as u64, "the directory is made");
    assert!(status.problems.len() + status.more_problems as usize == FILES);
    assert!(status.problems[0].1.contains("no node that has it"), "{:?}", status.problems[0]);
}

#[test]
fn no_answer_is_taken_where_nothing_is_held() {
    let mut world = pool();
    answer(&mut world, 0, true);
    assert_eq!(world.nodes[0].engine.hold(), Hold::Undecided);
}

#[test]
fn a_few_were_deleted() {
    let mut world = pool();
    take_away(&mut world, 0, "e");
    walk(&mut world, 0);
    world.assert_equal();
    assert!(!is_there(&world, 1, "e") && is_there(&world, 1, "d"), "less than 100");
    (0..FILES * 3).for_each(|at| world.write(0, &format!("{at}"), format!("f{at}").as_bytes()));
    world.settle();
    take_away(&mut world, 0, "d");
    walk(&mut world, 0);
    world.assert_equal();
    assert!(!is_there(&world, 1, "d"), "less than a third");
}

#[test]
fn what_the_watch_tells_of_is_deleted_however_much_it_is() {
    let mut world = pool();
    take_away(&mut world, 0, "d");
    world.tell(0, path("d"));
    world.settle();
    world.assert_equal();
    assert!(!is_there(&world, 1, "d"));
}

/// Also in the middle of a walk that has found some of it.
#[test]
fn what_a_walk_finds_and_the_watch_tells_of_later_is_deleted() {
    let (mut world, _) = held();
    (0..FILES).for_each(|at| world.tell(0, path(&format!("d/{at}"))));
    world.settle();
    assert!(is_there(&world, 1, "d") && !is_there(&world, 1, "d/7"));
    world.tell(0, path("d"));
    world.settle();
    world.assert_equal();
    assert!(!is_there(&world, 1, "d"));
}

/// Its inodes tell, or what it holds.
#[test]
fn a_directory_that_was_renamed_unseen_is_not_asked_about() {
    for keeps_inodes in [true, false] {
        for to in ["a", "z"] {
            let mut world = pool();
            restart(&mut world, 0);
            let disk = &mut world.nodes[0].disk;
            disk.rename(&path("d"), &path(to));
            if !keeps_inodes {
                let moved: Vec<_> = disk.tree.keys().cloned().collect();
                for path in moved.iter().filter(|moved| moved.is_below(&path(to))) {
                    let Inode { data, mode, stamp } = disk.tree[path].clone();
                    disk.put(path, data, mode, Some(stamp.mtime_ns));
                }
            }
            world.settle();
            world.link_all();
            world.settle();
            assert!(!is_held(&world, 0));
            world.assert_equal();
            assert!(is_there(&world, 1, &format!("{to}/7")) && !is_there(&world, 1, "d"));
        }
    }
}

/// What others have put into it comes all the same, in a directory that is made for it.
#[test]
fn new_files_come_into_a_directory_that_is_held() {
    let (mut world, branch) = held();
    world.put(1, "d/sub", Data::Directory);
    world.write(1, "d/sub/new", b"new");
    world.settle();
    assert!(is_there(&world, 0, "d/sub/new") && !is_there(&world, 0, "d/7"));
    assert_eq!((missing(&world, 0).count, is_held(&world, 0)), (FILES as u64, true));
    bring_back(&mut world, 0, branch);
    walk(&mut world, 0);
    world.assert_equal();
}

/// It is not placed where an older one may come back, which would count as an edit.
#[test]
fn a_newer_version_of_what_is_held_comes_when_that_is_decided() {
    for decision in [None, Some(true), Some(false)] {
        let (mut world, branch) = held();
        world.write(1, "d/7", b"newer");
        world.settle();
        assert!(!is_there(&world, 0, "d/7"));
        match decision {
            None => {
                bring_back(&mut world, 0, branch);
                walk(&mut world, 0);
            }
            Some(were_deleted) => answer(&mut world, 0, were_deleted),
        }
        world.settle();
        world.assert_equal();
        let newer = Data::File(b"newer".to_vec());
        assert_eq!(world.nodes[0].disk.tree[&path("d/7")].data, newer, "{decision:?}");
        assert_eq!(is_there(&world, 0, "d/8"), decision != Some(true));
    }
}

/// What is back is removed, as it would have been.
#[test]
fn what_others_delete_of_what_is_held_is_not_asked_any_more() {
    let (mut world, branch) = held();
    world.delete(1, "d/7");
    world.settle();
    assert_eq!(missing(&world, 0).count, FILES as u64);
    bring_back(&mut world, 0, branch);
    walk(&mut world, 0);
    world.assert_equal();
    assert!(!is_there(&world, 0, "d/7") && is_there(&world, 0, "d/8"));
}

#[test]
fn what_others_have_deleted_altogether_ends_the_question() {
    let (mut world, _) = held();
    world.delete(1, "d");
    world.settle();
    walk(&mut world, 0);
    assert_eq!((missing(&world, 0).count, is_held(&world, 0)), (0, false));
    world.assert_equal();
}

/// Not even what was asked for before a walk has found that it is missing.
#[test]
fn a_change_that_finds_its_place_gone_deletes_nothing() {
    let mut world = pool();
    take_away(&mut world, 0, "d");
    world.write(1, "d/7", b"newer");
    world.settle();
    world.wait(MISSING_WALK_DELAY.as_secs() + 1);
    world.settle();
    assert!(is_held(&world, 0));
    assert!((0..FILES).all(|at| is_there(&world, 1, &format!("d/{at}"))));
}

#[test]
fn a_single_path_that_is_missing_unheard_is_deleted_after_a_walk() {
    let mut world = pool();
    take_away(&mut world, 0, "e/7");
    let engine = &mut world.nodes[0].engine;
    engine.outputs.push_back(Output::Inspect { path: path("e/7") });
    while world.turn() {}
    assert!(is_there(&world, 1, "e/7"), "how much is missing is not known");
    world.wait(MISSING_WALK_DELAY.as_secs() + 1);
    world.settle();
    world.assert_equal();
    assert!(!is_there(&world, 1, "e/7"));
}

/// Directories without events are compared every second.
#[test]
fn what_is_missing_from_directories_without_events_is_decided_each_round() {
    let mut world = pool();
    for directory in ["d", "e"] {
        let lost = Change::Lost { directory: path(directory) };
        world.nodes[0].engine.handle_input(Input::Changed(lost), world.time).unwrap();
        world.nodes[0].disk.unwatched.insert(path(directory));
    }
    world.wait(3);
    take_away(&mut world, 0, "e/7");
    world.wait(3);
    assert!(!is_there(&world, 1, "e/7"));
    (0..FILES).for_each(|at| drop(take_away(&mut world, 0, &format!("d/{at}"))));
    world.wait(3);
    assert!(is_held(&world, 0) && is_there(&world, 1, "d/7"));
}

/// As when `photos` was moved to another disk, and is a link to there now.
#[test]
fn a_link_in_the_place_of_a_directory_waits_for_the_answer() {
    for were_deleted in [true, false] {
        let mut world = pool();
        take_away(&mut world, 0, "d");
        let link = Data::Symlink(b"/elsewhere".to_vec());
        world.nodes[0].disk.put(&path("d"), link.clone(), 0o777, None);
        walk(&mut world, 0);
        assert!(is_held(&world, 0));
        answer(&mut world, 0, were_deleted);
        world.settle();
        world.assert_equal();
        assert_eq!(is_there(&world, 1, "d/7"), !were_deleted);
        let is_link = |inode: &Inode| inode.data == link;
        assert!(world.nodes[1].disk.tree.values().any(is_link), "it is nowhere");
    }
}

/// The rules do not name what is missing.
#[test]
fn what_is_ignored_from_now_on_is_not_held() {
    let (mut world, _) = held();
    world.write(1, ".p2pignore", b"d/\n");
    world.settle();
    walk(&mut world, 0);
    assert_eq!((missing(&world, 0).count, is_held(&world, 0)), (0, false));
    assert!(is_there(&world, 1, "d/7"));
}

/// Who asks for what is missing is not told that it is gone for good.
#[test]
fn content_that_is_missing_is_not_refused_for_good() {
    let mut world = pool();
    world.cut(0, 1);
    world.write(0, "d/large", &large(3));
    world.settle();
    let branch = take_away(&mut world, 0, "d");
    walk(&mut world, 0);
    world.link(0, 1);
    world.settle();
    world.wait(60);
    assert!(is_held(&world, 0) && !is_there(&world, 1, "d/large"));
    bring_back(&mut world, 0, branch);
    walk(&mut world, 0);
    world.wait(60);
    world.settle();
    world.assert_equal();
    assert!(is_there(&world, 1, "d/large"));
}

#[test]
fn while_the_root_is_away_nothing_that_was_told_counts() {
    let mut world = pool();
    let paused = Input::Paused { reason: Some("it is not there".to_owned()) };
    let told = Change::Path { path: path("d"), hint: Hint::Settled };
    for input in [Input::Changed(told), paused, Input::Paused { reason: None }] {
        world.nodes[0].engine.handle_input(input, world.time).unwrap();
    }
    take_away(&mut world, 0, "d");
    world.settle();
    assert!(is_held(&world, 0) && is_there(&world, 1, "d/7"));
}
