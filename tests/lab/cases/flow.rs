//! Large files are under way, or somebody does not read: what is small is quick, and nothing grows.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{DEFAULT_BOUND, Host, Lab, noise, wait_identical, wait_until};

const BOUND: Duration = Duration::from_secs(180);
/// By how much a node may grow because another one does not read.
const STALLED_GROWTH_KIB: u64 = 24 * 1024;

#[test]
fn small_save_overtakes_a_large_file() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.limit_rate("100mbit");
    a.write("large", noise(1, 60_000_000));
    wait_for_bytes(b, 5_000_000);
    for i in 0..10 {
        a.write("note", format!("{i}"));
        let arrived = || b.has("note") && b.read("note") == format!("{i}");
        wait_until("a save to overtake the large file", BOUND, arrived);
    }
    assert!(!b.has("large"), "the large file was there first");
    wait_identical(&[a, b], BOUND);
}

#[test]
fn small_save_overtakes_a_large_file_that_is_still_hashed() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let large = a.outside("large");
    std::fs::write(&large, noise(2, 150_000_000)).unwrap();
    let before = a.status().entries;
    std::fs::rename(&large, a.path("large")).unwrap();
    for i in 0..5 {
        a.write(format!("d{i}/note"), "is listed, read and sent meanwhile");
        wait_until("a save in a new directory", BOUND, || b.has(format!("d{i}/note")));
    }
    assert_eq!(a.status().entries, before + 10, "the large file was hashed before it was asked for");
    wait_until("the large file to be known", BOUND, || a.status().entries == before + 11);
}

#[test]
fn node_that_stops_reading_costs_a_fixed_amount_of_memory() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..100 {
        a.write(format!("warm/{i}"), noise(i, 16_384));
    }
    lab.wait_identical();
    b.signal(Signal::STOP);
    let before = a.proc_field("status", "VmHWM");
    for i in 0..3000 {
        a.write(format!("many/{i}"), noise(i, 16_384));
    }
    for i in 0..3 {
        a.write(format!("large{i}"), noise(i, 20_000_000));
    }
    wait_until("all of it to be known", BOUND, || a.status().entries == 3105);
    for i in 0..3000 {
        a.write(format!("many/{i}"), noise(i + 5000, 16_384));
    }
    wait_until("the link to be given up", BOUND, || !a.status().is_linked(b.name()));
    let grown = a.proc_field("status", "VmHWM") - before;
    eprintln!("{grown} KiB for a node that does not read");
    assert!(grown < STALLED_GROWTH_KIB, "{grown} KiB for a node that does not read");
    b.signal(Signal::CONT);
    wait_identical(&[a, b], BOUND);
    assert!(b.proc_field("status", "VmHWM") < 4 * STALLED_GROWTH_KIB, "catching up takes memory");
    a.assert_no_conflicts();
}

fn wait_for_bytes(host: &Host, count: u64) {
    let before = host.traffic()[0];
    wait_until("the transfer to begin", DEFAULT_BOUND, || host.traffic()[0] - before > count);
}
