//! Files with holes: holes are neither read, nor sent, nor filled.

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    time::Duration,
};

use crate::harness::{Host, Lab, noise, wait_identical};

const BOUND: Duration = Duration::from_secs(180);
const MIB: u64 = 1024 * 1024;
/// What a hole's ends may cost, since content is cut where it wants to be.
const SLACK: u64 = 4 * MIB;

fn on_disk(host: &Host, path: &str) -> u64 {
    host.path(path).metadata().unwrap().blocks() * 512
}

#[test]
fn holes_stay_holes() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let before = b.received();
    let image = a.outside("image");
    let file = File::create(&image).unwrap();
    file.set_len(256 * MIB).unwrap();
    for (seed, at) in [(1, 0), (2, 100 * MIB + 4096), (3, 200 * MIB)] {
        file.write_all_at(&noise(seed, MIB as usize), at).unwrap();
    }
    std::fs::rename(&image, a.path("image")).unwrap();
    wait_identical(&[a, b], BOUND);
    let sent = b.received() - before;
    let (here, there) = (on_disk(a, "image"), on_disk(b, "image"));
    eprintln!("{sent} bytes sent; {here} bytes of the disk here, {there} there");
    assert!(here < 4 * MIB, "the file system under test knows no holes");
    assert!(sent < 3 * MIB + SLACK, "{sent} bytes sent");
    assert!(there < here + SLACK, "{there} bytes of the disk there, {here} here");

    // An edit, a longer hole at the end, and a copy on one disk.
    file.write_all_at(&noise(4, 4096), 150 * MIB).unwrap();
    file.set_len(300 * MIB).unwrap();
    wait_identical(&[a, b], BOUND);
    assert_eq!(b.path("image").metadata().unwrap().len(), 300 * MIB);
    assert!(on_disk(b, "image") < on_disk(a, "image") + SLACK, "the edit filled the holes");
    std::process::Command::new("cp").arg(a.path("image")).arg(a.path("copy")).status().unwrap();
    wait_identical(&[a, b], BOUND);
    assert!(on_disk(b, "copy") < on_disk(a, "copy") + SLACK, "the copy filled the holes");
}

#[test]
fn file_of_nothing_but_a_hole_travels() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for size in [65_537, MIB, MIB + 1, 50 * MIB] {
        File::create(a.path(format!("{size}"))).unwrap().set_len(size).unwrap();
    }
    lab.wait_identical();
    assert!(on_disk(b, &(50 * MIB).to_string()) < SLACK);
}
