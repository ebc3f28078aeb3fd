//! An index that is lost or damaged: the node knows that it forgot, goes on by itself, and what
//! was done without it stays done.

use std::{fs, path::PathBuf};

use crate::harness::{DEFAULT_BOUND, Host, Lab, noise, wait_until};

/// Tries of one run; by hand many more were made.
const TRIES: u64 = 6;
const PAGE_BYTES: usize = 4096;
const DAMAGED_BYTES: usize = 64;

fn index_of(host: &Host) -> PathBuf {
    host.path(".p2pnetwork/index")
}

/// Files of both kinds, in directories, that all have.
fn fill(lab: &Lab) {
    let [a, b] = lab.hosts();
    for number in 0..40 {
        a.write(format!("d{}/small{number}", number % 7), noise(number, 500));
        b.write(format!("d{}/other{number}", number % 5), noise(100 + number, 500));
    }
    a.write("edited", "old");
    a.write("d0/large", noise(1000, 300_000));
    lab.wait_identical();
}

/// While `b` does not run.
fn change_without_b(a: &Host, number: u64) {
    a.write("edited", format!("new {number}"));
    a.write("d0/large", noise(2000 + number, 300_000));
    a.remove(format!("d{}/small{number}", number % 7));
    a.remove(format!("d{}/other{number}", number % 5));
}

/// As a service manager does it: the node is started again whenever it ends.
fn run_until_equal(a: &Host, b: &Host) {
    b.relaunch();
    wait_until("both to be equal", DEFAULT_BOUND, || {
        if !b.is_running() {
            b.end();
            b.relaunch();
        }
        let is_linked =
            b.try_status().is_some_and(|status| status.in_sync && status.is_linked(a.name()));
        is_linked && a.status().in_sync && a.tree() == b.tree()
    });
}

fn expect_changed(a: &Host, b: &Host, number: u64) {
    assert_eq!(a.read("edited"), format!("new {number}"));
    assert!(!b.has(format!("d{}/small{number}", number % 7)));
    assert!(!b.has(format!("d{}/other{number}", number % 5)));
    a.assert_no_conflicts();
}

#[test]
fn what_was_done_without_a_node_that_lost_its_index_stays_done() {
    let lab = Lab::running(2);
    fill(&lab);
    let [a, b] = lab.hosts();
    for (number, how) in ["gone", "empty", "something else"].into_iter().enumerate() {
        let number = number as u64;
        b.stop();
        change_without_b(a, number);
        b.write(format!("made{number}"), "while it did not run");
        match how {
            "gone" => fs::remove_file(index_of(b)).unwrap(),
            "empty" => fs::write(index_of(b), "").unwrap(),
            _ => fs::write(index_of(b), noise(number, 100_000)).unwrap(),
        }
        b.start();
        lab.wait_identical();
        expect_changed(a, b, number);
        assert!(a.has(format!("made{number}")));
    }
    assert!(b.has_logged("the index is lost") && b.has_logged("the index is damaged"));
    let told = b.p2pnetwork(&["status", &b.root().to_string_lossy()]);
    assert!(told.stdout.contains("the index was lost or damaged"), "{told:?}");
}

#[test]
fn damage_of_any_page_is_overcome() {
    let lab = Lab::running(2);
    fill(&lab);
    let [a, b] = lab.hosts();
    for number in 0..TRIES {
        b.stop();
        change_without_b(a, number);
        let mut bytes = fs::read(index_of(b)).unwrap();
        let used: Vec<usize> = (0..bytes.len() / PAGE_BYTES)
            .filter(|page| bytes[page * PAGE_BYTES..][..PAGE_BYTES].iter().any(|byte| *byte != 0))
            .collect();
        let random = noise(3000 + number, DAMAGED_BYTES + 16);
        let pick = |at: usize, below: usize| {
            let bytes = random[DAMAGED_BYTES + at..][..8].try_into().unwrap();
            (u64::from_le_bytes(bytes) % below as u64) as usize
        };
        let at = used[pick(0, used.len())] * PAGE_BYTES + pick(8, PAGE_BYTES - DAMAGED_BYTES);
        bytes[at..][..DAMAGED_BYTES].copy_from_slice(&random[..DAMAGED_BYTES]);
        fs::write(index_of(b), bytes).unwrap();
        run_until_equal(a, b);
        expect_changed(a, b, number);
    }
}
