//! Changes that were made without knowledge of each other.

use std::{fs, time::Duration};

use crate::harness::{DEFAULT_BOUND, Host, Lab, wait_until};

/// `text` with the time and node of a conflict copy's name taken out, or `None` when they are
/// malformed.
fn original_name(copy: &str) -> Option<String> {
    let (stem, rest) = copy.split_once(".sync-conflict-")?;
    let (mark, extension) = match rest.split_once('.') {
        Some((mark, extension)) => (mark, format!(".{extension}")),
        None => (rest, String::new()),
    };
    let parts: Vec<_> = mark.split('-').collect();
    let [date, time, node] = parts[..] else { return None };
    let digits =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    let named = !node.is_empty() && node.bytes().all(|b| b.is_ascii_alphanumeric());
    (digits(date, 8) && digits(time, 9) && named).then(|| format!("{stem}{extension}"))
}

/// Runs `change` while the second host's cable is out, and waits until all agree again.
fn apart(lab: &Lab, lone: &Host, change: impl FnOnce()) {
    lab.cut(lone);
    change();
    lab.heal(lone);
    lab.wait_identical();
}

#[test]
fn both_sides_edit_one_file() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/note.tar.gz", "base");
    lab.wait_identical();
    apart(&lab, b, || {
        a.write("d/note.tar.gz", "edit on a");
        b.write("d/note.tar.gz", "another edit on b");
    });
    let copies = a.conflict_copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(original_name(&copies[0]).as_deref(), Some("d/note.tar.gz"), "{copies:?}");
    let mut contents = [b.read("d/note.tar.gz"), b.read(&copies[0])];
    contents.sort();
    assert_eq!(contents, ["another edit on b", "edit on a"]);
    // The copy is an ordinary file from then on, and the conflict is over.
    b.remove(&copies[0]);
    a.write("d/note.tar.gz", "merged");
    lab.wait_identical();
    assert_eq!(b.read("d/note.tar.gz"), "merged");
    a.assert_no_conflicts();
}

#[test]
fn later_edit_wins() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("note", "base");
    lab.wait_identical();
    apart(&lab, b, || {
        b.write("note", "earlier");
        // Noticed in this order: once the marker counts, so does the edit.
        b.write("marker", "");
        wait_until("b to notice its edit", DEFAULT_BOUND, || b.status().entries == 2);
        // An edit has the time of the turn of the loop in which it is noticed, at most: this one
        // begins later.
        a.status();
        a.write("note", "later");
    });
    assert_eq!(b.read("note"), "later");
    assert_eq!(b.read(&b.conflict_copies()[0]), "earlier");
}

#[test]
fn three_sides_edit_one_file() {
    let lab = Lab::running(3);
    let [a, b, c] = lab.hosts();
    a.write("note", "base");
    lab.wait_identical();
    lab.cut(a);
    lab.cut(b);
    for host in [a, b, c] {
        host.write("note", format!("edit on {}", host.name()));
    }
    lab.heal(a);
    lab.heal(b);
    lab.wait_identical();
    let copies = c.conflict_copies();
    assert_eq!(copies.len(), 2, "{copies:?}");
    let mut contents = vec![c.read("note")];
    contents.extend(copies.iter().map(|copy| c.read(copy)));
    contents.sort();
    assert_eq!(contents, ["edit on h1", "edit on h2", "edit on h3"]);
}

#[test]
fn equal_edits_are_no_conflict() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("note", "base");
    lab.wait_identical();
    apart(&lab, b, || {
        a.write("note", "the same edit");
        b.write("note", "the same edit");
        a.mkdir("same");
        b.mkdir("same");
        a.symlink("x", "link");
        b.symlink("x", "link");
    });
    assert_eq!(a.read("note"), "the same edit");
    a.assert_no_conflicts();
}

#[test]
fn edit_survives_a_concurrent_delete() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("x", "base");
    a.write("y", "base");
    a.write("z", "base");
    lab.wait_identical();
    apart(&lab, b, || {
        a.remove("x");
        b.write("x", "edited on b");
        b.remove("y");
        a.write("y", "edited on a");
        a.remove("z");
        b.remove("z");
    });
    assert_eq!((a.read("x"), b.read("y")), ("edited on b".into(), "edited on a".into()));
    assert!(!a.has("z"));
    a.assert_no_conflicts();
}

#[test]
fn directory_survives_for_the_file_edited_in_it() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/e/edited", "base");
    a.write("d/e/untouched", "base");
    a.write("d/other", "base");
    lab.wait_identical();
    apart(&lab, b, || {
        a.remove("d");
        b.write("d/e/edited", "edited on b");
        b.write("d/e/new", "made on b");
    });
    let paths: Vec<_> = a.tree().into_keys().map(|path| String::from_utf8(path).unwrap()).collect();
    assert_eq!(paths, ["d", "d/e", "d/e/edited", "d/e/new"]);
    assert_eq!(a.read("d/e/edited"), "edited on b");
}

#[test]
fn directory_stays_and_the_file_of_its_name_becomes_a_copy() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    apart(&lab, b, || {
        a.write("thing/inside", "in the directory");
        b.write("thing", "the file");
    });
    assert_eq!(b.read("thing/inside"), "in the directory");
    let copies = a.conflict_copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(a.read(&copies[0]), "the file");
}

#[test]
fn rename_against_edit_loses_nothing() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("old", "base");
    lab.wait_identical();
    apart(&lab, b, || {
        a.rename("old", "new");
        b.write("old", "edited under the old name");
    });
    assert_eq!(a.read("old"), "edited under the old name");
    assert_eq!(b.read("new"), "base");
    a.assert_no_conflicts();
}

#[test]
fn edit_made_before_the_update_was_noticed_is_kept() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("note", "base");
    lab.wait_identical();
    // Frozen, b cannot notice its own edit before it hears of a's.
    b.signal(rustix::process::Signal::STOP);
    let (before, edit) = (b.received(), "edit on a ".repeat(200));
    b.write("note", "edit on b that nobody saw");
    a.write("note", &edit);
    wait_until("a's edit to lie in b's socket", DEFAULT_BOUND, || {
        b.received() - before > edit.len() as u64
    });
    b.signal(rustix::process::Signal::CONT);
    lab.wait_identical();
    let copies = a.conflict_copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    let mut contents = [a.read("note"), a.read(&copies[0])];
    contents.sort();
    assert_eq!(contents, [&edit, "edit on b that nobody saw"]);
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("d/file", "base");
    lab.wait_identical();
    let outside = b.outside("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "not ours").unwrap();
    apart(&lab, b, || {
        a.write("d/file", "edit on a");
        a.write("d/new", "new on a");
        b.remove("d");
        b.symlink(&outside, "d");
    });
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "not ours");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something was written outside");
    assert_eq!(a.read("d/file"), "edit on a");
}

#[test]
fn clocks_that_are_wrong_decide_nothing_between_ordered_edits() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    let future = std::time::SystemTime::now() + Duration::from_secs(400 * 24 * 3600);
    a.write("note", "from the future");
    a.set_mtime("note", future);
    lab.wait_identical();
    b.write("note", "edited now");
    lab.wait_identical();
    assert_eq!(a.read("note"), "edited now");
    a.assert_no_conflicts();
}
