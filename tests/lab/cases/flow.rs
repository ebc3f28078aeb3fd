//! Large files are under way, or somebody does not read: what is small is quick, and nothing grows.

use inotify::WatchMask;
use rustix::process::Signal;

use crate::harness::{DEFAULT_BOUND, Lab, Observer, noise, wait_until};

/// By how much a node may grow because another one does not read.
const STALLED_GROWTH_KIB: u64 = 24 * 1024;

#[test]
fn small_save_overtakes_a_large_file() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    // Half a MB a second: the large file is under way for longer than ten saves ever are.
    a.limit_rate("4mbit");
    a.put("large", noise(1, 50_000_000));
    b.wait_for_bytes(1_000_000);
    for i in 0..10 {
        a.write("note", format!("{i}"));
        let arrived = || b.has("note") && b.read("note") == format!("{i}");
        wait_until("a save to overtake the large file", DEFAULT_BOUND, arrived);
    }
    assert!(!b.has("large"), "the large file was there first");
    a.lift_rate();
    lab.wait_identical();
}

#[test]
fn small_save_overtakes_a_large_file_that_is_still_hashed() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let large = a.outside("large");
    std::fs::write(&large, noise(2, 50_000_000)).unwrap();
    let notes = ["d0/note", "d1/note", "d2/note"];
    // Frozen, it hears of all of it at once, in this order.
    a.signal(Signal::STOP);
    std::fs::rename(&large, a.path("large")).unwrap();
    notes.iter().for_each(|note| a.write(note, "is listed and read meanwhile"));
    let mut observer = Observer::new();
    observer.watch("large", &a.path("large"), WatchMask::CLOSE_NOWRITE);
    notes.iter().for_each(|note| observer.watch(note, &a.path(note), WatchMask::ACCESS));
    a.signal(Signal::CONT);
    wait_until("all of it", DEFAULT_BOUND, || {
        b.has("large") && notes.iter().all(|note| b.has(note))
    });
    let happened: Vec<_> = observer.happened().into_iter().map(|(_, what)| what).collect();
    let before: Vec<_> = happened.iter().take_while(|&what| what != "large").collect();
    assert!(
        notes.iter().all(|note| before.iter().any(|what| what == note)),
        "they waited until the large file was hashed: {happened:?}"
    );
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
    wait_until("all of it to be known", DEFAULT_BOUND, || a.status().entries == 3105);
    for i in 0..3000 {
        a.write(format!("many/{i}"), noise(i + 5000, 16_384));
    }
    wait_until("the link to be given up", DEFAULT_BOUND, || !a.status().is_linked(b.name()));
    let grown = a.proc_field("status", "VmHWM") - before;
    eprintln!("{grown} KiB for a node that does not read");
    assert!(grown < STALLED_GROWTH_KIB, "{grown} KiB for a node that does not read");
    b.signal(Signal::CONT);
    lab.wait_identical();
    assert!(b.proc_field("status", "VmHWM") < 4 * STALLED_GROWTH_KIB, "catching up takes memory");
    a.assert_no_conflicts();
}
