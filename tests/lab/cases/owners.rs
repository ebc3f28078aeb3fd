//! What is received belongs where it would if a user of its directory had made it, and no other
//! host sees that.
//!
//! Needs several users, which a user namespace of this machine's own does not have.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
};

use crate::harness::{DEFAULT_BOUND, Host, Lab, is_root, wait_until};

/// The user of the service, and its group, of which the person is a member.
const SERVICE: u32 = 4711;
const PERSON: u32 = 4712;

/// A host whose node runs as the service's user, in a directory that it shares with its group, as
/// the package sets it up.
fn share(host: &Host, mode: u32) {
    let service = SERVICE.to_string();
    host.wrap(&["setpriv", "--reuid", &service, "--regid", &service, "--clear-groups"]);
    let home = host.root().parent().expect("it is in a directory of its host");
    for directory in [home, home.parent().expect("it is in the lab's")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    chown(host.root(), Some(SERVICE), Some(SERVICE)).unwrap();
    fs::set_permissions(host.root(), fs::Permissions::from_mode(mode)).unwrap();
}

/// A person, of the service's group, does something in the directory. Did it work?
fn person(host: &Host, umask: &str, script: &str) -> bool {
    let (person, service) = (PERSON.to_string(), SERVICE.to_string());
    let script = format!("umask {umask}; cd '{}' && {script}", host.root().display());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &person, "--regid", &person, "--groups", &service]);
    let status = command.args(["bash", "-ec", &script]).status();
    status.expect("setpriv is there").success()
}

fn owner(path: impl AsRef<Path>) -> (u32, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

fn wait_for(host: &Host, path: &str, content: &str) {
    wait_until(&format!("{path} to be {content:?}"), DEFAULT_BOUND, || {
        host.has(path) && host.read(path) == content
    });
}

/// Each can do there what the other can, whoever made it.
fn both_work_in_it(lab: &Lab, umask: &str) {
    let [a, b] = lab.hosts();
    a.write("plain", "as it was");
    a.chmod("plain", 0o644);
    a.write("secret", "umask 077");
    a.chmod("secret", 0o600);
    wait_for(b, "plain", "as it was");
    wait_for(b, "secret", "umask 077");
    assert_eq!(owner(b.path("plain")), (SERVICE, SERVICE, 0o664));
    assert_eq!(owner(b.path("secret")), (SERVICE, SERVICE, 0o660));

    assert!(person(b, umask, "mkdir photos; echo -n mine >photos/mine"));
    wait_for(a, "photos/mine", "mine");
    a.write("photos/theirs", "from afar");
    a.chmod("photos/theirs", 0o644);
    wait_for(b, "photos/theirs", "from afar");
    a.write("photos/mine", "edited afar");
    wait_for(b, "photos/mine", "edited afar");
    assert!(person(b, umask, "echo -n ! >>photos/mine; echo -n ! >>photos/theirs"));
    wait_for(a, "photos/mine", "edited afar!");
    wait_for(a, "photos/theirs", "from afar!");
    a.remove("photos/mine");
    wait_until("a person's file to be removed", DEFAULT_BOUND, || !b.has("photos/mine"));

    a.write("made/deep/file", "made afar");
    a.chmod("made/deep/file", 0o644);
    wait_for(b, "made/deep/file", "made afar");
    assert!(person(
        b,
        umask,
        "echo -n ! >>made/deep/file; mkdir made/deep/own; >made/deep/own/new"
    ));
    wait_for(a, "made/deep/file", "made afar!");
    wait_until("a person's directory", DEFAULT_BOUND, || a.has("made/deep/own/new"));
    a.write("made/deep/own/from-a", "in a person's directory");
    wait_for(b, "made/deep/own/from-a", "in a person's directory");
    assert!(person(b, umask, "mv plain made/renamed; cp secret copy"));
    wait_until("a person's rename", DEFAULT_BOUND, || a.has("made/renamed") && a.has("copy"));
    wait_until("both to be in sync", DEFAULT_BOUND, || a.status().in_sync && b.status().in_sync);
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);

    let mode = |path: &str| owner(a.path(path)).2;
    assert_eq!(
        ["made/renamed", "secret", "photos/theirs", "made/deep/file"].map(mode),
        [0o644, 0o600, 0o644, 0o644],
        "another host saw what bits this one has"
    );
    assert_eq!(["made", "made/deep"].map(mode), [0o755; 2]);
    a.assert_no_conflicts();
}

/// With ACLs it does not matter what umask the person has.
#[test]
fn a_service_and_a_person_share_a_directory() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(2);
    let [_, b] = lab.hosts();
    share(b, 0o2770);
    lab.start_all();
    both_work_in_it(&lab, "022");
}

/// What a default ACL says that is there already is for what is received, too.
#[test]
fn a_service_and_a_person_share_a_directory_with_a_default_acl() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(2);
    let [_, b] = lab.hosts();
    share(b, 0o2770);
    let named = "default:user:4713:rwx,default:group::rwx,default:mask::rwx";
    assert_eq!(b.shell(&format!("setfacl -m {named} '{}' 2>&1", b.root().display())), "");
    lab.start_all();
    both_work_in_it(&lab, "077");
    let acl = b.shell(&format!("getfacl -cnE '{}' 2>&1", b.path("made/deep/file").display()));
    assert!(acl.contains("user:4713:rwx"), "{acl}");
}

#[test]
fn what_root_receives_is_the_users_of_the_directory() {
    if !is_root() {
        return;
    }
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for name in ["edited", "moved", "chmod"] {
        a.write(format!("old/{name}"), name);
    }
    lab.wait_identical();
    b.stop();
    let root = b.root().display();
    b.shell(&format!("chown -R {PERSON}:{PERSON} '{root}'; chown {SERVICE} '{root}/old/edited'"));
    b.shell(&format!("setfattr -n user.note -v mine '{root}/old/edited'"));
    b.start();
    lab.wait_linked();
    a.write("old/edited", "elsewhere");
    a.write("new/file", "new");
    a.symlink("nowhere", "new/link");
    a.rename("old/moved", "new/moved");
    a.chmod("old/chmod", 0o600);
    lab.wait_identical();
    for path in ["new", "new/file", "new/link", "new/moved", "old/chmod"] {
        let (user, group, _) = owner(b.path(path));
        assert_eq!((user, group), (PERSON, PERSON), "{path}");
    }
    assert_eq!(owner(b.path("old/edited")).0, SERVICE, "its owner stays");
    let note = b.shell(&format!("getfattr --only-values -n user.note '{root}/old/edited'"));
    assert_eq!(note, "mine");
    assert!(b.status().errors.is_empty(), "{:?}", b.status().errors);
}
