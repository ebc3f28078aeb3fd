//! What two and three directories become when they first meet.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::net::UnixListener},
};

use crate::harness::{DEFAULT_BOUND, Lab, noise, wait_identical};

#[test]
fn two_empty_hosts_link() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    lab.wait_identical();
    assert!(a.tree().is_empty());
    assert!(a.status().in_sync && b.status().in_sync);
    assert_eq!(a.status().entries, 0);
}

#[test]
fn data_on_the_first_reaches_the_second() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.write("a/b/c.txt", "deep");
    a.write("empty", "");
    a.write("blob", noise(1, 200_000));
    lab.start_all();
    lab.wait_identical();
    assert_eq!(b.read("a/b/c.txt"), "deep");
    assert_eq!(b.tree().len(), 5);
    assert_eq!(b.status().entries, 5);
}

#[test]
fn data_on_the_joining_host_reaches_the_first() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    b.write("d/late.txt", "from the newcomer");
    lab.start_all();
    lab.wait_identical();
    assert_eq!(a.read("d/late.txt"), "from the newcomer");
    assert!(b.has("d/late.txt"));
}

#[test]
fn data_on_both_is_united() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.write("shared/from-a", "a");
    b.write("shared/from-b", "b");
    for host in [a, b] {
        host.write("shared/equal", "the same on both");
        host.write("blob", noise(3, 300_000));
    }
    lab.start_all();
    lab.wait_identical();
    assert_eq!(a.tree().len(), 5);
    assert_eq!((b.read("shared/from-a"), a.read("shared/from-b")), ("a".into(), "b".into()));
    a.assert_no_conflicts();
}

#[test]
fn different_files_of_one_name_are_both_kept() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.write("note.txt", "written on a");
    b.write("note.txt", "written on b, at length");
    lab.start_all();
    lab.wait_identical();
    let copies = a.conflict_copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    let mut contents = [a.read("note.txt"), a.read(&copies[0])];
    contents.sort();
    assert_eq!(contents, ["written on a", "written on b, at length"]);
    assert_eq!(b.status().conflicts, 1);
}

#[test]
fn third_host_joins_late() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    a.write("one", "1");
    a.start();
    b.start();
    wait_identical(&[a, b], DEFAULT_BOUND);
    b.write("two", "2");
    c.write("three", "3");
    c.start();
    lab.wait_identical();
    assert_eq!(a.tree().len(), 3);
    c.write("four", "4");
    lab.wait_identical();
    assert_eq!((a.read("four"), b.read("four")), ("4".into(), "4".into()));
}

#[test]
fn latecomer_gets_everything_from_whoever_is_there() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    a.write("d/from-a", noise(5, 150_000));
    a.start();
    b.start();
    wait_identical(&[a, b], DEFAULT_BOUND);
    a.stop();
    c.start();
    wait_identical(&[b, c], DEFAULT_BOUND);
    assert!(c.has("d/from-a"));
    c.write("d/from-c", "c");
    wait_identical(&[b, c], DEFAULT_BOUND);
    a.start();
    lab.wait_identical();
    assert_eq!(a.read("d/from-c"), "c");
}

#[test]
fn a_thousand_files_on_each_become_two_thousand_on_both() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    for i in 0..1000 {
        a.write(format!("a/{}/{i}", i % 10), noise(i, 500 + i as usize));
        b.write(format!("b/{}/{i}", i % 10), noise(i + 1000, 500 + i as usize));
    }
    a.start();
    b.start();
    lab.wait_identical();
    assert_eq!(a.tree().len(), 2022);
    a.assert_no_conflicts();
}

#[test]
fn state_and_special_files_stay_where_they_are() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.shell(&format!("mkfifo '{}'", a.path("pipe").display()));
    // By the directory's descriptor: a socket's path may have 107 bytes only.
    let root = File::open(a.root()).unwrap();
    let _socket = UnixListener::bind(format!("/proc/self/fd/{}/s", root.as_raw_fd())).unwrap();
    a.write(".p2pnetwork/stray", "own state");
    a.write("after", "synchronised");
    lab.wait_identical();
    assert!(b.has("after"));
    assert!(!b.has("pipe") && !b.has("s") && !b.has(".p2pnetwork/stray"));
    assert!(a.has("pipe") && a.has("s"));
}
