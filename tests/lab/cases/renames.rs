//! What only changed its place is not read, not sent and not copied: it is renamed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::harness::{Host, Lab, noise, wait_identical, wait_until};

const MIB: usize = 1024 * 1024;
const LARGE_BOUND: Duration = Duration::from_secs(180);
/// Bytes that two nodes may exchange about a rename of one file, connections' overhead included.
const ONE_FILE_BYTES: u64 = 8 * 1024;

fn inode(host: &Host, path: &str) -> u64 {
    host.path(path).symlink_metadata().expect("it is there").ino()
}

/// Bytes that the node has read from files since its start.
fn bytes_read(host: &Host) -> u64 {
    host.proc_field("io", "rchar")
}

/// Bytes sent by both hosts, and bytes read by the first one's node, until both are the same again after `act`.
fn cost(lab: &Lab, act: impl FnOnce()) -> (u64, u64) {
    let [a, b] = lab.hosts();
    let before = (a.traffic()[2] + b.traffic()[2], bytes_read(a));
    act();
    lab.wait_identical();
    (a.traffic()[2] + b.traffic()[2] - before.0, bytes_read(a) - before.1)
}

#[test]
fn renamed_file_is_renamed_there() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("one", noise(1, 8 * MIB));
    a.mkdir("d");
    lab.wait_identical();
    let there = inode(b, "one");
    let (sent, read) = cost(&lab, || a.rename("one", "d/uno"));
    assert_eq!(inode(b, "d/uno"), there);
    assert!(sent < ONE_FILE_BYTES, "{sent} bytes sent");
    assert!(read < MIB as u64, "{read} bytes read");
    // Only upper and lower case differ.
    let (sent, read) = cost(&lab, || a.rename("d/uno", "d/UNO"));
    assert_eq!(inode(b, "d/UNO"), there);
    assert!(sent < ONE_FILE_BYTES && read < MIB as u64, "{sent} bytes sent, {read} bytes read");
    // Over another file.
    a.write("other", noise(2, 200_000));
    lab.wait_identical();
    let (sent, _) = cost(&lab, || a.rename("d/UNO", "other"));
    assert_eq!(inode(b, "other"), there);
    assert!(sent < ONE_FILE_BYTES, "{sent} bytes sent");
    a.assert_no_conflicts();
}

#[test]
fn renamed_directory_is_renamed_there() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..100 {
        a.write(format!("old/{i}"), noise(i, MIB));
    }
    lab.wait_identical();
    let there = inode(b, "old/7");
    let mut took = Duration::ZERO;
    let (sent, read) = cost(&lab, || {
        let start = Instant::now();
        a.rename("old", "new");
        wait_until("the rename to arrive", Duration::from_secs(20), || {
            !b.has("old") && fs::read_dir(b.path("new")).is_ok_and(|new| new.count() == 100)
        });
        took = start.elapsed();
    });
    eprintln!("a directory of 100 files of 1 MiB: {sent} bytes sent, {read} bytes read, {took:?}");
    assert_eq!(inode(b, "new/7"), there);
    assert!(sent < 40_000, "{sent} bytes sent");
    assert!(read < 8 * MIB as u64, "{read} bytes read");
    assert!(took < Duration::from_secs(3), "{took:?}");
    a.write("new/after", "still watched");
    lab.wait_identical();
    a.assert_no_conflicts();
}

#[test]
fn renamed_small_files_are_not_sent() {
    const FILES: u64 = 1000;
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..FILES {
        a.write(format!("old/{i}"), noise(i, 4000));
    }
    lab.wait_identical();
    let there = inode(b, "old/7");
    let (sent, read) = cost(&lab, || a.rename("old", "new"));
    eprintln!("{FILES} small files: {sent} bytes sent, {read} bytes read");
    assert_eq!(inode(b, "new/7"), there);
    assert!(sent < 300 * FILES, "{sent} bytes sent");
    // One by one.
    let (sent, _) =
        cost(&lab, || (0..FILES).for_each(|i| a.rename(format!("new/{i}"), format!("new/renamed-{i}"))));
    assert_eq!(inode(b, "new/renamed-7"), there);
    assert!(sent < 400 * FILES, "{sent} bytes sent");
    a.assert_no_conflicts();
}

#[test]
fn names_that_differ_in_case_only() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("File", "small");
    a.write("Dir/Large", noise(1, MIB));
    lab.wait_identical();
    let (small, large) = (inode(b, "File"), inode(b, "Dir/Large"));
    a.rename("File", "file");
    a.rename("Dir", "dir");
    lab.wait_identical();
    assert_eq!((inode(b, "file"), inode(b, "dir/Large")), (small, large));
    assert!(!b.has("File") && !b.has("Dir"));
    a.assert_no_conflicts();
}

#[test]
fn exchanged_files_are_not_sent() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("x", noise(1, 2 * MIB));
    a.write("y", noise(2, 2 * MIB));
    a.write("s", "small");
    a.write("t", "other");
    lab.wait_identical();
    let there = ["x", "y", "s", "t"].map(|path| inode(b, path));
    let (sent, read) = cost(&lab, || {
        renameat_with(CWD, a.path("x"), CWD, a.path("y"), RenameFlags::EXCHANGE).unwrap();
        a.rename("s", "u");
        a.rename("t", "s");
        a.rename("u", "t");
    });
    assert_eq!(["y", "x"].map(|path| inode(b, path)), there[..2]);
    assert_eq!((b.read("s"), b.read("t")), ("other".to_owned(), "small".to_owned()));
    assert!(sent < 2 * ONE_FILE_BYTES, "{sent} bytes sent");
    assert!(read < MIB as u64, "{read} bytes read");
    assert_eq!(fs::read(b.path("x")).unwrap(), noise(2, 2 * MIB));
    a.assert_no_conflicts();
}

#[test]
fn file_renamed_while_it_travels_arrives_under_its_new_name() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let size = 200 * MIB;
    // Not written in place: that may take so long that its beginning is sent first.
    fs::write(a.outside("big"), noise(1, size)).unwrap();
    let before = a.traffic()[2];
    fs::rename(a.outside("big"), a.path("big")).unwrap();
    wait_until("a part of the file to be sent", LARGE_BOUND, || a.traffic()[2] - before > 20 * MIB as u64);
    assert!(!b.has("big"), "it was too fast");
    a.rename("big", "renamed");
    wait_identical(&[a, b], LARGE_BOUND);
    let sent = a.traffic()[2] - before;
    eprintln!("{sent} bytes sent for {size}");
    assert!(sent < (size + size / 10) as u64, "{sent} bytes sent");
    assert!(!b.has("big"));
    a.assert_no_conflicts();
}

#[test]
fn renamed_and_edited_at_once_arrives_edited() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("doc", noise(1, MIB));
    lab.wait_identical();
    let mtime = a.path("doc").metadata().unwrap().modified().unwrap();
    a.rename("doc", "paper");
    a.write("paper", noise(2, MIB));
    // As a tool does that wants it not to be noticed.
    a.set_mtime("paper", mtime);
    lab.wait_identical();
    assert_eq!(fs::read(b.path("paper")).unwrap(), noise(2, MIB));
    assert!(!b.has("doc"));
    a.assert_no_conflicts();
}

#[test]
fn moved_out_and_back_in_is_the_same() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..5 {
        a.write(format!("d/{i}"), noise(i, 100_000));
    }
    lab.wait_identical();
    fs::rename(a.path("d"), a.outside("d")).unwrap();
    lab.wait_identical();
    assert!(!b.has("d"));
    fs::rename(a.outside("d"), a.path("e")).unwrap();
    lab.wait_identical();
    assert_eq!(fs::read(b.path("e/3")).unwrap(), noise(3, 100_000));
    a.assert_no_conflicts();
}
