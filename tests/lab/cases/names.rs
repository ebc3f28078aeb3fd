//! Every name that the file system takes.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use crate::harness::Lab;

/// Names that break careless programs. No name of only 255 bytes plus a suffix would fit: temporary
/// files must not be named after their targets.
fn odd_names() -> Vec<Vec<u8>> {
    let long_unicode = "ü".repeat(127).into_bytes();
    let texts: [&[u8]; 22] = [
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\rreturn",
        b"\xff\xfe not utf-8 \x80",
        b"bell\x07escape\x1b[31m",
        b"-rf",
        b"--help",
        b"...",
        b"..hidden",
        b".dotfile",
        b"~",
        b"*?[a]{b}",
        b"back\\slash",
        b"quote'\"`$(id)",
        b"a:b|c<d>e",
        b"CON",
        b"case",
        b"CASE",
        b"%s%n",
        b"e\xcc\x81 decomposed",
        b"\xc3\xa9 composed",
        b"x.sync-conflict-",
    ];
    let mut names: Vec<Vec<u8>> = texts.iter().map(|name| name.to_vec()).collect();
    names.extend([vec![b'n'; 255], vec![0xff; 255], long_unicode]);
    names
}

#[test]
fn odd_names_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for name in odd_names() {
        let name = OsStr::from_bytes(&name);
        a.write(name, name.as_bytes());
        a.symlink(name, Path::new("links-").with_extension(hash_name(name)));
    }
    b.write("plain", "");
    lab.wait_identical();
    assert_eq!(b.tree().len(), 2 * odd_names().len() + 1);
    for name in odd_names() {
        b.remove(OsStr::from_bytes(&name));
    }
    lab.wait_identical();
    assert_eq!(a.tree().len(), odd_names().len() + 1);
}

#[test]
fn odd_names_of_directories_travel() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    for name in odd_names() {
        let name = OsStr::from_bytes(&name);
        a.write(Path::new(name).join(name), "inside");
    }
    lab.start_all();
    lab.wait_identical();
    assert_eq!(b.tree().len(), 2 * odd_names().len());
    for name in odd_names() {
        let name = OsStr::from_bytes(&name);
        b.rename(name, Path::new("moved-").with_extension(hash_name(name)));
    }
    lab.wait_identical();
    assert_eq!(a.tree().len(), 2 * odd_names().len());
}

#[test]
fn only_what_is_named_so_is_left_out() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("project/.p2pnetwork-notes/file", "nobody's state");
    a.write("project/node_modules/.git/config", "nothing is ignored by itself");
    lab.wait_identical();
    assert_eq!(b.read("project/.p2pnetwork-notes/file"), "nobody's state");
    assert!(b.has("project/node_modules/.git/config"));
}

/// A plain name that stands for an odd one.
fn hash_name(name: &OsStr) -> String {
    name.as_bytes()
        .iter()
        .fold(5381_u64, |hash, &byte| hash.wrapping_mul(33) ^ u64::from(byte))
        .to_string()
}
