//! Files that are being written for a long time: followed at a bounded cost, and whole whenever they are looked at.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, MetadataExt},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::harness::{Host, Lab, noise, wait_identical};

const BOUND: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(75);
const BLOCK: usize = 100_000;
/// So many at least, which takes 15 s; more until the other host has seen enough, on a machine that is slow ...
const BLOCKS: usize = 200;
/// ... but no more than this.
const MAX_BLOCKS: usize = 1200;

/// Looks at a file again whenever another one has taken its place.
struct Watcher<'a> {
    host: &'a Host,
    path: &'a str,
    inode: u64,
    states: usize,
}

impl<'a> Watcher<'a> {
    fn new(host: &'a Host, path: &'a str) -> Self {
        Self { host, path, inode: 0, states: 0 }
    }

    fn look(&mut self, mut check: impl FnMut(&[u8])) {
        let path = self.host.path(self.path);
        let Ok(metadata) = path.metadata() else { return assert_eq!(self.inode, 0, "it was away") };
        if metadata.ino() != self.inode {
            self.inode = metadata.ino();
            self.states += 1;
            check(&fs::read(path).unwrap());
        }
    }
}

/// Appends to a file until the other host has seen some states of it on the way, and asserts what that costs.
fn append(path: &str, states: usize, mut append: impl FnMut(&Host, &[u8])) {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let all = noise(5, BLOCK * MAX_BLOCKS);
    let mut written = 0;
    let mut watcher = Watcher::new(b, path);
    let before = a.traffic()[2];
    while written < BLOCKS || watcher.states < states {
        assert!(written < MAX_BLOCKS, "only {} states of it came before its end", watcher.states);
        let next = Instant::now() + STEP;
        append(a, &all[written * BLOCK..][..BLOCK]);
        written += 1;
        watcher.look(|seen| {
            assert!(
                seen.len() % BLOCK == 0 && all.starts_with(seen),
                "{} bytes were never its state",
                seen.len()
            );
        });
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let (states, length) = (watcher.states, written * BLOCK);
    wait_identical(&[a, b], BOUND);
    assert!(fs::read(b.path(path)).unwrap() == all[..length], "it is something else there");
    a.assert_no_conflicts();
    let sent = a.traffic()[2] - before;
    eprintln!("{path}: {states} states seen on the way, {sent} bytes sent for {length}");
    assert!(sent < 2 * length as u64, "{sent} bytes sent for {length}");
}

#[test]
fn download_that_is_kept_open_is_followed() {
    let mut file = None;
    append("download", 1, |host, block| {
        let file = file.get_or_insert_with(|| fs::File::create(host.path("download")).unwrap());
        file.write_all(block).unwrap();
    });
}

#[test]
fn log_that_is_opened_for_every_line_is_followed() {
    append("log", 4, |host, block| {
        let mut file = OpenOptions::new().create(true).append(true).open(host.path("log")).unwrap();
        file.write_all(block).unwrap();
    });
}

#[test]
fn file_rewritten_in_place_is_never_torn() {
    const SIZE: usize = 2_000_000;
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let mut content = noise(6, SIZE);
    a.write("table", &content);
    lab.wait_identical();
    let hash = |content: &[u8]| -> [u8; 32] { Sha256::digest(content).into() };
    let mut states = HashSet::from([hash(&content)]);
    let mut watcher = Watcher::new(b, "table");
    let before = a.traffic()[2];
    let file = OpenOptions::new().write(true).open(a.path("table")).unwrap();
    for i in 0..240 {
        let at = i * 7919 * 4096 % (SIZE - 4096);
        content[at..at + 4096].copy_from_slice(&noise(i as u64, 4096));
        states.insert(hash(&content));
        file.write_all_at(&content[at..at + 4096], at as u64).unwrap();
        watcher.look(|seen| assert!(states.contains(&hash(seen)), "this was never its state"));
        thread::sleep(Duration::from_millis(50));
    }
    drop(file);
    wait_identical(&[a, b], BOUND);
    assert_eq!(fs::read(b.path("table")).unwrap(), content);
    let sent = a.traffic()[2] - before;
    eprintln!("{} states seen, {sent} bytes sent", watcher.states);
    assert!(sent < 4 * SIZE as u64, "{sent} bytes sent");
}
