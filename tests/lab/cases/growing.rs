//! Files that are being written for a long time: followed at a bounded cost, and whole whenever
//! they are looked at.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, MetadataExt},
    thread,
    time::{Duration, Instant},
};

use inotify::{EventMask, WatchMask};
use sha2::{Digest, Sha256};

use crate::harness::{DEFAULT_BOUND, Host, Lab, Observer, noise, wait_until};

const STEP: Duration = Duration::from_millis(75);
const BLOCK: usize = 100_000;
const BLOCKS: usize = 200;
/// The longest chunk: what a file that has grown has to send once more, since it may end elsewhere
/// now.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Looks at a file again whenever another one has taken its place.
struct Watcher<'a> {
    host: &'a Host,
    path: &'a str,
    inode: u64,
    /// Those that were looked at.
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

/// Counts how often the node has read a file that is being written, at most. Each version that it
/// tells of is one of these, be it that the other host was too slow to get it in time.
struct Reads {
    observer: Observer,
    path: String,
}

impl Reads {
    fn new(host: &Host, path: &str) -> Self {
        let mut observer = Observer::new();
        observer.watch("", host.root(), WatchMask::MODIFY | WatchMask::CLOSE_NOWRITE);
        Self { observer, path: format!("/{path}") }
    }

    fn count(&mut self) -> usize {
        let of_file = self.observer.happened().into_iter().filter(|(_, what)| *what == self.path);
        let mut changes: Vec<_> =
            of_file.map(|(mask, _)| mask.contains(EventMask::MODIFY)).collect();
        changes.dedup();
        changes.iter().filter(|&is_write| !is_write).count()
    }
}

/// Appends to a file, and leaves it as it is, `pauses` times, until the other host has got another
/// state of it; asserts what that costs.
fn append(path: &str, pauses: usize, mut append: impl FnMut(&Host, &[u8])) {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let all = noise(5, BLOCK * BLOCKS);
    let mut watcher = Watcher::new(b, path);
    let check = |seen: &[u8]| {
        let is_state = seen.len().is_multiple_of(BLOCK) && all.starts_with(seen);
        assert!(is_state, "{} bytes were never its state", seen.len());
    };
    let (mut reads, before) = (Reads::new(a, path), b.received());
    for (written, block) in all.chunks(BLOCK).enumerate() {
        let next = Instant::now() + STEP;
        append(a, block);
        watcher.look(check);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if (written + 1).is_multiple_of(BLOCKS / pauses) {
            let length = (written + 1) * BLOCK;
            wait_until("what was written so far", DEFAULT_BOUND, || {
                watcher.look(check);
                b.path(path).metadata().is_ok_and(|metadata| metadata.len() == length as u64)
            });
        }
    }
    // Before the lab reads the file itself.
    let reads = reads.count();
    lab.wait_identical();
    assert!(fs::read(b.path(path)).unwrap() == all, "it is something else there");
    a.assert_no_conflicts();
    let sent = b.received() - before;
    eprintln!(
        "{path}: {reads} reads, {} states seen, {sent} bytes sent for {}",
        watcher.states,
        all.len()
    );
    let most = all.len() + all.len() / 10 + reads * CHUNK_BYTES;
    assert!(
        sent < most as u64,
        "{sent} bytes sent for {}, which was read {reads} times",
        all.len()
    );
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
    let (mut reads, before) = (Reads::new(a, "table"), b.received());
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
    wait_until("the last state", DEFAULT_BOUND, || fs::read(b.path("table")).unwrap() == content);
    let reads = reads.count();
    lab.wait_identical();
    let sent = b.received() - before;
    eprintln!("{reads} reads, {} states seen, {sent} bytes sent", watcher.states);
    // What was read is sent once at most.
    let most = (reads + 1) * SIZE;
    assert!(sent < most as u64, "{sent} bytes sent for what was read {reads} times");
}
