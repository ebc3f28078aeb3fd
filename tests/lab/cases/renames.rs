//! What only changed its place is not read, not sent and not copied: it is renamed.

use std::{fs, os::unix::fs::MetadataExt};

use inotify::WatchMask;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::harness::{DEFAULT_BOUND, Host, Lab, Observer, noise, wait_until};

const MIB: usize = 1024 * 1024;
/// Bytes that two nodes may exchange about a few renamed files: far less than a chunk of a large
/// one, far more than what names them, and than the keep-alives of the longest wait.
const FEW_FILES_BYTES: u64 = 32 * 1024;

fn inode(host: &Host, path: &str) -> u64 {
    host.path(path).symlink_metadata().expect("it is there").ino()
}

/// Bytes sent by both hosts until both are the same again after `act`, which has `arrived` when
/// that can be seen by names alone. The first host's node may read nothing of `unread`: files, or
/// what is in directories.
fn cost(lab: &Lab, unread: &[&str], act: impl FnOnce(), arrived: impl Fn() -> bool) -> u64 {
    let [a, b] = lab.hosts();
    // The bytes that the process has read would not do: it reads its index, and for each answer
    // about its status.
    let mut observer = Observer::new();
    unread.iter().for_each(|path| observer.watch(path, &a.path(path), WatchMask::ACCESS));
    let before = a.received() + b.received();
    act();
    wait_until("it to arrive", DEFAULT_BOUND, arrived);
    wait_until("both to be in sync", DEFAULT_BOUND, || a.status().in_sync && b.status().in_sync);
    assert_eq!(observer.happened(), [], "this was read");
    // Reads the files itself.
    lab.wait_identical();
    a.received() + b.received() - before
}

#[test]
fn renamed_file_is_renamed_there() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("one", noise(1, 8 * MIB));
    a.mkdir("d");
    lab.wait_identical();
    let there = inode(b, "one");
    let sent = cost(&lab, &["one"], || a.rename("one", "d/uno"), || b.has("d/uno"));
    assert_eq!(inode(b, "d/uno"), there);
    assert!(sent < FEW_FILES_BYTES, "{sent} bytes sent");
    // Only upper and lower case differ.
    let sent = cost(&lab, &["d/uno"], || a.rename("d/uno", "d/UNO"), || b.has("d/UNO"));
    assert_eq!(inode(b, "d/UNO"), there);
    assert!(sent < FEW_FILES_BYTES, "{sent} bytes sent");
    // Over another file.
    a.write("other", noise(2, 200_000));
    lab.wait_identical();
    let sent = cost(&lab, &["d/UNO"], || a.rename("d/UNO", "other"), || !b.has("d/UNO"));
    assert_eq!(inode(b, "other"), there);
    assert!(sent < FEW_FILES_BYTES, "{sent} bytes sent");
    a.assert_no_conflicts();
}

#[test]
fn renamed_directory_is_renamed_there() {
    const FILES: u64 = 100;
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..FILES {
        a.write(format!("old/{i}"), noise(i, MIB));
    }
    lab.wait_identical();
    let there = inode(b, "old/7");
    let arrived =
        || !b.has("old") && fs::read_dir(b.path("new")).is_ok_and(|new| new.count() == 100);
    let sent = cost(&lab, &["old"], || a.rename("old", "new"), arrived);
    eprintln!("a directory of {FILES} files of 1 MiB: {sent} bytes sent");
    assert_eq!(inode(b, "new/7"), there);
    assert!(sent < 400 * FILES, "{sent} bytes sent");
    a.write("new/after", "still watched");
    lab.wait_identical();
    a.assert_no_conflicts();
}

#[test]
fn renamed_small_files_are_not_sent() {
    const FILES: u64 = 1000;
    const SIZE: u64 = 4000;
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..FILES {
        a.write(format!("old/{i}"), noise(i, SIZE as usize));
    }
    lab.wait_identical();
    let there = inode(b, "old/7");
    let sent = cost(&lab, &[], || a.rename("old", "new"), || !b.has("old"));
    eprintln!("{FILES} small files: {sent} bytes sent");
    assert_eq!(inode(b, "new/7"), there);
    // A tenth of the content: names and versions are below that, on both ways.
    assert!(sent < FILES * SIZE / 10, "{sent} bytes sent");
    // One by one.
    let rename = |i| a.rename(format!("new/{i}"), format!("new/renamed-{i}"));
    let arrived = || (0..FILES).all(|i| !b.has(format!("new/{i}")));
    let sent = cost(&lab, &[], || (0..FILES).for_each(rename), arrived);
    eprintln!("one by one: {sent} bytes sent");
    assert_eq!(inode(b, "new/renamed-7"), there);
    assert!(sent < FILES * SIZE / 10, "{sent} bytes sent");
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
    let there = ["x", "y"].map(|path| inode(b, path));
    let exchange = || {
        renameat_with(CWD, a.path("x"), CWD, a.path("y"), RenameFlags::EXCHANGE).unwrap();
        a.rename("s", "u");
        a.rename("t", "s");
        a.rename("u", "t");
    };
    let number = |path| b.path(path).symlink_metadata().map_or(0, |metadata| metadata.ino());
    let small = |path| fs::read_to_string(b.path(path)).unwrap_or_default();
    let arrived = || {
        [number("y"), number("x")] == there
            && small("s") == "other"
            && small("t") == "small"
            && !b.has("u")
    };
    let sent = cost(&lab, &["x", "y"], exchange, arrived);
    assert_eq!(["y", "x"].map(|path| inode(b, path)), there);
    assert!(sent < FEW_FILES_BYTES, "{sent} bytes sent");
    assert_eq!(fs::read(b.path("x")).unwrap(), noise(2, 2 * MIB));
    a.assert_no_conflicts();
}

#[test]
fn file_renamed_while_it_travels_arrives_under_its_new_name() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let size = 50 * MIB;
    let content = noise(1, size);
    let before = b.received();
    // 1 MB a second: it is under way for long.
    a.limit_rate("8mbit");
    a.put("big", content);
    b.wait_for_bytes(3 * MIB as u64);
    a.rename("big", "renamed");
    assert!(!b.has("big"), "it was too fast");
    a.lift_rate();
    lab.wait_identical();
    let sent = b.received() - before;
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
