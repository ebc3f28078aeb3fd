//! What something is mounted over is covered, not missing; one name of which nothing can be told
//! stops nobody.

use std::{fs, time::Duration};

use crate::harness::{DEFAULT_BOUND, Host, Lab, wait_identical, wait_until};

/// Longer than the longest pause between two looks at what could not be seen.
const BOUND: Duration = Duration::from_secs(150);

/// In the view of the nodes; the test sees what is covered.
fn mount(lab: &Lab, host: &Host, what: &str, path: &str) {
    lab.world().shell(&format!("mount {what} '{}'", host.path(path).display()));
}

fn unmount(lab: &Lab, host: &Host, path: &str) {
    lab.world().shell(&format!("umount --lazy '{}'", host.path(path).display()));
}

fn is_named(host: &Host, path: &str) -> bool {
    host.status().errors.iter().any(|error| error.path == path)
}

/// Another rule makes a node compare everything, and says so to the other ones by its arrival.
fn compare_everything(host: &Host) {
    host.write(".p2pignore", "no-such-name\n");
}

fn with_files() -> Lab {
    let lab = Lab::running(2);
    let [a, _] = lab.hosts();
    a.write("d/f", "precious");
    a.write("d/e/g", "gone elsewhere meanwhile");
    a.write("d/e/h", "stays");
    a.write("other", "seen all the while");
    lab.wait_identical();
    lab
}

/// Others edit and delete what is covered on one host; it takes part again when it is no longer.
fn edit_meanwhile(lab: &Lab) {
    let [a, b] = lab.hosts();
    wait_until("the covered directory to be named", DEFAULT_BOUND, || is_named(a, "d"));
    assert!(!a.status().in_sync, "it is not in sync while something cannot be seen");
    b.write("d/f", "edited there");
    b.remove("d/e/g");
    b.write("beside", "comes through");
    wait_until("what is beside it to arrive", BOUND, || a.has("beside"));
    a.write("other", "goes through");
    wait_until("what is beside it to be sent", BOUND, || b.read("other") == "goes through");
    assert!(b.has("d/f") && b.has("d/e/h"), "what is covered was taken for deleted");
    assert_eq!(
        (a.read("d/f").as_str(), a.has("d/e/g")),
        ("precious", true),
        "what is covered was changed"
    );
}

fn assert_all_is_well(lab: &Lab) {
    let [a, b] = lab.hosts();
    wait_identical(&[a, b], BOUND);
    assert_eq!(
        (a.read("d/f").as_str(), a.has("d/e/g"), a.has("d/e/h")),
        ("edited there", false, true)
    );
    wait_until("nothing to be wrong any more", BOUND, || a.status().errors.is_empty());
    a.assert_no_conflicts();
    a.write("d/e/later", "is noticed at once");
    wait_identical(&[a, b], BOUND);
}

#[test]
fn directory_that_is_mounted_over_is_not_deleted() {
    for what in ["-t tmpfs none", "--bind ."] {
        let lab = with_files();
        let [a, _] = lab.hosts();
        let elsewhere = a.outside("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        let what = what.replace(" .", &format!(" '{}'", elsewhere.display()));
        mount(&lab, a, &what, "d");
        compare_everything(a);
        edit_meanwhile(&lab);
        unmount(&lab, a, "d");
        assert_all_is_well(&lab);
    }
}

#[test]
fn directory_that_is_mounted_over_before_the_start_is_not_deleted() {
    let lab = with_files();
    let [a, _] = lab.hosts();
    a.stop();
    mount(&lab, a, "-t tmpfs none", "d");
    a.start();
    edit_meanwhile(&lab);
    a.stop();
    a.start();
    wait_until("the covered directory to be named", DEFAULT_BOUND, || is_named(a, "d"));
    unmount(&lab, a, "d");
    assert_all_is_well(&lab);
}

#[test]
fn file_that_is_mounted_over_is_neither_read_nor_changed() {
    let lab = with_files();
    let [a, b] = lab.hosts();
    fs::write(a.outside("secret"), "not of this directory").unwrap();
    mount(&lab, a, &format!("--bind '{}'", a.outside("secret").display()), "d/f");
    compare_everything(a);
    wait_until("the covered file to be named", DEFAULT_BOUND, || is_named(a, "d/f"));
    b.write("d/f", "edited there");
    b.write("beside", "comes through");
    wait_until("what is beside it to arrive", BOUND, || a.has("beside"));
    assert_eq!((a.read("d/f").as_str(), b.read("d/f").as_str()), ("precious", "edited there"));
    unmount(&lab, a, "d/f");
    wait_identical(&[a, b], BOUND);
    assert_eq!(a.read("d/f"), "edited there");
    assert_eq!(fs::read_to_string(a.outside("secret")).unwrap(), "not of this directory");
    a.assert_no_conflicts();
}

/// As a mount does whose server has gone, or which is another user's.
#[test]
fn name_of_which_nothing_can_be_told_stops_nothing_beside_it() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/kept", "precious");
    lab.wait_identical();
    a.stop();
    for path in ["a1", "z9", "sub/x"] {
        a.write(path, "new");
    }
    for path in ["m", "d"] {
        a.mkdir(path);
        let options = "fd=3,rootmode=40000,user_id=0,group_id=0";
        let at = a.path(path);
        lab.world().shell(&format!(
            "exec 3<>/dev/fuse; mount -i -t fuse -o {options} none '{}'; exec 3>&-",
            at.display()
        ));
    }
    a.start();
    wait_until("what is beside it to be sent", BOUND, || {
        ["a1", "z9", "sub/x"].iter().all(|path| b.has(path))
    });
    a.write("later", "is sent, too");
    b.write("there", "comes through");
    wait_until("what is beside it to travel", BOUND, || b.has("later") && a.has("there"));
    assert_eq!(b.read("d/kept"), "precious", "what could not be told was taken for deleted");
    wait_until("it to be named", DEFAULT_BOUND, || is_named(a, "m") && is_named(a, "d"));
    assert_eq!(a.status().errors.len(), 2, "{:?}", a.status().errors);
    ["m", "d"].iter().for_each(|path| unmount(&lab, a, path));
    wait_identical(&[a, b], BOUND);
    wait_until("nothing to be wrong any more", BOUND, || a.status().errors.is_empty());
}
