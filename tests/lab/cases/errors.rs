//! A disk that says no: it is said of which path, everything else goes on, and it is tried again
//! until it works.

use std::process::Command;

use crate::harness::{DEFAULT_BOUND, Host, Lab, noise, wait_until};

fn run(command: &str, args: &[&str]) {
    let status = Command::new(command)
        .args(args)
        .status()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(status.success(), "{command} {args:?}: {status}");
}

/// Waits until the host says of `path` that it is in trouble, with `word` in the reason.
fn wait_for_error(host: &Host, path: &str, word: &str) {
    let is_said = || {
        host.status().errors.iter().any(|error| error.path == path && error.error.contains(word))
    };
    wait_until(&format!("{path} to be said to be in trouble: {word}"), DEFAULT_BOUND, is_said);
}

#[test]
fn directory_that_must_not_change_is_said_and_waited_for() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/old", "old");
    a.write("d/gone", "gone");
    lab.wait_identical();
    let directory = b.path("d").to_string_lossy().into_owned();
    run("chattr", &["+i", &directory]);
    a.write("d/new", "new");
    a.write("d/old", "newer");
    a.remove("d/gone");
    for path in ["d/new", "d/old", "d/gone"] {
        wait_for_error(b, path, "Operation not permitted");
    }
    a.write("beside", "goes on");
    wait_until("what is beside it", DEFAULT_BOUND, || b.has("beside"));
    assert_eq!(b.read("d/old"), "old");
    run("chattr", &["-i", &directory]);
    lab.wait_identical();
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
    a.assert_no_conflicts();
}

/// The bits of a directory are its owner's to set, whoever may write in it.
#[test]
fn bits_of_another_users_directory_are_said_and_waited_for() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    b.without_fowner();
    lab.start_all();
    b.mkdir("theirs");
    lab.wait_identical();
    // In a user namespace there may be no other user.
    if std::os::unix::fs::chown(b.path("theirs"), Some(4711), None).is_err() {
        return;
    }
    a.chmod("theirs", 0o700);
    wait_for_error(b, "theirs", "belongs to user 4711");
    assert!(!b.status().in_sync, "{:?}", b.status());
    a.write("theirs/new", "goes on");
    wait_until("what is in it", DEFAULT_BOUND, || b.has("theirs/new"));
    std::os::unix::fs::chown(b.path("theirs"), Some(0), None).unwrap();
    lab.wait_identical();
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
}

#[test]
fn pipe_in_the_place_of_a_file_is_said_and_waited_for() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    run("mkfifo", &[&b.path("f").to_string_lossy()]);
    a.write("f", "a file");
    a.write("beside", "goes on");
    wait_for_error(b, "f", "a pipe, a socket or a device is in its place");
    wait_until("what is beside it", DEFAULT_BOUND, || b.has("beside"));
    assert!(!b.status().in_sync);
    b.remove("f");
    lab.wait_identical();
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
    a.assert_no_conflicts();
}

#[test]
fn file_that_must_not_change_is_said_and_waited_for() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("f", "old");
    lab.wait_identical();
    let file = b.path("f").to_string_lossy().into_owned();
    run("chattr", &["+i", &file]);
    a.write("f", "newer");
    wait_for_error(b, "f", "Operation not permitted");
    assert_eq!(b.read("f"), "old");
    run("chattr", &["-i", &file]);
    lab.wait_identical();
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
}

#[test]
fn file_beyond_the_limit_of_the_process_is_said_and_waited_for() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let pid = b.pid().to_string();
    run("prlimit", &["--pid", &pid, "--fsize=4000000:unlimited"]);
    a.write("large", noise(1, 10_000_000));
    wait_for_error(b, "large", "File too large");
    a.write("small", "goes on");
    wait_until("what is smaller", DEFAULT_BOUND, || b.has("small"));
    assert!(!b.has("large"));
    run("prlimit", &["--pid", &pid, "--fsize=unlimited:unlimited"]);
    lab.wait_identical();
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
}
