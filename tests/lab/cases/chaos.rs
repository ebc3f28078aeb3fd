//! Users change everything at random, nodes are killed at random moments and started again; then
//! the directories must be equal, and nothing lost that a user had.
//!
//! A user here never destroys: what goes from a directory is moved out of it and kept, so that at
//! the end every content that was ever written must be somewhere: live, in some node's trash, or in
//! the hand of the user who took it out. Only what is appended to is gone as it was; that is
//! written down. And a live file holds what a user wrote, to the byte: nothing else, nothing torn.
//!
//! One round of 20 s. `P2PNETWORK_CHAOS_ROUNDS`, `P2PNETWORK_CHAOS_SECONDS` and
//! `P2PNETWORK_CHAOS_SEED` ask for others, see `scripts/chaos`; the seed of a round is printed when
//! it fails.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};

use crate::harness::{Host, Lab, tree::STATE_DIR, wait_identical};

/// From the last change to equal directories; on an idle machine it takes a second or two.
const QUIET_BOUND: Duration = Duration::from_secs(180);
const NAMES: u64 = 12;

#[test]
fn killed_nodes_lose_nothing() {
    let number = |name, default| env::var(name).map_or(default, |text| text.parse().expect(name));
    let now_ns =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first_seed = number("P2PNETWORK_CHAOS_SEED", now_ns);
    let duration = Duration::from_secs(number("P2PNETWORK_CHAOS_SECONDS", 20));
    for round in 0..number("P2PNETWORK_CHAOS_ROUNDS", 1) {
        let seed = first_seed.wrapping_add(round);
        println!("round {round}, P2PNETWORK_CHAOS_SEED={seed}");
        play(seed, duration);
    }
}

fn play(seed: u64, duration: Duration) {
    let lab = Lab::running(3);
    let hosts: [&Host; 3] = lab.hosts();
    let mut users =
        Users { hosts, random: Random(seed | 1), written: HashMap::new(), gone: HashSet::new() };
    let mut starts: [Option<Instant>; 3] = [None; 3];
    let end = Instant::now() + duration;
    let (mut kills, mut actions) = (0, 0);
    let mut next_kill = Instant::now() + Duration::from_millis(users.random.below(2000));
    while Instant::now() < end {
        for (host, start) in hosts.iter().zip(&mut starts) {
            if start.is_some_and(|at| at <= Instant::now()) {
                host.relaunch();
                *start = None;
            }
        }
        if next_kill <= Instant::now() {
            let victim = users.random.below(3) as usize;
            // It may be on its way up again: that is a moment as good as any other.
            if hosts[victim].is_running() {
                hosts[victim].kill();
                kills += 1;
                starts[victim] =
                    Some(Instant::now() + Duration::from_millis(users.random.below(1500)));
            }
            next_kill = Instant::now() + Duration::from_millis(users.random.below(1500));
        }
        users.act();
        actions += 1;
        thread::sleep(Duration::from_micros(users.random.below(20_000)));
    }
    for host in hosts.iter().filter(|host| !host.is_running()) {
        host.relaunch();
    }
    hosts.iter().for_each(|host| host.wait_started());
    lab.wait_linked();
    let quiet = wait_identical(&hosts, QUIET_BOUND);
    println!(
        "{actions} actions, {} contents, {kills} kills, equal after {quiet:?}",
        users.written.len()
    );
    users.check();
}

type Hash = [u8; 32];

/// One at each host, with something to do all the time.
struct Users<'a> {
    hosts: [&'a Host; 3],
    random: Random,
    /// Every content that was ever in a file, and where it was written.
    written: HashMap<Hash, String>,
    /// What was appended to.
    gone: HashSet<Hash>,
}

impl Users<'_> {
    fn act(&mut self) {
        let host = self.hosts[self.random.below(3) as usize];
        match self.random.below(20) {
            0..8 => self.save(host),
            8..11 => self.append(host),
            11..14 => self.take_out(host),
            14..18 => self.rename(host),
            _ => drop(fs::create_dir(host.path(self.directory()))),
        }
    }

    /// Saves as an editor does: beside, then in one step; what was there is kept outside.
    fn save(&mut self, host: &Host) {
        let (path, outside) = (host.path(self.file()), self.fresh_outside(host));
        let content = self.content(host);
        fs::write(&outside, &content).expect("there is room outside");
        self.written.insert(hash(&content), format!("{}: {}", host.name(), path.display()));
        // Exchanged, so that whatever was there in this very moment is what is kept.
        let exchanged = renameat_with(CWD, &outside, CWD, &path, RenameFlags::EXCHANGE);
        if exchanged.is_err() {
            // Nothing is there; or no directory to put it in, and it is kept outside.
            let _ = renameat_with(CWD, &outside, CWD, &path, RenameFlags::NOREPLACE);
        }
    }

    /// Writes to what is there, by one call, so that nobody ever sees half of it.
    fn append(&mut self, host: &Host) {
        let path = host.path(self.file());
        let open = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path);
        let Ok(mut file) = open else { return };
        let mut content = Vec::new();
        if file.read_to_end(&mut content).is_err() {
            return;
        }
        self.gone.insert(hash(&content));
        let line = format!("appended {}\n", self.random.next());
        content.extend_from_slice(line.as_bytes());
        self.written
            .insert(hash(&content), format!("{}: appended to {}", host.name(), path.display()));
        file.write_all(line.as_bytes()).expect("there is room");
    }

    /// What a user deletes.
    fn take_out(&mut self, host: &Host) {
        let from = if self.random.below(4) == 0 { self.directory() } else { self.file() };
        let _ = fs::rename(host.path(from), self.fresh_outside(host));
    }

    fn rename(&mut self, host: &Host) {
        let [from, to] = match self.random.below(4) {
            0 => [self.directory(), self.directory()],
            _ => [self.file(), self.file()],
        };
        let _ = renameat_with(CWD, host.path(from), CWD, host.path(to), RenameFlags::NOREPLACE);
    }

    fn directory(&mut self) -> PathBuf {
        PathBuf::from(format!("d{}", self.random.below(4)))
    }

    fn file(&mut self) -> PathBuf {
        let name = format!("f{}.txt", self.random.below(NAMES));
        if self.random.below(2) == 0 { self.directory().join(name) } else { name.into() }
    }

    fn content(&mut self, host: &Host) -> Vec<u8> {
        let mut content =
            format!("{} {} {}\n", host.name(), self.written.len(), self.random.next()).into_bytes();
        let length = match self.random.below(20) {
            0 => self.random.below(1 << 20),
            1 | 2 => self.random.below(100 << 10),
            _ => self.random.below(2000),
        };
        let mut noise = Random(self.random.next() | 1);
        content.extend((0..length / 8).flat_map(|_| noise.next().to_le_bytes()));
        content
    }

    fn fresh_outside(&mut self, host: &Host) -> PathBuf {
        let directory = host.outside("taken");
        fs::create_dir_all(&directory).expect("target/tmp is writable");
        directory.join(self.random.next().to_string())
    }

    fn check(&self) {
        // All nodes' are equal.
        let live = contents(self.hosts[0].root());
        let torn: Vec<_> =
            live.iter().filter(|(hash, _)| !self.written.contains_key(*hash)).collect();
        assert!(torn.is_empty(), "nobody ever wrote what is in {torn:?}");
        let mut kept = live;
        for host in self.hosts {
            kept.extend(contents(&host.outside("taken")));
            kept.extend(contents(&host.state().join("trash")));
        }
        let is_lost = |hash: &Hash| !kept.contains_key(hash) && !self.gone.contains(hash);
        let lost: Vec<_> = self.written.iter().filter(|(hash, _)| is_lost(hash)).collect();
        assert!(lost.is_empty(), "{} contents are lost: {lost:?}", lost.len());
    }
}

/// Every content below a directory, and where it is; but for a node's own.
fn contents(directory: &Path) -> HashMap<Hash, PathBuf> {
    let mut found = HashMap::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("nobody changes it any more").path();
            let kind = path.symlink_metadata().expect("nobody changes it any more").file_type();
            if kind.is_dir() {
                left.extend(Some(path).filter(|path| !path.ends_with(STATE_DIR)));
            } else if kind.is_file() {
                found.insert(hash(&fs::read(&path).expect("it is there")), path);
            }
        }
    }
    found
}

fn hash(content: &[u8]) -> Hash {
    Sha256::digest(content).into()
}

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }
}
