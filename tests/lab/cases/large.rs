//! Files that do not fit a message, and what happens when somebody dies while they travel.

use std::{fs, thread, time::Duration};

use crate::harness::{Host, Lab, noise, wait_identical, wait_until};

const LARGE_BOUND: Duration = Duration::from_secs(180);

#[test]
fn file_of_300_mb_travels() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("large.bin", noise(11, 300_000_000));
    let took = wait_identical(&[a, b], LARGE_BOUND);
    eprintln!("300 MB: identical after {took:?}");
    assert_eq!(b.path("large.bin").metadata().unwrap().len(), 300_000_000);
    let resident = b.status().resident_bytes.max(a.status().resident_bytes);
    assert!(resident < 150_000_000, "the file is held in memory: {resident} bytes resident");
}

#[test]
fn sizes_around_every_boundary_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let kib = 1024;
    for edge in [0, 1, 4 * kib, 60 * kib, 64 * kib, 128 * kib, 256 * kib, 1024 * kib, 2048 * kib] {
        for size in [edge.max(1) - 1, edge, edge + 1] {
            a.write(format!("{size}"), noise(size as u64, size));
        }
    }
    a.write("zeros", vec![0; 5_000_000]);
    lab.wait_identical();
    assert_eq!(b.path("65537").metadata().unwrap().len(), 65_537);
    assert_eq!(b.path("zeros").metadata().unwrap().len(), 5_000_000);
}

#[test]
fn receiver_killed_in_mid_transfer_goes_on() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("small", "before");
    lab.wait_identical();
    a.write("large.bin", noise(12, 200_000_000));
    wait_for_part(b);
    b.kill();
    assert!(!b.has("large.bin"), "it was killed too late, or a half-written file has its name");
    b.start();
    wait_identical(&[a, b], LARGE_BOUND);
    assert_eq!(b.read("small"), "before");
    a.assert_no_conflicts();
}

#[test]
fn sender_killed_in_mid_transfer_goes_on() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("large.bin", noise(13, 200_000_000));
    wait_for_part(b);
    a.kill();
    assert!(!b.has("large.bin"), "it was killed too late, or a half-written file has its name");
    a.write("meanwhile", "nobody watched");
    a.start();
    wait_identical(&[a, b], LARGE_BOUND);
    assert_eq!(b.read("meanwhile"), "nobody watched");
    a.assert_no_conflicts();
}

#[test]
fn cable_pulled_in_mid_transfer_and_put_back() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("large.bin", noise(14, 200_000_000));
    wait_for_part(b);
    lab.cut(b);
    assert!(!b.has("large.bin"), "it was cut too late, or a half-written file has its name");
    b.write("on-b", "while alone");
    thread::sleep(Duration::from_secs(1));
    lab.heal(b);
    wait_identical(&[a, b], LARGE_BOUND);
    a.assert_no_conflicts();
}

#[test]
fn large_file_edited_while_it_travels_arrives_in_its_last_state() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("large.bin", noise(15, 100_000_000));
    wait_for_part(b);
    a.write("large.bin", noise(16, 50_000_000));
    wait_identical(&[a, b], LARGE_BOUND);
    assert_eq!(fs::read(b.path("large.bin")).unwrap(), noise(16, 50_000_000));
    a.assert_no_conflicts();
}

#[test]
fn large_file_deleted_while_it_travels_stays_deleted() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("large.bin", noise(17, 100_000_000));
    wait_for_part(b);
    a.remove("large.bin");
    a.write("after", "");
    wait_identical(&[a, b], LARGE_BOUND);
    assert!(b.has("after") && !b.has("large.bin"));
}

#[test]
fn half_written_file_is_never_seen() {
    const LENGTH: usize = 3_000_000;
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for version in b'0'..b'6' {
        a.write(".new", vec![version; LENGTH]);
        a.rename(".new", "file");
        wait_until("the next version", LARGE_BOUND, || match fs::read(b.path("file")) {
            Ok(content) => {
                assert_eq!(content.len(), LENGTH);
                assert!(content.iter().all(|&byte| byte == content[0]), "two versions are mixed");
                content[0] == version
            }
            Err(_) => {
                assert_eq!(version, b'0', "the file was away while it was replaced");
                false
            }
        });
    }
}

#[test]
fn what_has_come_is_not_sent_again() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("large.bin", noise(18, 200_000_000));
    wait_for_bytes(b, 100_000_000);
    b.kill();
    assert!(!b.has("large.bin"), "it was killed too late");
    let before = a.traffic()[2];
    b.start();
    wait_identical(&[a, b], LARGE_BOUND);
    let sent = a.traffic()[2] - before;
    assert!(sent < 115_000_000, "{sent} bytes for what was left of 200 MB at half of it");
}

#[test]
fn what_has_come_before_the_cable_was_pulled_is_not_sent_again() {
    const SIZE: u64 = 300_000_000;
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let content = noise(21, SIZE as usize);
    let before = b.traffic()[0];
    a.write("large.bin", content);
    wait_until("nine tenths of it", LARGE_BOUND, || b.traffic()[0] - before > SIZE / 10 * 9);
    lab.cut(b);
    let (came, sent_before) = (b.traffic()[0] - before, a.traffic()[2]);
    assert!(!b.has("large.bin"), "it was cut too late");
    wait_until("both to notice", LARGE_BOUND, || {
        !a.status().is_linked(b.name()) && !b.status().is_linked(a.name())
    });
    lab.heal(b);
    wait_identical(&[a, b], LARGE_BOUND);
    let sent = a.traffic()[2] - sent_before;
    eprintln!("{came} bytes came, {sent} were sent afterwards");
    assert!(sent < SIZE.saturating_sub(came) + SIZE / 50, "{sent} bytes after {came} of {SIZE} had come");
}

#[test]
fn edit_of_a_large_file_sends_what_changed() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let mut content = noise(19, 64_000_000);
    a.write("large.bin", &content);
    wait_identical(&[a, b], LARGE_BOUND);

    let before = a.traffic()[2];
    content[30_000_000..30_004_096].fill(0);
    a.write("large.bin", &content);
    wait_identical(&[a, b], LARGE_BOUND);
    content.splice(0..0, *b"twenty-two bytes more.");
    a.write("large.bin", &content);
    wait_identical(&[a, b], LARGE_BOUND);
    let sent = a.traffic()[2] - before;
    assert!(sent < 5_000_000, "{sent} bytes for an overwrite of 4 KiB and an insertion of 22 bytes");
}

#[test]
fn hosts_that_fetch_the_same_fetch_it_from_each_other() {
    const SIZE: usize = 60_000_000;
    let lab = Lab::running(5);
    let hosts = lab.hosts::<5>();
    let before = hosts[0].traffic()[2];
    hosts[0].write("large.bin", noise(20, SIZE));
    wait_identical(&hosts, LARGE_BOUND);
    let sent = hosts[0].traffic()[2] - before;
    eprintln!("{:.2} times its size to 4 hosts", sent as f64 / SIZE as f64);
    assert!(sent < 3 * SIZE as u64, "{sent} bytes from its origin");
}

fn wait_for_part(host: &Host) {
    wait_for_bytes(host, 10_000_000);
}

/// Until so many bytes have reached the host.
fn wait_for_bytes(host: &Host, count: u64) {
    let before = host.traffic()[0];
    wait_until("the transfer to begin", LARGE_BOUND, || host.traffic()[0] - before > count);
}
