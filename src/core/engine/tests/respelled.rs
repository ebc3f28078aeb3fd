//! Directories that are renamed in case alone, where a disk takes both names for one.

use super::*;

/// Two linked nodes; the disk of node 1 folds.
fn folding() -> World {
    let mut world = linked(2);
    world.nodes[1].disk.folds = true;
    world.nodes[1].engine.config.alters_names = true;
    for directory in ["Docs", "Docs/sub", "Docs/empty"] {
        world.put(0, directory, Data::Directory);
    }
    for (name, bytes) in [("a", b"a".to_vec()), ("sub/b", b"b".to_vec()), ("c", large(3))] {
        world.write(0, &format!("Docs/{name}"), &bytes);
    }
    world.write(0, "Docs/none", b"");
    world.settle();
    world.wait(5);
    world
}

fn problems(world: &World) -> Vec<String> {
    let problems = world.nodes[1].engine.status().unwrap().problems;
    problems.into_iter().map(|problem| format!("{problem:?}")).collect()
}

#[test]
fn a_directory_renamed_in_case_alone_is_renamed_and_nothing_is_sent() {
    let mut world = folding();
    let reads = world.nodes[1].disk.reads;
    let inode = world.inode(1, "Docs/c");
    world.rename(0, "Docs", "docs");
    world.settle();
    world.wait(5);
    world.assert_equal();
    assert_eq!(world.inode(1, "docs/c"), inode);
    assert_eq!((world.nodes[1].disk.trash.len(), world.nodes[1].disk.reads), (0, reads));
}

#[test]
fn what_was_changed_with_it_is_changed() {
    let mut world = folding();
    let inode = world.inode(1, "Docs/c");
    world.cut(0, 1);
    world.rename(0, "Docs", "docs");
    world.settle();
    world.write(0, "docs/a", b"edited");
    world.delete(0, "docs/sub/b");
    world.write(0, "docs/sub/new", b"new");
    world.settle();
    world.link(0, 1);
    world.settle();
    world.wait(5);
    world.assert_equal();
    assert_eq!(world.inode(1, "docs/c"), inode);
    assert!(!names(&world.nodes[1]).iter().any(|name| name.contains("conflict")));
    let old = [b"a", b"b"].map(|bytes| Data::File(bytes.to_vec()));
    assert_eq!(world.nodes[1].disk.trash.iter().filter(|data| old.contains(data)).count(), 2);
    assert_eq!(world.nodes[1].disk.trash.len(), 2);
}

#[test]
fn a_directory_renamed_on_the_disk_that_folds_is_renamed_elsewhere() {
    let mut world = folding();
    let inode = world.inode(0, "Docs/c");
    world.rename(1, "Docs", "docs");
    world.settle();
    world.wait(5);
    world.assert_equal();
    assert_eq!(world.inode(0, "docs/c"), inode);
    let has_content = |data: &&Data| matches!(data, Data::File(bytes) if !bytes.is_empty());
    assert_eq!(world.nodes[0].disk.trash.iter().find(has_content), None);
}

#[test]
fn two_directories_of_names_that_the_disk_takes_for_one_are_a_problem() {
    let mut world = folding();
    world.put(0, "docs", Data::Directory);
    world.write(0, "docs/other", b"other");
    world.settle();
    world.wait(60);
    assert!(problems(&world).iter().any(|problem| problem.contains("both names")));
    assert!(names(&world.nodes[1]).contains(&"Docs/a".to_owned()));
    // It is as good as renamed when the other one goes.
    for name in ["Docs/a", "Docs/sub/b", "Docs/c", "Docs/none"] {
        world.delete(0, name);
    }
    for name in ["Docs/sub", "Docs/empty", "Docs"] {
        world.delete(0, name);
    }
    world.settle();
    world.wait(70);
    world.assert_equal();
}
