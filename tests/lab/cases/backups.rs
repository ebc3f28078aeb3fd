//! Directories and indexes that come from somewhere else than the last run: copies, backups, full
//! disks.

use std::{fs, process::Command};

use crate::harness::{DEFAULT_BOUND, Host, Lab, noise, wait_identical, wait_until};

#[test]
fn copied_directory_becomes_a_machine_of_its_own() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    a.write("base", "base");
    a.write("d/large", noise(1, 200_000));
    a.start();
    c.start();
    wait_identical(&[a, c], DEFAULT_BOUND);
    let identity = a.status().node.id;
    a.stop();
    copy_directory(a, b);
    a.write("made-on-a", "a");
    b.write("made-on-b", "b");
    a.write("base", "edited on a");
    // Neither waits for the other: whichever is first, both find out.
    a.start();
    b.start();
    lab.wait_identical();
    assert_eq!((b.read("made-on-a"), a.read("made-on-b")), ("a".into(), "b".into()));
    assert_eq!(c.read("base"), "edited on a");
    let ids = [a, b, c].map(|host| host.status().node.id);
    assert!(ids[0] != ids[1] && ids[1] != identity, "{ids:?}");
    let origins = [a, b, c].map(|host| host.status().node.origin);
    assert_ne!(origins[0], origins[1]);
    b.write("later", "from the copy");
    lab.wait_identical();
    assert_eq!(a.read("later"), "from the copy");
    a.assert_no_conflicts();
}

#[test]
fn older_index_from_a_backup_counts_nothing_twice() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("edited", "base");
    a.write("gone", "base");
    lab.wait_identical();
    a.stop();
    let backup = a.outside("index-backup");
    fs::copy(a.path(".p2pnetwork/index"), &backup).unwrap();
    a.start();
    for i in 0..20 {
        a.write(format!("late/{i:02}"), noise(i, 100));
    }
    a.write("edited", "by the node that will forget it");
    a.remove("gone");
    lab.wait_identical();
    a.stop();
    fs::copy(&backup, a.path(".p2pnetwork/index")).unwrap();
    a.write("late/05", "edited on a while the index was old");
    a.write("new-on-a", "a");
    b.write("late/03", "edited on b meanwhile");
    b.remove("late/04");
    a.start();
    lab.wait_identical();
    assert_eq!(b.read("late/05"), "edited on a while the index was old");
    assert_eq!(
        (b.read("new-on-a"), b.read("edited")),
        ("a".into(), "by the node that will forget it".into())
    );
    assert_eq!(a.read("late/03"), "edited on b meanwhile");
    assert!(!a.has("gone"));
}

#[test]
fn restart_goes_on_under_the_same_number() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    b.write("x", "x");
    lab.wait_identical();
    let origin = a.status().node.origin;
    a.stop();
    a.start();
    assert_eq!(a.status().node.origin, origin);
}

#[test]
fn full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let root = b.root().display();
    give_small_disk(&lab, b, 16);
    a.start();
    b.start();
    lab.wait_linked();
    b.shell(&format!("printf precious > '{root}/mine'"));
    wait_until("b's file", DEFAULT_BOUND, || a.has("mine"));
    for i in 0..300 {
        a.write(format!("many/{i}"), noise(i, 60_000));
    }
    a.put("large", noise(1000, 20_000_000));
    wait_until("the disk to be full", DEFAULT_BOUND, || {
        b.status().errors.iter().any(|error| error.error.contains("full"))
    });
    // Nor does the node fall when somebody else takes the rest, or when it is to note more.
    b.shell(&format!("cat /dev/zero > '{root}/.p2pnetwork/rest'"));
    for i in 0..300 {
        a.write(format!("small/{i}"), "x");
    }
    a.remove("many/7");
    wait_until("the index to be full, too", DEFAULT_BOUND, || {
        b.has_logged("not even the index has room")
    });
    assert!(b.is_running());
    b.shell(&format!("rm '{root}/.p2pnetwork/rest'"));
    enlarge_disk(&lab, b, 200);
    wait_until("everything to arrive", DEFAULT_BOUND, || {
        b.try_status().is_some_and(|status| status.in_sync && status.is_linked(a.name()))
            && a.status().in_sync
            && list(a) == list(b)
    });
    assert_eq!(b.shell(&format!("cat '{root}/mine'")), "precious");
    assert!(b.is_running());
}

#[test]
fn file_that_does_not_fit_is_fetched_when_it_does_and_no_sooner() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let root = b.root().display();
    give_small_disk(&lab, b, 64);
    lab.start_all();
    a.put("large", noise(1, 80_000_000));
    a.put("small", noise(2, 20_000_000));
    wait_until("the file to be said not to fit", DEFAULT_BOUND, || is_said_not_to_fit(b, "large"));
    wait_until("the one that fits", DEFAULT_BOUND, || {
        b.shell(&format!("ls '{root}'")).contains("small")
    });
    let sent = a.sent();
    // It has been tried again several times by then: after half a second, one, two and four.
    b.wait_for_keep_alives();
    b.wait_for_keep_alives();
    let in_vain = a.sent() - sent;
    assert!(is_said_not_to_fit(b, "large") && in_vain < 2_000_000, "{in_vain} bytes sent in vain");
    assert_eq!(b.log().matches("large cannot be written").count(), 1, "it is said again and again");
    enlarge_disk(&lab, b, 200);
    wait_until("the large file", DEFAULT_BOUND, || {
        b.status().in_sync && b.shell(&format!("ls '{root}'")).contains("large")
    });
    assert_eq!(list(a), list(b));
}

#[test]
fn trash_gives_way_to_what_is_received() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let root = b.root().display();
    give_small_disk(&lab, b, 64);
    lab.start_all();
    for round in 0..5 {
        a.write("small", noise(100 + round, 60_000));
        a.put("large", noise(round, 16_000_000));
        wait_until("the next version", DEFAULT_BOUND, || {
            a.status().in_sync && b.status().in_sync && list(a) == list(b)
        });
    }
    assert!(b.has_logged("the trash gives way"));
    // Not more of it than was needed.
    assert!(b.shell(&format!("ls '{root}/.p2pnetwork/trash/'*")).contains("large"));
    // What does not fit even so takes nothing from it.
    a.put("huge", noise(9, 90_000_000));
    wait_until("the file to be said not to fit", DEFAULT_BOUND, || is_said_not_to_fit(b, "huge"));
    b.wait_for_keep_alives();
    assert!(b.shell(&format!("ls '{root}/.p2pnetwork/trash/'*")).contains("large"));
}

/// So many files are there, and in the trash, that no other can be made.
#[test]
fn trash_gives_way_to_files_where_their_number_is_limited() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let root = b.root().display();
    lab.world().shell(&format!("mount -t tmpfs -o size=300m,nr_inodes=400 small '{root}'"));
    lab.start_all();
    for i in 0..200 {
        a.write(format!("old/{i}"), "x");
    }
    wait_until("the old files", DEFAULT_BOUND, || list(a) == list(b));
    a.remove("old");
    wait_until("the old files to go", DEFAULT_BOUND, || b.status().in_sync && list(a) == list(b));
    for i in 0..250 {
        a.write(format!("new/{i}"), "y");
    }
    wait_until("the new files", DEFAULT_BOUND, || list(a) == list(b));
    for i in 0..400 {
        a.write(format!("more/{i}"), "z");
    }
    wait_until("inodes to be named", DEFAULT_BOUND, || {
        b.status().errors.iter().any(|error| error.error.contains("inodes"))
    });
    assert!(b.is_running());
}

#[test]
fn trash_leaves_room_for_what_people_save() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let root = b.root().display();
    give_small_disk(&lab, b, 100);
    lab.start_all();
    for round in 0..20 {
        a.put("large", noise(round, 4_000_000));
        wait_until("the next version", DEFAULT_BOUND, || {
            a.status().in_sync && b.status().in_sync && list(a) == list(b)
        });
    }
    wait_until("a fifth of the disk to be free", DEFAULT_BOUND, || {
        let free = b.shell(&format!("df --output=avail -B1000000 '{root}' | tail -1"));
        free.trim().parse::<u64>().is_ok_and(|free_mb| free_mb >= 20)
    });
    b.shell(&format!("head -c 20000000 /dev/urandom > '{root}/mine'"));
}

#[test]
fn node_on_a_file_system_that_is_read_only_waits_and_goes_on() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    let root = b.root().display();
    give_small_disk(&lab, b, 64);
    lab.start_all();
    a.write("before", "x");
    wait_until("the file", DEFAULT_BOUND, || list(a) == list(b));
    b.stop();
    lab.world().shell(&format!("mount -o remount,ro '{root}'"));
    b.relaunch();
    wait_until("the node to say so", DEFAULT_BOUND, || b.has_logged("is read-only"));
    let ask = || b.p2pnetwork(&["status", &root.to_string()]);
    ask().assert_one_clear_line(&["read-only"]);
    a.write("meanwhile", "y");
    lab.world().shell(&format!("mount -o remount,rw '{root}'"));
    b.wait_started();
    wait_until("the file", DEFAULT_BOUND, || list(a) == list(b));
}

#[test]
fn node_that_waits_for_room_ends_when_asked_to() {
    let lab = Lab::new(1);
    let [a] = lab.hosts();
    let root = a.root().display();
    give_small_disk(&lab, a, 4);
    a.start();
    a.shell(&format!(
        "cat /dev/zero > '{root}/.p2pnetwork/rest'; mkdir '{root}/d'; cd '{root}/d'; touch $(seq \
         3000)"
    ));
    wait_until("the index to be full", DEFAULT_BOUND, || {
        a.has_logged("not even the index has room")
    });
    let ask = || a.p2pnetwork(&["status", &root.to_string()]);
    wait_until("the node to answer nobody any more", DEFAULT_BOUND, || ask().code == Some(1));
    ask().assert_one_clear_line(&["full", "make some"]);
    a.stop();
}

#[test]
fn state_of_a_node_further_down_stays_its_own() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("inner/file", "x");
    a.write("inner/.p2pnetwork/group", "another group's key");
    a.write("other/deep/.P2Pnetwork/identity", "another node's key");
    lab.wait_linked();
    a.stop();
    a.start();
    wait_until("the file", DEFAULT_BOUND, || b.has("inner/file") && b.has("other/deep"));
    wait_until("both to agree", DEFAULT_BOUND, || a.status().in_sync && b.status().in_sync);
    assert!(!b.has("inner/.p2pnetwork") && !b.has("other/deep/.P2Pnetwork"));
}

/// In the lab's own mount namespace: this process sees the disk of the host by the host's shell
/// only.
fn give_small_disk(lab: &Lab, host: &Host, mib: u32) {
    lab.world().shell(&format!("mount -t tmpfs -o size={mib}m small '{}'", host.root().display()));
}

fn enlarge_disk(lab: &Lab, host: &Host, mib: u32) {
    lab.world().shell(&format!("mount -o remount,size={mib}m '{}'", host.root().display()));
}

fn is_said_not_to_fit(host: &Host, path: &str) -> bool {
    host.status().errors.iter().any(|error| error.path == path && error.error.contains("full"))
}

/// As `cp -a` does it.
fn copy_directory(from: &Host, to: &Host) {
    fs::remove_dir(to.root()).unwrap();
    let copied = Command::new("cp").arg("-a").args([from.root(), to.root()]).status().unwrap();
    assert!(copied.success());
}

/// Names and sums of all files.
fn list(host: &Host) -> String {
    host.shell(&format!(
        "cd '{}' && find . -path ./.p2pnetwork -prune -o -type f -print0 | sort -z | xargs -0 \
         sha256sum",
        host.root().display()
    ))
}
