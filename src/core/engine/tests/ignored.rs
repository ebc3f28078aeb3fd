//! What the ignore rules name is left alone everywhere, and is neither deleted nor lost when they
//! go.

use super::*;
use crate::{
    core::seam::{Found, Listed, RuleText},
    model::{entry::Content, limits::MAX_IGNORE_RULES, version::Author},
};

/// Both hold `d/x.o`, `d/y` and `c/f`, and are in sync.
fn holding(count: u8) -> World {
    let mut world = linked(count);
    for directory in ["c", "d"] {
        world.put(0, directory, Data::Directory);
    }
    for (name, bytes) in [("c/f", "eff"), ("d/x.o", "object"), ("d/y", "source")] {
        world.write(0, name, bytes.as_bytes());
    }
    world.settle();
    world.assert_equal();
    world
}

fn set_rules(world: &mut World, rules: &str) {
    world.write(0, ".p2pignore", rules.as_bytes());
    world.settle();
}

fn drop_rules(world: &mut World) {
    world.delete(0, ".p2pignore");
    world.settle();
}

/// Nothing is wanted or wrong anywhere, and everybody knows that.
fn assert_in_sync(world: &World) {
    for node in &world.nodes {
        let status = node.engine.status().unwrap();
        assert_eq!((status.wanted, status.wanted_bytes), (0, 0), "node {}", status.node);
        assert_eq!(status.problems, [], "node {}", status.node);
        assert!(
            status.peers.iter().all(|peer| peer.in_sync),
            "node {}: {:?}",
            status.node,
            status.peers
        );
    }
}

fn held(world: &World, node: usize, name: &str) -> Option<Data> {
    world.nodes[node].disk.tree.get(&path(name)).map(|inode| inode.data.clone())
}

fn file(bytes: &str) -> Option<Data> {
    Some(Data::File(bytes.as_bytes().to_vec()))
}

#[test]
fn what_was_deleted_while_it_was_ignored_is_fetched_when_the_rule_goes() {
    for rules in ["c", "c/", "/c/f", "*\n!d", "f", "c/*"] {
        let mut world = holding(3);
        let all = names(&world.nodes[0]);
        set_rules(&mut world, rules);
        assert_in_sync(&world);
        world.delete(0, if rules == "/c/f" { "c/f" } else { "c" });
        world.settle();
        assert_in_sync(&world);
        assert_eq!(held(&world, 1, "c/f"), file("eff"), "{rules:?}");
        drop_rules(&mut world);
        world.assert_equal();
        assert_eq!(names(&world.nodes[0]), all, "{rules:?}");
        assert_eq!(held(&world, 0, "c/f"), file("eff"));
        assert!(world.nodes.iter().all(|node| node.disk.trash.len() <= 1), "the rules alone");
    }
}

#[test]
fn so_is_what_was_deleted_before_a_stop_when_the_rule_goes_during_it() {
    for rules in ["c", "c/", "f"] {
        let mut world = holding(2);
        let all = names(&world.nodes[0]);
        set_rules(&mut world, rules);
        world.delete(0, "c");
        world.settle();
        world.nodes[0].disk.tree.remove(&path(".p2pignore"));
        world.crash(0);
        world.link_all();
        world.settle();
        world.assert_equal();
        assert_eq!(names(&world.nodes[1]), all, "{rules:?}");
    }
}

#[test]
fn so_is_what_was_deleted_during_a_stop_in_which_the_rule_goes_too() {
    let mut world = holding(2);
    set_rules(&mut world, "c/\n*.o");
    for name in ["c/f", "c", "d/x.o", ".p2pignore"] {
        world.nodes[0].disk.tree.remove(&path(name));
    }
    world.crash(0);
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["c", "c/f", "d", "d/x.o", "d/y"]);
}

#[test]
fn a_node_that_is_killed_while_the_rules_change_begins_again() {
    let mut world = holding(2);
    set_rules(&mut world, "c");
    world.delete(0, "c");
    world.settle();
    let input = Input::IgnoreRules { text: Ok(Some(b"# none".to_vec())), through: Vec::new() };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
    world.time.now += Duration::from_secs(2);
    let input = Input::IgnoreRules { text: Ok(Some(Vec::new())), through: Vec::new() };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
    assert!(world.nodes[0].engine.has_work());
    world.nodes[0].engine.handle_names_synced(Ok(()), world.time).unwrap();
    world.nodes[0].disk.tree.remove(&path(".p2pignore"));
    world.crash(0);
    assert!(world.nodes[0].engine.rules.are_changing());
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(held(&world, 0, "c/f"), file("eff"));
}

#[test]
fn rules_that_come_while_others_take_effect_have_their_turn() {
    let mut world = holding(2);
    world.delete(1, "c/f");
    world.settle();
    for rules in ["d", "c", "*.o"] {
        let input = Input::IgnoreRules { text: Ok(Some(rules.into())), through: Vec::new() };
        world.nodes[0].engine.handle_input(input, world.time).unwrap();
    }
    let engine = &world.nodes[0].engine;
    let is_ignored = |name: &str| engine.is_ignored(&path(name), None, None);
    assert!(is_ignored("d") && is_ignored("x.o") && !is_ignored("e"), "either says so");
    while world.turn() {}
    let engine = &world.nodes[0].engine;
    let is_ignored = |name: &str| engine.is_ignored(&path(name), None, None);
    assert!(!is_ignored("d") && !is_ignored("c") && is_ignored("x.o"));
}

#[test]
fn rules_whose_file_is_gone_for_a_moment_hold() {
    let mut world = holding(2);
    set_rules(&mut world, "secret");
    world.delete(0, ".p2pignore");
    world.write(0, "secret", b"s");
    while world.turn() {}
    world.write(0, ".p2pignore", b"secret\nother");
    world.write(0, "other", b"o");
    world.settle();
    world.wait(5);
    assert_eq!((held(&world, 1, "secret"), held(&world, 1, "other")), (None, None));
    world.delete(0, ".p2pignore");
    world.settle();
    world.assert_equal();
    assert_eq!(held(&world, 1, "secret"), file("s"));
}

#[test]
fn an_edit_of_one_side_while_ignored_is_taken_and_edits_of_both_conflict() {
    let mut world = holding(2);
    set_rules(&mut world, "c\n*.o");
    world.write(0, "d/x.o", b"only here");
    world.write(0, "c/f", b"left");
    world.time.wall_ms += 1000;
    world.write(1, "c/f", b"right");
    world.settle();
    assert_in_sync(&world);
    assert_eq!((held(&world, 0, "c/f"), held(&world, 1, "c/f")), (file("left"), file("right")));
    drop_rules(&mut world);
    world.assert_equal();
    assert_eq!(held(&world, 1, "d/x.o"), file("only here"));
    let copies: Vec<_> =
        names(&world.nodes[0]).into_iter().filter(|name| name.contains("conflict")).collect();
    assert!(matches!(&copies[..], [copy] if copy.starts_with("c/f.sync-conflict")), "{copies:?}");
    assert_eq!(
        (held(&world, 0, "c/f"), held(&world, 0, &copies[0])),
        (file("right"), file("left"))
    );
}

#[test]
fn an_ignored_directory_that_goes_as_a_whole_stays_elsewhere_and_all_are_in_sync() {
    for rules in ["d/", "d", "*.o\ny"] {
        let mut world = holding(2);
        let all = names(&world.nodes[1]);
        set_rules(&mut world, rules);
        world.delete(0, "d");
        world.settle();
        assert_in_sync(&world);
        assert!(all.iter().all(|name| held(&world, 1, name).is_some()), "{rules:?}");
        world.write(0, "c/f", b"goes on");
        world.settle();
        assert_eq!(held(&world, 1, "c/f"), file("goes on"));
        drop_rules(&mut world);
        world.assert_equal();
        assert_eq!(names(&world.nodes[0]), all, "{rules:?}");
    }
}

#[test]
fn of_a_directory_that_is_removed_what_is_ignored_stays_elsewhere_and_so_does_the_directory() {
    let mut world = holding(3);
    set_rules(&mut world, "*.o");
    world.delete(0, "d");
    world.settle();
    assert_in_sync(&world);
    for node in [1, 2] {
        assert_eq!(held(&world, node, "d/x.o"), file("object"));
        assert_eq!(held(&world, node, "d/y"), None, "is deleted");
    }
    assert_eq!((held(&world, 0, "d"), held(&world, 0, "d/x.o")), (Some(Data::Directory), None));
    drop_rules(&mut world);
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["c", "c/f", "d", "d/x.o"]);
}

#[test]
fn a_directory_that_is_deleted_elsewhere_and_holds_what_nobody_was_told_of_is_kept() {
    let mut world = holding(2);
    set_rules(&mut world, "*.o");
    world.write(1, "c/local.o", b"here alone");
    world.settle();
    world.delete(0, "c");
    world.settle();
    assert_in_sync(&world);
    assert_eq!(held(&world, 0, "c"), Some(Data::Directory));
    assert_eq!((held(&world, 1, "c/local.o"), held(&world, 1, "c/f")), (file("here alone"), None));
}

#[test]
fn so_is_one_in_whose_place_there_is_a_file_elsewhere() {
    let mut world = holding(2);
    set_rules(&mut world, "*.o");
    world.write(1, "c/local.o", b"here alone");
    world.settle();
    world.delete(0, "c");
    world.write(0, "c", b"a file");
    world.settle();
    assert_in_sync(&world);
    assert_eq!(held(&world, 0, "c"), Some(Data::Directory));
    assert_eq!(held(&world, 1, "c/local.o"), file("here alone"));
    let copies =
        names(&world.nodes[0]).into_iter().filter(|name| name.starts_with("c.sync-conflict"));
    assert_eq!(copies.count(), 1, "{:?}", names(&world.nodes[0]));
}

/// Whose it is, is known also when the rule has gone by then.
#[test]
fn a_file_in_the_place_of_a_directory_that_held_what_was_ignored_is_kept_beside_it() {
    let mut world = holding(2);
    set_rules(&mut world, "c/*");
    world.delete(0, "c");
    world.write(0, "c", b"a file");
    world.write(0, ".p2pignore", b"# none");
    world.settle();
    world.assert_equal();
    assert_eq!(held(&world, 0, "c/f"), file("eff"));
    let copies =
        names(&world.nodes[1]).into_iter().filter(|name| name.starts_with("c.sync-conflict"));
    assert_eq!(copies.count(), 1, "{:?}", names(&world.nodes[1]));
}

/// What cannot be synchronised at all is no reason to be out of sync, either.
#[test]
fn so_is_one_that_holds_a_socket() {
    let mut world = holding(2);
    world.delete(1, "c/f");
    world.settle();
    let row = world.nodes[0].engine.index().get(&path("c")).unwrap().unwrap();
    let mut gone = row.clone();
    gone.entry.content = None;
    gone.base = gone.base.map(|base| base.outdated(|| row.entry.version));
    let engine = &mut world.nodes[0].engine;
    engine.index.put(&path("c"), &gone).unwrap();
    engine.scan.request_listing(path("c"));
    engine.handle_work(world.time).unwrap();
    while engine.poll_output().is_some() {}
    let mut stat = world.nodes[0].disk.stat(&path("c")).unwrap();
    stat.kind = FileKind::Other;
    let entries = vec![(b"socket".as_slice().into(), Ok(stat))];
    let listed = Listed::Batch { entries, watched: true, last: true };
    let engine = &mut world.nodes[0].engine;
    engine.handle_input(Input::Listed { directory: path("c"), listed }, world.time).unwrap();
    let now = engine.index().get(&path("c")).unwrap().unwrap();
    assert_eq!(
        (now.entry.content, now.entry.version.author),
        (Some(Content::Directory), Author::Node(id(0)))
    );
}

#[test]
fn a_newcomer_does_not_want_what_is_ignored() {
    let mut world = World::new(3);
    world.settle();
    world.link(0, 1);
    world.write(0, "big", &large(3));
    world.write(0, "small", b"s");
    world.settle();
    world.write(0, ".p2pignore", b"big\n");
    world.settle();
    world.link(1, 2);
    world.link(0, 2);
    world.settle();
    assert_in_sync(&world);
    assert!(held(&world, 2, "small").is_some());
    drop_rules(&mut world);
    world.assert_equal();
    assert!(held(&world, 2, "big").is_some());
}

#[test]
fn what_is_gone_everywhere_when_the_rule_goes_is_given_up() {
    let mut world = holding(3);
    set_rules(&mut world, "*.o");
    (0..3).for_each(|node| world.delete(node, "d/x.o"));
    // Not by its maker, who is not there.
    world.cut(0, 1);
    world.cut(0, 2);
    world.delete(1, ".p2pignore");
    world.settle();
    assert_eq!(world.nodes[1].engine.status().unwrap().wanted, 1);
    world.link_all();
    world.settle();
    world.wait(200);
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["c", "c/f", "d", "d/y"]);
}

#[test]
fn what_others_delete_is_not_deleted_where_it_is_ignored() {
    let mut world = holding(2);
    let input = || Input::IgnoreRules { text: Ok(Some(b"c".to_vec())), through: Vec::new() };
    world.nodes[0].engine.handle_input(input(), world.time).unwrap();
    world.settle();
    world.delete(1, "c");
    world.settle();
    assert_in_sync(&world);
    assert_eq!(held(&world, 0, "c/f"), file("eff"));
    let input = Input::IgnoreRules { text: Ok(Some(Vec::new())), through: Vec::new() };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
    world.settle();
    world.assert_equal();
    assert_eq!(held(&world, 0, "c/f"), None);
}

#[test]
fn a_rename_into_what_is_ignored_is_a_deletion_and_one_out_of_it_a_new_file() {
    let mut world = holding(2);
    set_rules(&mut world, "*.o");
    world.rename(0, "d/y", "d/y.o");
    world.settle();
    assert_in_sync(&world);
    assert_eq!((held(&world, 1, "d/y"), held(&world, 1, "d/y.o")), (None, None));
    world.nodes[0].disk.tree.get_mut(&path("d/x.o")).unwrap().data = Data::File(b"unseen".to_vec());
    world.rename(0, "d/x.o", "d/x");
    world.settle();
    assert_in_sync(&world);
    assert_eq!(
        (held(&world, 1, "d/x"), held(&world, 1, "d/x.o")),
        (file("unseen"), file("object"))
    );
    assert_eq!(names(&world.nodes[0]), [".p2pignore", "c", "c/f", "d", "d/x", "d/y.o"]);
}

#[test]
fn a_rule_for_directories_does_not_hold_for_a_file_of_the_name() {
    let mut world = holding(2);
    set_rules(&mut world, "d/\nnew/");
    world.write(0, "new", b"a file");
    world.settle();
    assert_eq!(held(&world, 1, "new"), file("a file"));
    world.delete(0, "new");
    world.put(0, "new", Data::Directory);
    world.write(0, "new/x", b"ignored");
    world.settle();
    assert_in_sync(&world);
    assert_eq!(held(&world, 1, "new"), None, "the file has gone");
    // What is ignored in the directory keeps it.
    world.delete(0, "d");
    world.write(0, "d", b"a file");
    world.settle();
    assert_in_sync(&world);
    assert_eq!(held(&world, 1, "d/y"), file("source"));
    drop_rules(&mut world);
    world.assert_equal();
    assert_eq!(
        (held(&world, 0, "d/y"), held(&world, 1, "new/x")),
        (file("source"), file("ignored"))
    );
}

#[test]
fn when_an_ignored_directory_goes_the_file_that_is_in_its_place_elsewhere_comes() {
    for events in [true, false] {
        let mut world = linked(2);
        world.put(0, "x", Data::Directory);
        world.settle();
        set_rules(&mut world, "x/");
        world.delete(1, "x");
        world.write(1, "x", b"a file");
        world.settle();
        assert_in_sync(&world);
        assert_eq!(held(&world, 0, "x"), Some(Data::Directory));
        if events {
            world.delete(0, "x");
        } else {
            world.nodes[0].disk.tree.remove(&path("x"));
            world.nodes[0]
                .engine
                .handle_input(Input::Changed(Change::Overflow), world.time)
                .unwrap();
        }
        world.settle();
        world.assert_equal();
        assert_eq!(held(&world, 0, "x"), file("a file"));
    }
}

/// Nobody looks at what is ignored: that the directory went first is not known when the file comes.
#[test]
fn so_does_the_file_that_comes_after_the_ignored_directory_went() {
    let mut world = linked(2);
    world.put(0, "x", Data::Directory);
    world.settle();
    set_rules(&mut world, "x/");
    world.delete(0, "x");
    world.settle();
    world.delete(1, "x");
    world.write(1, "x", b"a file");
    world.settle();
    world.assert_equal();
    assert_eq!(held(&world, 0, "x"), file("a file"));
}

#[test]
fn what_is_put_in_the_place_of_what_is_wanted_and_ignored_there_is_no_problem() {
    let mut world = linked(2);
    set_rules(&mut world, "x/");
    world.cut(0, 1);
    world.put(0, "x", Data::Directory);
    world.write(1, "x", b"a file");
    world.settle();
    world.link_all();
    world.settle();
    world.wait(100);
    assert_in_sync(&world);
    world.nodes[0].disk.tree.remove(&path("x"));
    world.nodes[0].engine.handle_input(Input::Changed(Change::Overflow), world.time).unwrap();
    world.settle();
    world.assert_equal();
    assert_eq!(held(&world, 0, "x"), file("a file"));
}

#[test]
fn rules_that_cannot_be_read_change_nothing_and_those_behind_a_link_are_followed() {
    let mut world = linked(2);
    world.write(0, "rules", b"secret");
    world.put(0, ".p2pignore", Data::Symlink(b"rules".to_vec()));
    world.settle();
    world.write(0, "secret", b"s");
    world.settle();
    assert_eq!(held(&world, 1, "secret"), None);
    // It is changed where it is, and by another node.
    world.write(1, "rules", b"secret\nother");
    world.settle();
    world.write(0, "other", b"o");
    world.settle();
    assert_eq!(held(&world, 1, "other"), None);
    world.delete(0, "rules");
    world.settle();
    world.crash(0);
    world.link_all();
    world.write(0, "secret", b"still");
    world.settle();
    assert_eq!(held(&world, 1, "secret"), None, "the rules before hold, after a restart, too");
}

#[test]
fn rules_that_could_not_be_read_are_read_again() {
    let mut world = linked(1);
    world.nodes[0].disk.put(&path(".p2pignore"), Data::File(b"secret".to_vec()), 0o644, None);
    let input = Input::IgnoreRules { text: Err("no".to_owned()), through: Vec::new() };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
    world.wait(15);
    assert!(world.nodes[0].engine.is_ignored(&path("secret"), None, None));
}

fn tell_rules(world: &mut World, node: usize, text: RuleText) {
    let input = Input::IgnoreRules { text, through: Vec::new() };
    world.nodes[node].engine.handle_input(input, world.time).unwrap();
}

fn problems(world: &World, node: usize) -> Vec<(RelPath, String)> {
    world.nodes[node].engine.status().unwrap().problems
}

#[test]
fn rules_that_do_not_count_are_told_and_those_before_hold() {
    let mut world = linked(2);
    set_rules(&mut world, "secret");
    let too_many = "x\n".repeat(MAX_IGNORE_RULES + 1).into_bytes();
    for refused in [Ok(Some(too_many)), Err("no".to_owned())] {
        tell_rules(&mut world, 0, refused);
        let found = problems(&world, 0);
        let [(at, problem)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(*at, path(".p2pignore"));
        assert!(problem.contains("the rules before hold"), "{problem}");
        let is_ignored = |name: &str| world.nodes[0].engine.is_ignored(&path(name), None, None);
        assert!(is_ignored("secret") && !is_ignored("x"));
        tell_rules(&mut world, 0, Ok(Some(b"secret".to_vec())));
        assert_eq!(problems(&world, 0), []);
    }
}

/// What was handed out is not taken back.
#[test]
fn until_the_rules_were_read_once_everything_is_left_alone() {
    let mut world = World::new(2);
    let disk = &mut world.nodes[0].disk;
    disk.put(&path("secret"), Data::File(b"s".to_vec()), 0o644, None);
    disk.put(&path("other"), Data::File(b"o".to_vec()), 0o644, None);
    disk.put(&path(".p2pignore"), Data::Symlink(b"rules".to_vec()), 0o777, None);
    for _ in 0..2 {
        world.settle();
        world.link_all();
        world.settle();
        assert_eq!((held(&world, 1, "secret"), held(&world, 1, "other")), (None, None));
        let [(_, problem)] = &problems(&world, 0)[..] else { panic!("it is told") };
        assert!(problem.contains("nothing is synchronised"), "{problem}");
        world.wait(2);
        world.crash(0);
    }
    world.link_all();
    world.write(0, "rules", b"secret");
    world.settle();
    assert_eq!((held(&world, 1, "secret"), held(&world, 1, "other")), (None, file("o")));
    assert_eq!(problems(&world, 0), []);
}

#[test]
fn rules_that_are_found_in_their_place_count() {
    let mut world = linked(2);
    world.cut(0, 1);
    for node in [0, 1] {
        world.nodes[node].disk.put(
            &path(".p2pignore"),
            Data::File(b"secret".to_vec()),
            0o644,
            Some(5),
        );
    }
    world.tell(1, path(".p2pignore"));
    world.settle();
    world.link(0, 1);
    world.nodes[0].disk.refused.insert(path(".p2pignore"), "the disk fails");
    world.settle();
    // No event tells of it, as after a change whose outcome could not be seen.
    let seen = Input::Seen {
        path: path(".p2pignore"),
        stat: Ok(world.nodes[0].disk.stat(&path(".p2pignore"))),
    };
    world.nodes[0].engine.handle_input(seen, world.time).unwrap();
    world.settle();
    assert!(world.nodes[0].engine.is_ignored(&path("secret"), None, None));
}

#[test]
fn a_problem_of_what_is_ignored_by_now_is_none() {
    let mut world = holding(2);
    world.nodes[1].disk.refused.insert(path("c/new"), "not allowed");
    world.write(0, "c/new", b"n");
    while world.turn() {}
    assert_eq!(world.nodes[1].engine.status().unwrap().problems.len(), 1);
    set_rules(&mut world, "c");
    assert_in_sync(&world);
}

/// It was being read when the rules came.
#[test]
fn what_cannot_be_read_and_is_ignored_is_no_problem() {
    let mut world = holding(2);
    set_rules(&mut world, "c");
    let found = Found::Unreadable("Input/output error".to_owned());
    world.nodes[1]
        .engine
        .handle_input(Input::Read { path: path("c/f"), found }, world.time)
        .unwrap();
    assert_in_sync(&world);
}

/// It was being written when the rules came.
#[test]
fn a_problem_of_what_is_ignored_ends_though_it_cannot_be_looked_at() {
    let mut world = holding(2);
    set_rules(&mut world, "c");
    let engine = &mut world.nodes[1].engine;
    engine.paths.block(&path("c/f"), "Input/output error", world.time.now);
    let stat = Err("Input/output error".to_owned());
    engine.handle_input(Input::Seen { path: path("c/f"), stat }, world.time).unwrap();
    assert_in_sync(&world);
}

/// Its stamp says that it is what it was: only that a power cut tore it, in a run that did not look
/// at it.
#[test]
fn what_was_torn_while_it_was_ignored_is_read_when_the_rule_goes() {
    let mut world = holding(2);
    set_rules(&mut world, "f");
    world.settle();
    world.nodes[1].disk.tree.get_mut(&path("c/f")).unwrap().data = Data::File(b"\0\0\0".to_vec());
    world.crash(1);
    world.nodes[1].engine.torn_before_ns = Some(i64::MAX);
    world.settle();
    world.link(0, 1);
    world.settle();
    drop_rules(&mut world);
    world.assert_equal();
    assert_eq!(held(&world, 1, "c/f"), file("eff"));
}
