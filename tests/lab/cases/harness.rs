//! The lab itself: a lab that deceives would make every other test worthless.

use std::{fs, time::Duration};

use crate::harness::{
    Lab, noise,
    tree::{Reader, difference},
};

#[test]
fn hosts_reach_each_other_until_the_cable_is_pulled() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    // A refused connection proves that packets went there and back.
    let knock = || a.shell(&format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{}/9' 2>&1", b.address()));
    assert!(knock().contains("refused"), "{}", knock());
    lab.cut(b);
    assert!(!knock().contains("refused"));
    lab.heal(b);
    assert!(knock().contains("refused"));
}

#[test]
fn hosts_reach_each_other_without_arp() {
    let lab = Lab::new(3);
    let [a, b, witness] = lab.hosts();
    lab.world().switch_arp_off(2);
    let before = witness.packets_heard();
    let answer = a.shell(&format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{}/9' 2>&1", b.address()));
    assert!(answer.contains("refused"), "{answer}");
    assert!(witness.packets_heard() - before < 5, "somebody asked by ARP");
    assert!(a.mac() != b.mac() && a.mac().len() == 17);
}

#[test]
fn trees_differ_by_every_property() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let mtime = std::time::UNIX_EPOCH + Duration::from_nanos(1_600_000_000_123_456_789);
    for host in [a, b] {
        host.write("d/file", "same");
        host.set_mtime("d/file", mtime);
        host.symlink("target", "link");
        host.write(".p2pnetwork/state", host.name());
    }
    assert_eq!(a.tree(), b.tree());
    let differs = |change: &dyn Fn()| {
        change();
        let found = difference(&a.tree(), &b.tree(), 9);
        assert_eq!(found.lines().count(), 1, "{found}");
    };
    differs(&|| b.chmod("d/file", 0o600));
    differs(&|| b.set_mtime("d/file", mtime + Duration::from_nanos(1)));
    b.chmod("d/file", 0o644);
    a.chmod("d/file", 0o644);
    differs(&|| {
        b.write("d/file", "SAME");
        b.set_mtime("d/file", mtime);
    });
    b.write("d/file", "same");
    b.set_mtime("d/file", mtime);
    differs(&|| {
        b.remove("link");
        b.symlink("elsewhere", "link");
    });
}

#[test]
fn reader_sees_through_its_cache() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    a.write("file", noise(1, 100_000));
    let mut reader = Reader::default();
    let before = reader.read(a.root()).unwrap();
    assert_eq!(reader.read(a.root()).unwrap(), before);
    fs::write(a.path("file"), noise(2, 100_000)).unwrap();
    assert_ne!(reader.read(a.root()).unwrap(), before);
}
