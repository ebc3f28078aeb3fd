//! What cannot be put where it is wanted waits by itself: nothing else does, and it costs next to
//! nothing.

use std::{process::Command, time::Duration};

use crate::harness::{DEFAULT_BOUND, Host, Lab, noise, wait_identical, wait_until};

/// Longer than the longest pause between two tries, twice.
const RETRY_BOUND: Duration = Duration::from_secs(180);

/// A directory of a host in which nothing can be made, nor removed, until this is dropped.
struct Immutable(String);

impl Immutable {
    fn new(host: &Host, path: &str) -> Self {
        let directory = host.path(path).to_string_lossy().into_owned();
        chattr("+i", &directory);
        let probe = host.path(path).join("probe");
        assert!(
            std::fs::write(probe, "").is_err(),
            "chattr +i does nothing on the file system of target/tmp"
        );
        Self(directory)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        chattr("-i", &self.0);
    }
}

fn chattr(how: &str, path: &str) {
    let status = Command::new("chattr").args([how, path]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "chattr {how} {path} fails: is target/tmp on ext4?"
    );
}

fn with_directory(lab: &Lab) -> [&Host; 2] {
    let [a, b] = lab.hosts();
    a.mkdir("d");
    lab.wait_identical();
    [a, b]
}

#[test]
fn large_files_that_cannot_be_written_hold_up_no_other() {
    let lab = Lab::running(2);
    let [a, b] = with_directory(&lab);
    let immutable = Immutable::new(b, "d");
    for number in 0..6 {
        a.write(format!("d/{number}"), noise(number, 200_000));
    }
    wait_until("six files to be named", DEFAULT_BOUND, || b.status().errors.len() == 6);
    let mut status = b.status();
    status
        .errors
        .retain(|error| error.path.starts_with("d/") && error.error.contains("not permitted"));
    assert_eq!(status.errors.len(), 6, "{:?}", status.errors);
    a.write("large", noise(7, 200_000));
    wait_until("another large file", DEFAULT_BOUND, || b.has("large"));
    assert!(!b.status().in_sync);
    drop(immutable);
    wait_identical(&[a, b], RETRY_BOUND);
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
}

#[test]
fn thousands_of_links_that_cannot_be_made_are_counted_and_told_of_once() {
    const COUNT: usize = 3000;
    let lab = Lab::running(2);
    let [a, b] = with_directory(&lab);
    let immutable = Immutable::new(b, "d");
    for number in 0..COUNT {
        a.symlink("nowhere", format!("d/{number:04}"));
    }
    let counted = || b.status().errors.len() + b.status().more_errors as usize;
    wait_until("all to be counted", DEFAULT_BOUND, || counted() == COUNT);
    wait_until("the rest to be told of", DEFAULT_BOUND, || {
        b.has_logged("more paths cannot be written")
    });
    a.write("beside", "goes on");
    wait_until("what is beside them", DEFAULT_BOUND, || b.has("beside"));
    assert!(!b.status().in_sync);
    let warnings = b.log().lines().filter(|line| line.contains("WARN")).count();
    assert!(warnings < 300, "{warnings} warnings");
    drop(immutable);
    wait_identical(&[a, b], RETRY_BOUND);
    assert_eq!(counted(), 0);
}

/// As a package manager does it, twice.
#[test]
fn thousands_of_small_files_that_are_removed_and_made_anew_all_arrive() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for round in 0..3 {
        for number in 0..5000 {
            let (package, file) = (number / 25, number % 25);
            let content = format!("module.exports = {number}; // {}", number % (round + 2));
            a.write(format!("modules/{package}/lib/{file}"), content);
        }
        if round < 2 {
            a.rename("modules", "old");
            a.remove("old");
        }
    }
    wait_identical(&[a, b], RETRY_BOUND);
    assert!(!a.has("old"), "what was removed came back");
    assert!(
        !a.has_logged("another node"),
        "something was changed where alone it was changed: {}",
        a.log()
    );
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
    a.assert_no_conflicts();
}
