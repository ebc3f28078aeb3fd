//! What this disk holds and its stamps, or its events, do not show is found out all the same.

use super::{
    super::paths::{self, Why},
    *,
};
use crate::{
    core::seam::{ApplyFailure, Change, Found, Hint},
    model::{entry::FileKind, version::Author},
};

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

/// As long as the longest pause between two tries.
fn wait_for_a_try(world: &mut World) {
    world.settle();
    world.wait(RETRY_DELAY_MAX.as_secs());
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
    wait_for_a_try(&mut world);
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
    assert_eq!(world.nodes[0].engine.status().unwrap().problems, []);
}

/// The listing had begun before, and went well.
#[test]
fn directory_that_could_not_be_looked_at_while_it_was_listed_is_listed_again() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.settle();
    let engine = &mut world.nodes[0].engine;
    engine.scan.request_listing(path("d"));
    engine.step_scan(world.time).unwrap();
    looks_in_vain(&mut world, 0, "d");
    wait_for_a_try(&mut world);
    world.nodes[0].disk.put(&path("d/x"), Data::File(b"x".to_vec()), 0o644, None);
    world.nodes[0].engine.scan.request_listing(path("d"));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["d", "d/x"]);
}

#[test]
fn what_could_not_be_looked_at_is_looked_at_though_nobody_has_its_newest_version() {
    let mut world = with_unseen_file();
    world.nodes[0].engine.paths.block(&path("a"), Why::NoSource, world.time.now);
    world.nodes[0].engine.paths.handle_newer(&path("a"), true, world.time.now);
    world.nodes[0].engine.paths.handle_new_source(world.time.now);
    world.nodes[0].engine.placement.kick();
    wait_for_a_try(&mut world);
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
}

#[test]
fn what_could_not_be_looked_at_is_looked_at_again_whatever_others_say_meanwhile() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.settle();
    world.nodes[0].disk.tree.remove(&path("d"));
    looks_in_vain(&mut world, 0, "d");
    let row = world.nodes[1].engine.index().get(&path("d")).unwrap().unwrap();
    world.nodes[1].engine.republish(&path("d"), row, world.time).unwrap();
    world.settle();
    world.assert_equal();
    assert!(names(&world.nodes[0]).is_empty());
    assert!(world.nodes[0].engine.status().unwrap().problems.is_empty());
}

/// Something else is told of a path, or nothing, when everything is compared.
fn close(world: &mut World, name: &str, told: std::result::Result<FileKind, String>) {
    world.nodes[0].disk.closed.insert(path(name), told);
    world.nodes[0].engine.handle_input(Input::Changed(Change::Overflow), world.time).unwrap();
    world.settle();
}

fn problems(world: &World, node: usize) -> Vec<String> {
    let problems = world.nodes[node].engine.status().unwrap().problems;
    problems.into_iter().map(|(path, _)| path.to_string()).collect()
}

#[test]
fn one_name_of_which_nothing_can_be_told_stops_nothing_beside_it() {
    let mut world = linked(2);
    for name in ["a", "m", "z"] {
        world.nodes[0].disk.put(&path(name), Data::File(b"new".to_vec()), 0o644, None);
    }
    close(&mut world, "m", Err("Transport endpoint is not connected".to_owned()));
    assert_eq!(problems(&world, 0), ["m"]);
    assert!(["a", "z"].iter().all(|name| names(&world.nodes[1]).contains(&(*name).to_owned())));
    world.nodes[0].disk.closed.clear();
    wait_for_a_try(&mut world);
    world.assert_equal();
    assert!(problems(&world, 0).is_empty() && names(&world.nodes[1]).contains(&"m".to_owned()));
}

#[test]
fn what_is_covered_is_not_missing_and_nothing_below_it_is_looked_for() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/e", Data::Directory);
    world.write(0, "d/e/x", b"precious");
    world.settle();
    let below = world.nodes[0].disk.tree.split_off(&path("d/e"));
    close(&mut world, "d", Ok(FileKind::Foreign));
    assert_eq!(problems(&world, 0), ["d"]);
    assert_eq!(names(&world.nodes[1]), ["d", "d/e", "d/e/x"]);
    // What was mounted on it goes.
    world.nodes[0].disk.tree.extend(below);
    world.nodes[0].disk.closed.clear();
    world.nodes[0].disk.put(
        &path("d/e/y"),
        Data::File(b"made before it was covered".to_vec()),
        0o644,
        None,
    );
    wait_for_a_try(&mut world);
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["d", "d/e", "d/e/x", "d/e/y"]);
    assert!(problems(&world, 0).is_empty());
}

#[test]
fn what_could_not_be_read_is_read_though_its_stamp_is_what_it_was() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    edit_unseen(&mut world);
    let found = Found::Unreadable("Input/output error".to_owned());
    world.nodes[0].engine.handle_input(Input::Read { path: path("a"), found }, world.time).unwrap();
    wait_for_a_try(&mut world);
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"other".to_vec()));
}

#[test]
fn what_is_in_doubt_is_read_though_its_stamp_is_what_it_was() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    edit_unseen(&mut world);
    world.tell(0, path("a"));
    world.settle();
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"first".to_vec()));
    world.nodes[0].engine.mark_for_reread(&path("a")).unwrap();
    world.tell(0, path("a"));
    world.settle();
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"other".to_vec()));
}

/// To the same length, and within the same tick of a coarse clock.
fn edit_unseen(world: &mut World) {
    world.nodes[0].disk.tree.get_mut(&path("a")).unwrap().data = Data::File(b"other".to_vec());
}

#[test]
fn a_directory_that_was_moved_away_and_back_is_listed() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.settle();
    world.nodes[0].disk.put(&path("d/x"), Data::File(b"x".to_vec()), 0o644, None);
    let arrived = Input::Changed(Change::Path { path: path("d"), hint: Hint::Arrived });
    world.nodes[0].engine.handle_input(arrived, world.time).unwrap();
    world.settle();
    assert_eq!(names(&world.nodes[1]), ["d", "d/x"]);
}

#[test]
fn a_directory_in_the_place_of_one_that_was_renamed_is_listed() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/e", Data::Directory);
    world.settle();
    world.nodes[0].disk.put(&path("d/e/x"), Data::File(b"x".to_vec()), 0o644, None);
    let renamed = Input::Changed(Change::Renamed { from: path("d"), to: path("e") });
    world.nodes[0].engine.handle_input(renamed, world.time).unwrap();
    world.settle();
    assert_eq!(names(&world.nodes[1]), ["d", "d/e", "d/e/x"]);
}

#[test]
fn an_edit_in_the_tick_of_a_rename_is_read() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    edit_unseen(&mut world);
    // By one name or the other, its stamp is what it was.
    let inode = world.nodes[0].disk.tree.remove(&path("a")).unwrap();
    world.nodes[0].disk.tree.insert(path("b"), inode);
    let changed = Input::Changed(Change::Path { path: path("b"), hint: Hint::Settled });
    world.nodes[0].engine.handle_input(changed, world.time).unwrap();
    world.tell(0, path("a"));
    world.settle();
    assert_eq!(world.nodes[1].disk.tree[&path("b")].data, Data::File(b"other".to_vec()));
}

#[test]
fn what_a_killed_node_had_received_is_nobodys_though_its_clock_stands_still() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    while world.turn() {}
    world.cut(0, 1);
    let started_ns = (world.time.wall_ms as i64 + 1000) * 1_000_000;
    world.nodes[1].disk.tree.get_mut(&path("a")).unwrap().stamp.ctime_ns = started_ns;
    world.nodes[1].disk.tree.get_mut(&path("a")).unwrap().stamp.mtime_ns = started_ns;
    world.write(0, "a", b"second");
    world.crash(1);
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["a"]);
}

#[test]
fn what_the_watch_tells_as_a_write_is_read_though_its_stamp_is_what_it_was() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    edit_unseen(&mut world);
    let writing = Input::Changed(Change::Path { path: path("a"), hint: Hint::Writing });
    world.nodes[0].engine.handle_input(writing, world.time).unwrap();
    world.settle();
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"other".to_vec()));
}

/// Nothing is done about it before, and it is not asked for over and over while it is written to.
#[test]
fn what_is_in_doubt_is_looked_at_before_it_gives_way() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    let (time, stat) = (world.time, world.nodes[0].disk.stat(&path("a")));
    let engine = &mut world.nodes[0].engine;
    engine.mark_for_reread(&path("a")).unwrap();
    let mut row = engine.index().get(&path("a")).unwrap().unwrap();
    row.base = row.base.map(|base| base.outdated(|| row.entry.version.clone()));
    row.entry.content = None;
    engine.index.put(&path("a"), &row).unwrap();
    let disk_work = |engine: &mut Engine| -> Vec<Output> {
        let is_for_disk =
            |output: &Output| matches!(output, Output::Apply(_) | Output::Inspect { .. });
        std::iter::from_fn(|| engine.poll_output()).filter(is_for_disk).collect()
    };
    engine.place(&path("a"), None, time).unwrap();
    assert_eq!(disk_work(engine), [Output::Inspect { path: path("a") }]);
    engine.paths.block(&path("a"), "refused", time.now);
    engine.handle_writing(&path("a"), 0, time);
    assert_eq!(engine.paths.take_due(time.now + RETRY_DELAY_MAX), [path("a")]);
    engine.handle_input(Input::Seen { path: path("a"), stat: Ok(stat) }, time).unwrap();
    assert_eq!(disk_work(engine), []);
}

/// Node 0 is told what came of a change of its file.
fn change_fails(world: &mut World, failure: ApplyFailure) {
    let row = world.nodes[0].engine.index().get(&path("a")).unwrap().unwrap();
    world.nodes[0]
        .engine
        .paths
        .begin_change(&path("a"), paths::Pending { is_renamed: true, ..paths::Pending::to(&row) });
    let applied = Input::Applied { path: path("a"), result: Err(failure) };
    world.nodes[0].engine.handle_input(applied, world.time).unwrap();
}

/// Whether the file is missing, or the directory as a whole, is asked when it is looked at.
#[test]
fn a_change_that_meets_nothing_is_no_deletion() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    change_fails(&mut world, ApplyFailure::Unexpected(None));
    let engine = &mut world.nodes[0].engine;
    assert!(!engine.index().get(&path("a")).unwrap().unwrap().entry.is_tombstone());
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output()).collect();
    assert!(outputs.contains(&Output::Inspect { path: path("a") }));
}

#[test]
fn what_a_change_may_have_left_is_nobodys() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.settle();
    change_fails(&mut world, ApplyFailure::UnknownOutcome("Input/output error".to_owned()));
    let author = |world: &World| {
        let row = world.nodes[0].engine.index().get(&path("a")).unwrap().unwrap();
        row.entry.version.author
    };
    world.write(0, "a", b"received, and not known to be");
    while world.turn() {}
    assert_eq!(author(&world), Author::Unattributed);
    world.write(0, "a", b"edited");
    while world.turn() {}
    assert_eq!(author(&world), Author::Node(id(0)));
}

/// Its name was given, which could not be seen, and a newer version came before it could be.
#[test]
fn what_a_change_was_to_put_there_and_is_there_is_that_version() {
    let mut world = linked(2);
    world.write(1, "a", b"first");
    world.settle();
    let engine = &mut world.nodes[0].engine;
    let row = engine.index.get(&path("a")).unwrap().unwrap();
    engine
        .paths
        .begin_change(&path("a"), paths::Pending { is_renamed: true, ..paths::Pending::to(&row) });
    engine.index.put(&path("a"), &Row { base: None, ..row }).unwrap();
    // The clocks do not tell which came first.
    let later_ns = (world.time.wall_ms as i64 + 3_600_000) * 1_000_000;
    let stamp = &mut world.nodes[0].disk.tree.get_mut(&path("a")).unwrap().stamp;
    (stamp.mtime_ns, stamp.ctime_ns) = (later_ns, later_ns);
    world.write(1, "a", b"second");
    while world.turn() {}
    let failure = ApplyFailure::UnknownOutcome("Input/output error".to_owned());
    let applied = Input::Applied { path: path("a"), result: Err(failure) };
    world.nodes[0].engine.handle_input(applied, world.time).unwrap();
    wait_for_a_try(&mut world);
    world.assert_equal();
    let row = world.nodes[0].engine.index.get(&path("a")).unwrap().unwrap();
    assert_eq!(row.entry.version.author, Author::Node(id(1)));
    assert_eq!(world.nodes[0].disk.tree[&path("a")].data, Data::File(b"second".to_vec()));
}

#[test]
fn files_that_were_renamed_to_one_name_one_after_the_other_are_gone_from_their_old_ones() {
    let mut world = linked(2);
    for name in ["a", "b"] {
        world.write(0, name, name.as_bytes());
    }
    world.settle();
    world.rename(0, "a", "c");
    world.rename(0, "b", "c");
    world.write(0, "c", b"saved");
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["c"]);
}

#[test]
fn a_power_cut_is_in_mind_until_everything_was_looked_at() {
    let mut world = World::new(1);
    world.nodes[0].engine.handle_names_synced(Ok(()), world.time).unwrap();
    world.crash(0);
    assert!(world.nodes[0].engine.torn_before_ns.is_some(), "it was killed before its first walk");
    world.nodes[0].engine.handle_stopped().unwrap();
    world.crash(0);
    assert!(world.nodes[0].engine.torn_before_ns.is_some(), "it was stopped before its first walk");
    assert!(world.nodes[0].engine.unattributed_before_ms.is_some());
    world.write(0, "a", b"a");
    world.settle();
    world.crash(0);
    assert_eq!(world.nodes[0].engine.torn_before_ns, None);
}

#[test]
fn nobody_has_it_is_counted_by_itself() {
    let mut world = linked(2);
    let problems = &mut world.nodes[0].engine.paths;
    let (now, second) = (world.time.now, Duration::from_secs(1));
    for _ in 0..9 {
        problems.block(&path("a"), "Input/output error", now);
    }
    problems.block(&path("a"), Why::NoSource, now);
    assert!(!problems.is_without_source(&path("a"), second));
    for _ in 0..9 {
        problems.block(&path("a"), Why::NoSource, now);
    }
    assert!(problems.is_without_source(&path("a"), second));
}

/// Its own directory was deleted by whoever put a file in its place, and is republished by the
/// same node: what is deeper in it is somebody else's.
#[test]
fn a_file_in_the_place_of_a_directory_that_somebody_works_in_is_kept_beside_it() {
    let mut world = linked(2);
    for name in ["a", "a/b"] {
        world.put(0, name, Data::Directory);
    }
    world.settle();
    world.cut(0, 1);
    world.delete(0, "a");
    world.settle();
    world.write(0, "a", b"file");
    world.write(1, "a/b/c", b"deep");
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    let kept = names(&world.nodes[1]).into_iter().find(|name| name.starts_with("a.sync-conflict-"));
    assert!(kept.is_some(), "{:?}", names(&world.nodes[1]));
    assert!(names(&world.nodes[0]).contains(&"a/b/c".to_owned()));
}

/// On a file system that keeps whole seconds, where the watch has lost events. Another node's
/// version knows what was read first, and not what was written then.
#[test]
fn what_may_have_been_written_to_unseen_is_read_before_it_is_replaced() {
    let mut world = linked(2);
    let second_ns = world.time.wall_ms as i64 / 1000 * 1_000_000_000;
    let write = |world: &mut World, bytes: &[u8]| {
        let stamp =
            Stamp { device: 1, inode: 99, size: 5, mtime_ns: second_ns, ctime_ns: second_ns };
        let inode = Inode { data: Data::File(bytes.to_vec()), mode: 0o644, stamp };
        world.nodes[0].disk.tree.insert(path("a"), inode);
    };
    write(&mut world, b"first");
    world.tell(0, path("a"));
    while world.turn() {}
    assert!(world.nodes[0].engine.paths.is_racy(&path("a"), world.time.now));
    write(&mut world, b"other");
    world.time.now += Duration::from_millis(1);
    world.write(1, "a", b"elsewhere");
    world.settle();
    world.assert_equal();
    let held: Vec<_> = world.nodes[0].disk.tree.values().map(|inode| inode.data.clone()).collect();
    for bytes in [&b"other"[..], b"elsewhere"] {
        assert!(held.contains(&Data::File(bytes.to_vec())), "{held:?}");
    }
}

/// The watch tells late that a directory was renamed: it was found under its new name before, and
/// another one under the old name, whose watch is now taken for that of the first. Neither is
/// watched as what it is.
#[test]
fn both_names_of_a_rename_that_is_told_late_are_listed() {
    let mut world = linked(2);
    for name in ["a", "b"] {
        world.put(0, name, Data::Directory);
    }
    world.settle();
    let renamed = Input::Changed(Change::Renamed { from: path("a"), to: path("b") });
    world.nodes[0].engine.handle_input(renamed, world.time).unwrap();
    for name in ["a/unseen", "b/unseen"] {
        world.nodes[0].disk.put(&path(name), Data::File(b"content".to_vec()), 0o644, None);
    }
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a", "a/unseen", "b", "b/unseen"]);
}
