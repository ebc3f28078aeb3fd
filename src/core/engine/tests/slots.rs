//! What cannot be put where it is wanted holds up nothing else, and is tried again.

use super::*;
use crate::{
    core::seam::ApplyFailure,
    model::{
        entry::{Content, Digest},
        limits::{MAX_BLOCKED, MAX_CROWD_TRIES, MAX_DOWNLOADS, MAX_LARGE_DOWNLOADS},
    },
    wire::message::Message,
};

const REASON: &str = "Operation not permitted";

/// Two nodes, of which the second cannot write to `d`.
fn with_locked_directory() -> World {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.settle();
    world.nodes[1].disk.locked.insert(path("d"), REASON);
    world
}

/// Time goes by until nothing rests any more.
fn wait_for_all(world: &mut World) {
    world.wait(RETRY_DELAY_MAX.as_secs() * 2);
    world.settle();
}

fn unlock(world: &mut World) {
    world.nodes[1].disk.locked.clear();
    wait_for_all(world);
    world.assert_equal();
    assert!(world.nodes[1].disk.partials.is_empty());
}

fn distinct(count: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..count).map(|at| {
        let mut bytes = large(1);
        bytes[..8].copy_from_slice(&at.to_be_bytes());
        (format!("{at:03}"), bytes)
    })
}

#[test]
fn large_files_that_cannot_be_written_hold_up_no_other_and_are_not_fetched() {
    let mut world = with_locked_directory();
    let before = world.sent_by[0];
    for (name, bytes) in distinct(MAX_LARGE_DOWNLOADS * 3) {
        world.write(0, &format!("d/{name}"), &bytes);
    }
    wait_for_all(&mut world);
    assert_eq!(world.nodes[1].engine.status().unwrap().problems.len(), MAX_LARGE_DOWNLOADS * 3);
    assert!(world.sent_by[0] - before < LARGE as u64, "{} bytes", world.sent_by[0] - before);
    world.write(0, "large", &large(2));
    while world.turn() {}
    assert!(world.nodes[1].disk.tree.contains_key(&path("large")));
    unlock(&mut world);
}

/// What nobody could tell before: each is fetched once.
#[test]
fn large_files_that_turn_out_not_to_be_writable_hold_up_no_other_and_are_fetched_once() {
    let mut world = linked(2);
    let count = MAX_LARGE_DOWNLOADS * 2;
    for (name, bytes) in distinct(count) {
        world.nodes[1].disk.refused.insert(path(&name), REASON);
        world.write(0, &name, &bytes);
    }
    let before = (world.sent_by[0], world.nodes[1].disk.refusals);
    wait_for_all(&mut world);
    world.write(0, "large", &large(2));
    while world.turn() {}
    assert!(world.nodes[1].disk.tree.contains_key(&path("large")));
    let sent = world.sent_by[0] - before.0;
    assert!(sent < LARGE as u64 * (count as u64 + 2), "{sent} bytes");
    assert!(world.nodes[1].disk.refusals > before.1 + 2 * count as u64, "they were tried again");
    world.nodes[1].disk.refused.clear();
    wait_for_all(&mut world);
    world.assert_equal();
    let sent = world.sent_by[0] - before.0;
    assert!(sent < LARGE as u64 * (count as u64 + 2), "{sent} bytes");
}

#[test]
fn what_is_kept_of_a_file_that_cannot_be_written_goes_with_the_file() {
    let mut world = linked(2);
    world.nodes[1].disk.refused.insert(path("a"), REASON);
    world.write(0, "a", &large(1));
    wait_for_all(&mut world);
    assert_eq!(world.nodes[1].disk.partials.len(), 1);
    world.delete(0, "a");
    world.settle();
    world.assert_equal();
    assert!(world.nodes[1].disk.partials.is_empty());
}

#[test]
fn a_kept_file_that_somebody_has_removed_is_fetched_again() {
    let mut world = linked(2);
    world.nodes[1].disk.refused.insert(path("a"), REASON);
    world.write(0, "a", &large(1));
    world.settle();
    world.nodes[1].disk.partials.clear();
    world.nodes[1].disk.refused.clear();
    wait_for_all(&mut world);
    world.assert_equal();
}

/// Another path that wants the same content gets it, though the first cannot have it.
#[test]
fn content_that_one_path_cannot_have_is_given_to_another() {
    let mut world = with_locked_directory();
    world.nodes[1].disk.refused.insert(path("a"), REASON);
    world.write(0, "a", &large(1));
    world.write(0, "b", &large(1));
    world.write(0, "d/c", &large(1));
    wait_for_all(&mut world);
    assert!(world.nodes[1].disk.tree.contains_key(&path("b")));
    world.nodes[1].disk.refused.clear();
    unlock(&mut world);
}

/// What has been fetched is for a path that cannot have it when it has come, since its directory
/// could not be made.
#[test]
fn content_that_has_come_for_a_path_without_a_directory_is_given_to_another() {
    let mut world = World::new(2);
    world.nodes[1].disk.refused.insert(path("d"), REASON);
    world.write(0, "a", &large(1));
    world.settle();
    world.put(0, "d", Data::Directory);
    world.write(0, "d/b", &large(1));
    world.settle();
    world.link_all();
    world.settle();
    assert!(world.nodes[1].disk.tree.contains_key(&path("a")));
    world.nodes[1].disk.refused.clear();
    wait_for_all(&mut world);
    world.assert_equal();
}

#[test]
fn a_download_that_nobody_wants_any_more_is_dropped_though_nothing_comes() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    // It is told of, and nothing of it has come.
    world.messages_per_turn = 1;
    while !world.nodes[1].engine.transfers.has_downloads() {
        world.turn();
    }
    let engine = &mut world.nodes[1].engine;
    let row = engine.index.get(&path("a")).unwrap().unwrap();
    let entry = crate::model::entry::Entry { content: None, mode: 0, mtime_ns: 0, ..row.entry };
    engine.index.put(&path("a"), &Row::new(entry, None)).unwrap();
    let start = world.time.now;
    while world.time.now < start + ORPHAN_WAIT * 3 {
        world.time.now += Duration::from_millis(100);
        world.nodes[1].engine.handle_timeout(world.time).unwrap();
    }
    assert!(!world.nodes[1].engine.transfers.has_downloads());
}

#[test]
fn thousands_that_cannot_be_written_are_counted_and_tried_at_a_bounded_rate() {
    let mut world = with_locked_directory();
    let count = MAX_BLOCKED + 2 * MAX_CROWD_TRIES;
    for at in 0..count {
        world.put(0, &format!("d/{at}"), Data::Symlink(b"t".to_vec()));
    }
    wait_for_all(&mut world);
    let status = world.nodes[1].engine.status().unwrap();
    assert_eq!(
        (status.problems.len(), status.more_problems as usize),
        (MAX_BLOCKED, count - MAX_BLOCKED)
    );
    let before = world.nodes[1].disk.refusals;
    world.wait(RETRY_DELAY_MAX.as_secs() * 4);
    let tries = world.nodes[1].disk.refusals - before;
    assert!(tries <= 5 * (MAX_BLOCKED + MAX_CROWD_TRIES) as u64, "{tries} tries in four minutes");
    world.write(0, "ok", b"ok");
    while world.turn() {}
    assert!(world.nodes[1].disk.tree.contains_key(&path("ok")));
    unlock(&mut world);
    assert_eq!(world.nodes[1].engine.status().unwrap().more_problems, 0);
}

#[test]
fn a_newer_version_of_what_could_not_be_written_is_tried_at_once() {
    let mut world = linked(2);
    world.nodes[1].disk.refused.insert(path("a"), REASON);
    world.write(0, "a", b"first");
    wait_for_all(&mut world);
    world.nodes[1].disk.refused.clear();
    world.write(0, "a", b"second");
    while world.turn() {}
    assert_eq!(world.nodes[1].disk.tree[&path("a")].data, Data::File(b"second".to_vec()));
}

/// More than there are downloads are wanted; the passes do not begin anew whenever one ends.
#[test]
fn those_that_wait_for_a_download_are_gone_through_once() {
    const COUNT: usize = 100;
    let mut world = World::new(2);
    for (name, bytes) in distinct(COUNT) {
        world.write(0, &name, &bytes);
    }
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    let steps = world.nodes[1].engine.placement.steps;
    assert!(steps < COUNT as u64 * 10, "{steps} steps for {COUNT} files");
}

/// Small files are fetched when they are tried again: then they have slots of their own.
#[test]
fn small_files_that_cannot_be_written_hold_up_no_other() {
    let mut world = linked(2);
    let names = (0..MAX_DOWNLOADS + 6).map(|at| format!("{at}")).chain(["z".to_owned()]);
    for name in names {
        world.nodes[1].disk.refused.insert(path(&name), REASON);
        world.write(0, &name, name.as_bytes());
    }
    wait_for_all(&mut world);
    world.nodes[1].disk.refused.remove(&path("z"));
    wait_for_all(&mut world);
    assert!(world.nodes[1].disk.tree.contains_key(&path("z")));
    world.nodes[1].disk.refused.clear();
    wait_for_all(&mut world);
    world.assert_equal();
}

/// A directory of small files goes, and comes again with the same names, before the first ones have
/// come.
#[test]
fn small_files_that_are_removed_and_made_anew_all_arrive() {
    for again in [false, true] {
        let mut world = linked(2);
        (world.turn_time, world.messages_per_turn) = (Duration::from_millis(1), 40);
        for round in 0..3 {
            world.put(0, "d", Data::Directory);
            for at in 0..400 {
                world.write(0, &format!("d/{at}"), b"");
                let content = if again { at } else { at + round * 1000 };
                world.write(0, &format!("d/{at}"), format!("content {content}").as_bytes());
            }
            for _ in 0..6 {
                world.turn();
            }
            if round < 2 {
                world.delete(0, "d");
                for _ in 0..round * 5 {
                    world.turn();
                }
            }
        }
        world.settle();
        world.assert_equal();
    }
}

/// A file was renamed, and can neither leave its old path nor be put at the new one; a third path
/// has its content, too.
#[test]
fn what_waits_for_a_rename_is_come_by_again_when_the_wait_ends_early() {
    let mut world = linked(2);
    world.put(0, "0", Data::Directory);
    world.write(0, "1", &large(1));
    world.write(0, "a", &large(1));
    world.settle();
    world.nodes[1].disk.locked.insert(path("0"), REASON);
    world.nodes[1].disk.refused.insert(path("a"), REASON);
    world.rename(0, "a", "0/b");
    world.settle();
    world.nodes[1].disk.refused.clear();
    unlock(&mut world);
}

/// A file is on its way, in two ways, when it is deleted where it comes from; only then what was
/// begun for it fails.
#[test]
fn what_fails_when_nobody_wants_it_any_more_is_no_problem() {
    let failures: [fn(Digest) -> Input<'static>; 4] = [
        |digest| Input::PieceFailed { digest, reason: REASON.to_owned() },
        |digest| Input::Copied { digest, result: Err(ApplyFailure::Content) },
        |digest| Input::Assembled {
            digest,
            result: Err(ApplyFailure::NotWritable(REASON.to_owned())),
        },
        |digest| Input::Message { node: id(0), message: Message::Unavailable { digest } },
    ];
    for failure in failures {
        let mut world = linked(2);
        world.messages_per_turn = 1;
        world.write(0, "a", &large(1));
        let told = |world: &World| world.nodes[1].engine.index().get(&path("a")).unwrap();
        while told(&world).is_none() {
            assert!(world.turn());
        }
        let content = told(&world).unwrap().entry.content;
        let Some(Content::File { digest, .. }) = content else { panic!("{content:?}") };
        let is_fetching = |world: &World| world.nodes[1].engine.transfers.is_fetching(&digest);
        while !is_fetching(&world) {
            assert!(world.turn());
        }
        world.delete(0, "a");
        while !told(&world).unwrap().entry.is_tombstone() {
            assert!(world.turn());
        }
        assert!(is_fetching(&world), "nobody has looked yet whether it is wanted");
        world.nodes[1].engine.handle_input(failure(digest), world.time).unwrap();
        assert_eq!(world.nodes[1].engine.status().unwrap().problems, [], "{:?}", failure(digest));
    }
}

/// A directory was removed, which could not be carried out here; it is republished for what is in
/// it, and cannot be changed.
#[test]
fn what_is_in_a_directory_that_is_stated_anew_gets_there_though_the_directory_cannot_be_changed() {
    let mut world = linked(3);
    world.put(0, "d", Data::Directory);
    world.settle();
    world.cut(0, 2);
    world.nodes[1].disk.refused.insert(path("d"), REASON);
    world.delete(0, "d");
    world.write(2, "d/a", b"a");
    for _ in 0..100 {
        world.turn();
        world.time.now += Duration::from_millis(20);
        assert_eq!(world.nodes[1].engine.check_schedule(world.time.now).unwrap(), None);
    }
    assert!(world.nodes[1].disk.tree.contains_key(&path("d/a")));
    world.nodes[1].disk.refused.clear();
    world.link(0, 2);
    wait_for_all(&mut world);
    world.assert_equal();
}
