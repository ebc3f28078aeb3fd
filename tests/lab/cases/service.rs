//! What a service manager and an administrator expect of a daemon.

use std::{
    collections::HashSet,
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{DEFAULT_BOUND, Host, Lab, wait_until};

/// As systemd does: CAP_NET_RAW is all that there is.
const ONLY_NET_RAW: [&str; 3] = ["setpriv", "--bounding-set", "-all,+net_raw"];

/// The other end of `NOTIFY_SOCKET`.
struct Manager {
    /// Not below target/: the path of a Unix socket is short.
    directory: TempDir,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    /// Takes in all that comes at once, as systemd does: the kernel keeps no more than ten
    /// messages.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let socket =
            UnixDatagram::bind(directory.path().join("notify")).expect("nobody else uses it");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&heard);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                lines.lock().unwrap().extend(text.lines().map(ToOwned::to_owned));
            }
        });
        Self { directory, heard }
    }

    fn supervise(&self, host: &Host, watchdog: Duration) {
        let socket = format!("NOTIFY_SOCKET={}", self.directory.path().join("notify").display());
        let watchdog = format!("WATCHDOG_USEC={}", watchdog.as_micros());
        host.wrap(&["env", &socket, &watchdog]);
    }

    /// Everything that was said so far, a line each.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn signs_of_life(&self) -> usize {
        self.heard().iter().filter(|line| *line == "WATCHDOG=1").count()
    }

    fn wait_for(&self, what: &str) {
        let is_heard = || self.heard().iter().any(|line| line.contains(what));
        wait_until(&format!("{what:?} on the manager's socket"), DEFAULT_BOUND, is_heard);
    }
}

#[test]
fn manager_is_told_ready_alive_how_it_goes_and_stopping() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let manager = Manager::new();
    manager.supervise(a, Duration::from_millis(400));
    a.start();
    manager.wait_for("READY=1");
    wait_until("signs of life", DEFAULT_BOUND, || manager.signs_of_life() >= 5);
    manager.wait_for("STATUS=no other machine is linked");
    b.start();
    manager.wait_for("STATUS=linked with h2, in sync");
    a.stop();
    manager.wait_for("STOPPING=1");
    let heard: Vec<_> =
        manager.heard().into_iter().filter(|line| !line.starts_with("STATUS=")).collect();
    assert_eq!(heard.iter().filter(|line| *line == "READY=1").count(), 1);
    assert_eq!(heard.last().map(String::as_str), Some("STOPPING=1"));
}

#[test]
fn frozen_node_gives_no_sign_of_life() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let (manager, other) = (Manager::new(), Manager::new());
    manager.supervise(a, Duration::from_millis(400));
    other.supervise(b, Duration::from_millis(400));
    lab.start_all();
    manager.wait_for("WATCHDOG=1");
    a.signal(Signal::STOP);
    wait_until("it to be stopped", DEFAULT_BOUND, || process_state(a) == "T");
    let rounds = |count| {
        let before = other.signs_of_life();
        wait_until("signs of the other node's life", DEFAULT_BOUND, || {
            other.signs_of_life() >= before + count
        });
    };
    // What it said before it was frozen has been heard then.
    rounds(1);
    let before = manager.heard().len();
    rounds(5);
    assert_eq!(manager.heard().len(), before);
    a.signal(Signal::CONT);
    wait_until("a sign of life", DEFAULT_BOUND, || manager.heard().len() > before);
}

fn process_state(host: &Host) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", host.pid())).unwrap_or_default();
    stat.rsplit(") ").next().unwrap_or_default().chars().take(1).collect()
}

#[test]
fn every_capability_is_dropped_and_arp_goes_on() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    lab.world().shell("ip -n h1 link set eth0 down");
    a.wrap(&ONLY_NET_RAW);
    a.start();
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(capabilities(a, set), 0, "{set} of a node that only had CAP_NET_RAW");
    }
    b.start();
    assert_eq!(capabilities(b, "CapPrm") & NET_RAW, 0, "root keeps the right to raw sockets");
    // The interface comes after the right has gone, and once more after it was away.
    for _ in 0..2 {
        lab.world().shell(
            "ip -n h1 link set eth0 up; ip -n h1 address replace 10.77.0.1/24 brd + dev eth0",
        );
        wait_until("a socket bound to eth0", DEFAULT_BOUND, || arp_sockets(a) == 1);
        lab.wait_linked();
        lab.world().shell("ip -n h1 link set eth0 down");
        wait_until("no socket bound to eth0", DEFAULT_BOUND, || arp_sockets(a) == 0);
    }
    assert!(!a.has_logged("no right to use ARP"));
}

const NET_RAW: u64 = 1 << 13;

fn capabilities(host: &Host, set: &str) -> u64 {
    let path = format!("/proc/{}/status", host.pid());
    let text = fs::read_to_string(path).expect("the node runs");
    let line = text.lines().find_map(|line| line.strip_prefix(set)).expect("proc(5) lists it");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("it is hexadecimal")
}

/// Raw sockets that the kernel hands ARP packets to: running, in the table of packet(7)'s sockets.
fn arp_sockets(host: &Host) -> usize {
    let table = host.shell("cat /proc/net/packet");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|fields| fields.get(3) == Some(&"0806") && fields.get(5) == Some(&"1")).count()
}

#[test]
fn hangup_reopens_the_log_and_stops_nothing() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    let (path, old) = (a.outside("node.log"), a.outside("node.log.1"));
    a.start_with(&["--log-file", &path.to_string_lossy()]);
    wait_until("a line in the log file", DEFAULT_BOUND, || length(&path) > 0);
    fs::rename(&path, &old).unwrap();
    a.signal(Signal::HUP);
    wait_until("a new log file", DEFAULT_BOUND, || path.exists());
    let before = length(&old);
    a.stop();
    assert!(length(&path) > 0 && length(&old) == before, "the log went on in the old file");
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

#[test]
fn hangup_without_a_log_file_stops_nothing() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.signal(Signal::HUP);
    a.write("x", "1");
    wait_until("the file", DEFAULT_BOUND, || b.has("x"));
    let states: HashSet<_> = [a, b].iter().map(|host| host.is_running()).collect();
    assert_eq!(states, HashSet::from([true]));
}
