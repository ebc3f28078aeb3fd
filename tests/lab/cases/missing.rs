//! Half of a directory is missing all at once, as when a branch of a pool is not mounted.

use std::{fs, path::PathBuf};

use crate::harness::{DEFAULT_BOUND, Host, Lab, host::Ended, wait_until};

const FILES: usize = 120;

/// Two hosts in sync, with as many files in each of two directories.
fn pool() -> Lab {
    let lab = Lab::running(2);
    let [a, _] = lab.hosts();
    for at in 0..FILES {
        a.write(format!("half/{at}"), format!("half {at}"));
        a.write(format!("rest/{at}"), format!("rest {at}"));
    }
    lab.wait_identical();
    lab
}

/// Takes half of what a host that is stopped holds away, and starts it again.
fn start_without_half(host: &Host) -> PathBuf {
    host.stop();
    let away = host.outside("half");
    fs::rename(host.path("half"), &away).expect("it is on the same file system");
    host.start();
    wait_until("it is asked", DEFAULT_BOUND, || {
        host.try_status().is_some_and(|status| status.missing.is_some())
    });
    away
}

fn deletions(host: &Host, flags: &[&str]) -> Ended {
    let root = host.root().to_str().expect("its path is plain");
    host.p2pnetwork(&[&["deletions", root], flags].concat())
}

#[test]
fn half_that_is_missing_is_held_shown_and_found_again() {
    let lab = pool();
    let [a, b] = lab.hosts();
    let away = start_without_half(a);
    let status = a.status();
    let missing = status.missing.expect("it is asked");
    assert_eq!((missing.count, missing.of), (FILES as u64 + 1, 2 * FILES as u64 + 2));
    assert!(!status.in_sync && missing.named.contains(&"half".to_owned()), "{missing:?}");
    let shown = deletions(a, &[]);
    assert!(shown.stdout.contains("121 of 242 paths"), "{shown:?}");
    assert!(shown.stdout.contains("--accept") && shown.stdout.contains("--restore"), "{shown:?}");
    let root = a.root().to_str().expect("its path is plain");
    let said = a.p2pnetwork(&["status", root]).stdout;
    assert!(said.contains("NOT IN SYNC") && said.contains("deletions"), "{said}");
    b.write("rest/new", "new");
    a.write("rest/0", "edited");
    a.remove("rest/1");
    wait_until("everything else goes on", DEFAULT_BOUND, || {
        a.has("rest/new") && b.read("rest/0") == "edited" && !b.has("rest/1")
    });
    assert!((0..FILES).all(|at| b.has(format!("half/{at}"))));
    a.kill();
    a.start();
    wait_until("it is asked again", DEFAULT_BOUND, || {
        a.try_status().is_some_and(|status| status.missing.is_some())
    });
    fs::rename(away, a.path("half")).expect("it is on the same file system");
    wait_until("it is back", DEFAULT_BOUND, || a.status().missing.is_none());
    lab.wait_identical();
    assert!(a.has("half/7") && b.has("half/7"));
}

#[test]
fn half_that_is_missing_is_deleted_when_that_is_said() {
    let lab = pool();
    let [a, b] = lab.hosts();
    start_without_half(a);
    let answered = deletions(a, &["--accept"]);
    assert!(answered.code == Some(0) && answered.stdout.contains("121 paths"), "{answered:?}");
    lab.wait_identical();
    assert!(!b.has("half") && b.has("rest/7"));
    deletions(a, &["--accept"]).assert_one_clear_line(&["nothing is held back", "status"]);
    let shown = deletions(a, &[]);
    assert!(shown.code == Some(0) && shown.stdout.contains("nothing"), "{shown:?}");
}

#[test]
fn half_that_is_missing_is_fetched_when_that_is_said() {
    let lab = pool();
    let [a, b] = lab.hosts();
    start_without_half(a);
    let answered = deletions(a, &["--restore", "--json"]);
    assert!(answered.code == Some(0) && answered.stdout.contains("\"count\":121"), "{answered:?}");
    lab.wait_identical();
    assert!(a.read("half/7") == "half 7" && b.has("half/7"));
    a.stop();
    deletions(a, &["--accept"]).assert_one_clear_line(&["no p2pnetwork is running", "run"]);
    let both = deletions(a, &["--accept", "--restore"]);
    assert!(both.code == Some(2) && both.stderr.contains("--restore"), "{both:?}");
}
