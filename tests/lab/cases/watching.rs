//! Noticing changes, with events and without them, and leaving alone what cannot be seen.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

use rustix::process::Signal;

use crate::harness::{DEFAULT_BOUND, Host, Lab, wait_until};

/// What a node that rests may have sent while it sent a few keep-alives, be they of minutes: less
/// than one entry a second.
const KEEP_ALIVE_BYTES: u64 = 2_000;

#[test]
fn watch_limit_falls_back_to_the_timer() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    for i in 0..30 {
        a.write(format!("d{i}/file"), "base");
    }
    b.limit_watches(8);
    lab.start_all();
    lab.wait_identical();
    assert!(b.status().degraded_directories > 0, "{:?}", b.status());
    assert_eq!(a.status().degraded_directories, 0);
    for i in 0..30 {
        b.write(format!("d{i}/file"), "edited where nobody watches");
    }
    b.write("d29/new/deep", "made where nobody watches");
    b.remove("d28");
    lab.wait_identical();
    assert_eq!(a.read("d27/file"), "edited where nobody watches");
    assert!(a.has("d29/new/deep") && !a.has("d28"));
}

#[test]
fn queue_overflow_loses_nothing() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("x", "0");
    a.write("y", "0");
    a.write("renamed", "content");
    a.write("deleted", "content");
    a.write("d/deleted", "content");
    lab.wait_identical();
    b.signal(Signal::STOP);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    // In turn, since equal events in a row are one event.
    for i in 0..=limit.trim().parse::<u32>().unwrap() {
        b.write(if i % 2 == 0 { "x" } else { "y" }, "");
    }
    // The queue is full: of all that follows nobody is told.
    b.write("x", "last");
    b.write("new/tree/file", "unseen");
    b.rename("renamed", "other-name");
    b.remove("deleted");
    b.remove("d");
    b.signal(Signal::CONT);
    lab.wait_identical();
    assert_eq!(a.read("x"), "last");
    assert!(a.has("new/tree/file") && a.has("other-name") && !a.has("deleted") && !a.has("d"));
    b.write("new/tree/later", "the watches are whole again");
    lab.wait_identical();
    assert!(a.has("new/tree/later"));
}

#[test]
fn root_renamed_away_pauses_the_node() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/file", "precious");
    lab.wait_identical();
    let before = a.tree();
    let away = b.outside("away");
    fs::rename(b.root(), &away).unwrap();
    wait_until("b to pause", DEFAULT_BOUND, || {
        b.try_status_at(&away).is_some_and(|status| status.paused.is_some())
    });
    assert!(b.has_logged("paused"));
    b.wait_for_keep_alives();
    assert_eq!(a.tree(), before, "what is missing was taken for deleted");
    fs::rename(&away, b.root()).unwrap();
    goes_on(&lab, a, b);
}

#[test]
fn root_replaced_by_an_empty_directory_pauses_the_node() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/file", "precious");
    lab.wait_identical();
    let before = a.tree();
    let away = b.outside("away");
    fs::rename(b.root(), &away).unwrap();
    fs::create_dir(b.root()).unwrap();
    wait_until("b to pause", DEFAULT_BOUND, || {
        b.try_status_at(&away).is_some_and(|status| status.paused.is_some())
    });
    a.write("meanwhile", "must not land in the wrong directory");
    b.wait_for_keep_alives();
    assert_eq!(a.tree().len(), before.len() + 1, "what is missing was taken for deleted");
    assert_eq!(
        fs::read_dir(b.root()).unwrap().count(),
        0,
        "it wrote into a directory that is not its own"
    );
    fs::remove_dir(b.root()).unwrap();
    fs::rename(&away, b.root()).unwrap();
    goes_on(&lab, a, b);
    assert!(b.has("meanwhile"));
}

#[test]
fn root_unmounted_pauses_the_node() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    // Only the node sees the mount; the test sees what is mounted, under its own name.
    let point = b.outside("mnt").to_string_lossy().into_owned();
    let disk = b.root().to_string_lossy().into_owned();
    fs::create_dir(&point).unwrap();
    lab.world().shell(&format!("mount --bind '{disk}' '{point}'"));
    a.write("d/file", "precious");
    a.start();
    b.spawn_on(&point, &["--join", &a.invite()]);
    lab.wait_identical();
    let before = a.tree();
    lab.world().shell(&format!("umount --lazy '{point}'"));
    wait_until("b to pause", DEFAULT_BOUND, || b.status().paused.is_some());
    b.wait_for_keep_alives();
    assert_eq!(a.tree(), before, "what is missing was taken for deleted");
    assert_eq!(fs::read_dir(&point).unwrap().count(), 0, "it wrote below the mount point");
    lab.world().shell(&format!("mount --bind '{disk}' '{point}'"));
    goes_on(&lab, a, b);
}

#[test]
fn root_that_is_gone_at_the_start_is_not_made_anew() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/file", "precious");
    lab.wait_identical();
    b.stop();
    fs::remove_dir_all(b.root()).unwrap();
    // A new directory is a new node, which has deleted nothing.
    b.start();
    lab.wait_linked();
    lab.wait_identical();
    assert_eq!(a.read("d/file"), "precious");
}

#[test]
fn what_cannot_be_read_is_not_deleted() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/file", "precious");
    lab.wait_identical();
    b.stop();
    b.chmod("d", 0);
    b.without_dac_override();
    b.start();
    wait_until("b to tell of it", DEFAULT_BOUND, || {
        b.status().errors.iter().any(|it| it.path.starts_with('d') && !it.error.is_empty())
    });
    b.wait_for_keep_alives();
    b.chmod("d", 0o755);
    a.chmod("d", 0o755);
    lab.wait_identical();
    assert_eq!((a.read("d/file"), b.read("d/file")), ("precious".into(), "precious".into()));
}

#[test]
fn idle_nodes_are_quiet() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..50 {
        a.write(format!("d/{i}"), "x");
    }
    lab.wait_identical();
    lab.wait_at_rest();
    let state = || [a, b].map(state_files);
    let wait = || [a, b].iter().for_each(|host| host.wait_for_keep_alives());
    wait_until("the last index writes", DEFAULT_BOUND, || {
        let before = state();
        wait();
        state() == before
    });
    let counters = || [a, b].map(|host| (host.proc_field("io", "write_bytes"), host.sent()));
    let (files, before) = (state(), counters());
    wait();
    assert_eq!(state(), files, "the index was written");
    for ((written, sent), (written_before, sent_before)) in counters().into_iter().zip(before) {
        assert_eq!(written, written_before, "an idle node writes to the disk");
        assert!(
            sent - sent_before < KEEP_ALIVE_BYTES,
            "an idle node sent {} bytes",
            sent - sent_before
        );
    }
}

#[test]
fn burst_in_new_directories_is_seen_whole() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..300 {
        a.write(format!("burst/{}/{}/{i}", i % 17, i % 5), format!("{i}"));
    }
    a.rename("burst", "renamed-in-mid-burst");
    lab.wait_identical();
    assert_eq!(b.read("renamed-in-mid-burst/1/1/1"), "1");
    assert!(!b.has("burst"));
}

/// Asserts that a paused node takes up its work.
fn goes_on(lab: &Lab, a: &Host, b: &Host) {
    wait_until("b to go on", DEFAULT_BOUND, || {
        b.try_status().is_some_and(|status| status.paused.is_none())
    });
    b.write("after", "the pause");
    lab.wait_identical();
    assert_eq!((a.read("after"), b.read("d/file")), ("the pause".into(), "precious".into()));
}

/// Length and modification time of every regular file of the node's state.
fn state_files(host: &Host) -> BTreeMap<String, (u64, i64, i64)> {
    let entries = fs::read_dir(host.state()).unwrap().flatten();
    let files = entries.filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?)));
    files
        .filter(|(_, metadata)| metadata.is_file())
        .map(|(name, m)| {
            (name.to_string_lossy().into_owned(), (m.len(), m.mtime(), m.mtime_nsec()))
        })
        .collect()
}
