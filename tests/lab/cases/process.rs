//! The process: how it starts, ends, and fails to start.

use std::fs;

use rustix::process::Signal;

use crate::harness::{DEFAULT_BOUND, Lab, wait_until};

#[test]
fn both_signals_stop_it_cleanly() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("x", "1");
    lab.wait_identical();
    a.stop_by(Signal::TERM);
    b.stop_by(Signal::INT);
    // Lock, socket and ports are free at once, and nothing is taken for a crash.
    let origin = |host: &crate::harness::Host| host.status().node.origin;
    a.start();
    b.start();
    let before = (origin(a), origin(b));
    a.stop();
    b.stop();
    lab.start_all();
    assert_eq!((origin(a), origin(b)), before, "a clean stop was taken for a crash");
    lab.wait_identical();
}

#[test]
fn crash_makes_it_count_anew() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    a.start();
    let before = a.status().node.origin;
    a.kill();
    a.start();
    assert_ne!(a.status().node.origin, before, "it may have announced what it does not remember");
}

/// As when the plug of a machine is pulled that nobody works at.
#[test]
fn who_is_killed_at_rest_goes_on_as_after_a_clean_stop() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("x", "1");
    lab.wait_identical();
    lab.wait_at_rest();
    let before = a.status();
    assert_eq!(before.origins, 1, "b has changed nothing");
    a.kill();
    a.write("y", "2");
    a.start();
    lab.wait_identical();
    a.write("x", "3");
    lab.wait_identical();
    let after = a.status();
    assert_eq!((after.node.origin, after.origins), (before.node.origin, 1));
    assert!(!after.at_rest && b.read("x") == "3" && b.read("y") == "2");
    a.assert_no_conflicts();
}

#[test]
fn status_tells_what_is_so() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/x", "1");
    lab.wait_identical();
    let [of_a, of_b] = [a, b].map(|host| host.status());
    let is_id = |id: &str| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_id(&of_a.node.id) && is_id(&of_a.node.origin) && of_a.node.id != of_b.node.id);
    assert_eq!((of_a.node.name.as_str(), of_a.peers[0].name.as_str()), ("h1", "h2"));
    assert_eq!(of_a.peers[0].id, of_b.node.id);
    assert_eq!(of_a.node.directory, fs::canonicalize(a.root()).unwrap().to_string_lossy());
    assert_eq!((of_a.entries, of_a.wanted, of_a.wanted_bytes, of_a.conflicts), (2, 0, 0, 0));
    assert_eq!((of_a.threads, of_a.degraded_directories, of_a.paused), (1, 0, None));
    assert!(of_a.errors.is_empty(), "{:?}", of_a.errors);
    assert!(of_a.resident_bytes > 100_000 && of_a.longest_turn_us > 0);
    let text = a.p2pnetwork(&["status", &a.root().to_string_lossy()]);
    assert!(text.stdout.contains("h2") && text.stdout.contains(&b.address()), "{text:?}");
}

#[test]
fn run_says_what_it_does() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    a.start();
    let log = a.log();
    for word in [&*a.root().to_string_lossy(), "h1", "eth0", &a.invite()] {
        assert!(log.contains(word), "no {word:?} in {log}");
    }
}

#[test]
fn missing_directory_is_made() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    fs::remove_dir(a.root()).unwrap();
    a.start();
    assert!(a.state().is_dir());
}

#[test]
fn second_node_on_one_directory_is_refused() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    a.start();
    let root = a.root().to_string_lossy().into_owned();
    let ended = a.run_fails(&["--discovery-port", "3194", "--sync-port", "3195"]);
    ended.assert_one_clear_line(&[&root]);
    assert_eq!(a.status().threads, 1, "the first node was harmed");
}

#[test]
fn port_in_use_is_refused() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    a.start();
    let other = a.outside("other").to_string_lossy().into_owned();
    let ended = a.p2pnetwork(&["run", &other]);
    ended.assert_one_clear_line(&["219"]);
    let ended = a.p2pnetwork(&["run", &other, "--discovery-port", "3194"]);
    ended.assert_one_clear_line(&["2195"]);
}

#[test]
fn wrong_code_is_refused_and_the_right_one_then_works() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.start();
    let code = a.invite();
    let typo = code.replacen(
        code.chars().next().unwrap(),
        if code.starts_with('7') { "8" } else { "7" },
        1,
    );
    for wrong in [&typo[..], "", "hello", &code[..code.len() - 1]] {
        let ended = b.run_fails(&["--join", wrong]);
        assert!(ended.code == Some(2) && ended.stderr.contains("--join"), "{wrong:?}: {ended:?}");
        assert!(!b.state().exists(), "a wrong code left something behind");
    }
    b.spawn(&["--join", &code.to_lowercase()]);
    lab.wait_linked();
    assert_eq!(b.invite(), code);
}

#[test]
fn code_of_another_group_is_refused_and_the_own_may_be_repeated() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.start();
    b.spawn(&[]);
    let own = b.invite();
    b.stop();
    b.run_fails(&["--join", &a.invite()]).assert_one_clear_line(&["group"]);
    b.spawn(&["--join", &own]);
    assert_eq!(b.invite(), own);
}

#[test]
fn other_ports_work() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let ports = ["--discovery-port", "4001", "--sync-port", "4002"];
    a.start_with(&[&ports[..], &["--interface", "eth0", "--os", "linux", "--mode", "0"]].concat());
    b.start_with(&[&ports[..], &["--bind", "10.77.0.2", "--os", "1"]].concat());
    lab.wait_linked();
    b.write("x", "");
    lab.wait_identical();
    assert_eq!(a.status().peers[0].address, "10.77.0.2:4002");
}

#[test]
fn log_file_takes_the_log() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    let path = a.outside("node.log");
    a.start_with(&["--log-file", &path.to_string_lossy(), "--log", "debug"]);
    wait_until("a line in the log file", DEFAULT_BOUND, || {
        fs::read_to_string(&path).is_ok_and(|log| log.lines().count() > 0)
    });
}

#[test]
fn frozen_node_is_given_up_and_taken_back() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    b.signal(Signal::STOP);
    a.write("x", "while b was frozen");
    wait_until("the link to be given up", DEFAULT_BOUND, || !a.status().is_linked(b.name()));
    b.signal(Signal::CONT);
    lab.wait_identical();
    assert!(b.has("x"));
}
