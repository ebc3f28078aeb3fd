//! Ordinary work on linked hosts, in both directions.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    time::{Duration, UNIX_EPOCH},
};

use crate::harness::{Lab, noise};

#[test]
fn edits_travel_both_ways() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for (i, (writer, reader)) in [(a, b), (b, a), (a, b), (b, a)].into_iter().enumerate() {
        writer.write("note.txt", format!("edit {i}"));
        lab.wait_identical();
        assert_eq!(reader.read("note.txt"), format!("edit {i}"));
    }
    a.assert_no_conflicts();
}

#[test]
fn appends_and_overwrites_in_the_middle_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("log", noise(7, 400_000));
    lab.wait_identical();
    fs::OpenOptions::new().append(true).open(a.path("log")).unwrap().write_all(b"tail").unwrap();
    lab.wait_identical();
    let mut file = fs::OpenOptions::new().write(true).open(b.path("log")).unwrap();
    file.seek(SeekFrom::Start(123_456)).unwrap();
    file.write_all(b"middle").unwrap();
    drop(file);
    lab.wait_identical();
    let content = fs::read(a.path("log")).unwrap();
    assert!(content.ends_with(b"tail") && &content[123_456..123_462] == b"middle");
    a.write("log", "short now");
    lab.wait_identical();
    assert_eq!(b.read("log"), "short now");
}

#[test]
fn file_that_is_kept_open_travels_all_the_same() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let mut file = fs::File::create(a.path("open.log")).unwrap();
    file.write_all(b"first line\n").unwrap();
    lab.wait_identical();
    file.write_all(b"second line\n").unwrap();
    lab.wait_identical();
    assert_eq!(b.read("open.log"), "first line\nsecond line\n");
}

#[test]
fn editors_that_save_by_rename_make_no_conflict() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..10 {
        let host = if i % 2 == 0 { a } else { b };
        host.write(".doc.swp", format!("save {i}"));
        host.rename(".doc.swp", "doc");
        lab.wait_identical();
        assert_eq!((a.read("doc"), b.read("doc")), (format!("save {i}"), format!("save {i}")));
    }
    assert_eq!(a.tree().len(), 1);
}

#[test]
fn deletes_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("keep", "k");
    a.write("go", "g");
    a.write("d/e/f", "deep");
    a.symlink("keep", "link");
    lab.wait_identical();
    b.remove("go");
    a.remove("d");
    b.remove("link");
    lab.wait_identical();
    assert_eq!(a.tree().keys().collect::<Vec<_>>(), [b"keep"]);
    b.write("go", "again");
    lab.wait_identical();
    assert_eq!(a.read("go"), "again");
    a.assert_no_conflicts();
}

#[test]
fn renames_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("one", "1");
    a.write("two", noise(9, 100_000));
    lab.wait_identical();
    a.rename("one", "uno");
    b.mkdir("d");
    b.rename("two", "d/due");
    lab.wait_identical();
    assert_eq!(b.read("uno"), "1");
    assert!(a.has("d/due") && !a.has("two") && !b.has("one"));
    // Over another file, and two files that change places.
    a.rename("uno", "d/due");
    lab.wait_identical();
    assert_eq!(b.read("d/due"), "1");
    a.write("x", "x");
    a.write("y", "y");
    lab.wait_identical();
    b.rename("x", "z");
    b.rename("y", "x");
    b.rename("z", "y");
    lab.wait_identical();
    assert_eq!((a.read("x"), a.read("y")), ("y".into(), "x".into()));
    a.assert_no_conflicts();
}

#[test]
fn moved_directory_keeps_its_content() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..50 {
        a.write(format!("old/{}/{i}", i % 5), noise(i, 2000));
    }
    a.write("old/large", noise(99, 500_000));
    lab.wait_identical();
    let before = a.tree().len();
    a.rename("old", "new");
    lab.wait_identical();
    b.mkdir("shelf");
    b.rename("new", "shelf/newest");
    lab.wait_identical();
    assert_eq!(a.tree().len(), before + 1);
    assert_eq!(fs::read(a.path("shelf/newest/large")).unwrap(), noise(99, 500_000));
    assert!(!a.has("old") && !a.has("new") && !b.has("new"));
    a.write("shelf/newest/0/after", "the moved directory is still watched");
    lab.wait_identical();
    assert!(b.has("shelf/newest/0/after"));
}

#[test]
fn nested_trees_made_at_once_arrive_whole() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let deep = (0..30).map(|i| format!("level{i}")).collect::<Vec<_>>().join("/");
    a.write(format!("{deep}/leaf"), "bottom");
    for i in 0..20 {
        b.write(format!("wide/{i}/{i}/{i}"), "x");
    }
    lab.wait_identical();
    assert_eq!(b.read(format!("{deep}/leaf")), "bottom");
    assert!(a.has("wide/19/19/19"));
    a.remove("level0");
    lab.wait_identical();
    assert!(!b.has("level0"));
}

#[test]
fn empty_directories_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.mkdir("empty/inner");
    b.mkdir("other");
    lab.wait_identical();
    assert!(b.path("empty/inner").is_dir() && a.path("other").is_dir());
    b.remove("empty/inner");
    lab.wait_identical();
    assert!(a.path("empty").is_dir() && !a.has("empty/inner"));
}

#[test]
fn symbolic_links_travel_as_links() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/file", "in the tree");
    a.symlink("nowhere", "dangling");
    a.symlink("/etc/hostname", "outside");
    a.symlink("../../..", "up");
    a.symlink("d", "to-directory");
    a.symlink(".", "to-itself");
    lab.wait_identical();
    assert_eq!(fs::read_link(b.path("dangling")).unwrap().to_str(), Some("nowhere"));
    assert_eq!(fs::read_link(b.path("outside")).unwrap().to_str(), Some("/etc/hostname"));
    assert_eq!(b.read("to-directory/file"), "in the tree");
    assert_eq!(a.tree().len(), 7, "a link was followed");
    b.remove("outside");
    b.symlink("/etc/passwd", "outside");
    lab.wait_identical();
    assert_eq!(fs::read_link(a.path("outside")).unwrap().to_str(), Some("/etc/passwd"));
}

#[test]
fn kinds_may_change() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("thing", "a file");
    lab.wait_identical();
    b.remove("thing");
    b.write("thing/inside", "a directory");
    lab.wait_identical();
    assert_eq!(a.read("thing/inside"), "a directory");
    a.remove("thing");
    a.symlink("elsewhere", "thing");
    lab.wait_identical();
    assert!(b.path("thing").is_symlink());
    b.remove("thing");
    b.write("thing", "a file again");
    lab.wait_identical();
    assert_eq!(a.read("thing"), "a file again");
    a.assert_no_conflicts();
}

#[test]
fn permission_bits_and_times_travel_alone() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("script", "#!/bin/sh\n");
    a.chmod("script", 0o755);
    a.mkdir("private");
    a.chmod("private", 0o700);
    lab.wait_identical();
    b.chmod("script", 0o400);
    lab.wait_identical();
    a.chmod("private", 0o750);
    lab.wait_identical();
    let mtime = UNIX_EPOCH + Duration::from_nanos(1_000_000_000_123_456_789);
    a.chmod("script", 0o600);
    a.set_mtime("script", mtime);
    lab.wait_identical();
    assert_eq!(b.path("script").metadata().unwrap().modified().unwrap(), mtime);
    let before_1970 = UNIX_EPOCH - Duration::from_millis(1500);
    b.set_mtime("script", before_1970);
    lab.wait_identical();
    assert_eq!(a.path("script").metadata().unwrap().modified().unwrap(), before_1970);
    a.assert_no_conflicts();
}

#[test]
fn many_small_saves_on_both_sides_settle() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..200 {
        a.write(format!("a/{}", i % 20), format!("{i}"));
        b.write(format!("b/{}", i % 20), format!("{i}"));
        if i % 7 == 0 {
            a.remove(format!("a/{}", i % 20));
        }
    }
    lab.wait_identical();
    assert_eq!(b.read("b/19"), "199");
    assert_eq!(b.read("a/19"), "199");
    a.assert_no_conflicts();
}
