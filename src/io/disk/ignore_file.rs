//! Reading `.p2pignore`, also where it is a symbolic link to another file in the directory.
//!
//! A link is followed by its text, one path below the root after the other, each opened by the
//! root's own handles: so it leads nowhere that the program does not go by itself.

use std::io;

use crate::{
    core::{ignore::IGNORE_FILE, seam::RuleText},
    io::disk::root::{Root, RootState},
    model::{
        entry::{FileKind, Stat},
        limits::{MAX_IGNORE_BYTES, MAX_IGNORE_LINKS},
        path::RelPath,
    },
};

/// What came of reading the rules.
#[derive(Debug)]
pub struct RuleFile {
    /// Or why it cannot be read, and what to do.
    pub text: RuleText,
    /// The paths that links led to.
    pub through: Vec<RelPath>,
}

/// Reads the rules.
pub fn read(root: &Root) -> RuleFile {
    let mut through = Vec::new();
    let text = read_through(root, &mut through);
    RuleFile { text, through }
}

fn read_through(root: &Root, through: &mut Vec<RelPath>) -> RuleText {
    let mut path = RelPath::new(IGNORE_FILE.as_bytes()).expect("a legal name");
    loop {
        let stat =
            root.stat(&path).map_err(|error| format!("{path} cannot be looked at: {error}"))?;
        match stat {
            None if through.is_empty() && root.check() == RootState::Present => {
                return Ok(Some(Vec::new()));
            }
            None => {
                return Err(format!(
                    "{path} is not there; make it, or write the rules into {IGNORE_FILE}"
                ));
            }
            Some(stat) if stat.kind == FileKind::File => return read_file(root, &path, &stat),
            Some(stat) if stat.kind == FileKind::Symlink => path = next(root, &path, through)?,
            Some(_) => return Err(format!("{path} is no file; write the rules into one")),
        }
    }
}

fn read_file(root: &Root, path: &RelPath, stat: &Stat) -> RuleText {
    let mut text = Vec::new();
    match root.read_small(path, &stat.stamp, &mut text) {
        Ok(read) => Ok(read.map(|()| text)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(format!("{path} is too large; {MAX_IGNORE_BYTES} bytes is the most"))
        }
        Err(error) => Err(format!("{path} cannot be read: {error}")),
    }
}

/// Where the link at `path` points.
fn next(root: &Root, path: &RelPath, through: &mut Vec<RelPath>) -> Result<RelPath, String> {
    let target = root.read_link(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let target = target.ok_or_else(|| format!("{path} is being changed"))?;
    let shown = target.escape_ascii();
    if through.len() >= MAX_IGNORE_LINKS {
        return Err(format!(
            "it is a link to a link {MAX_IGNORE_LINKS} times over; link to the file itself"
        ));
    }
    let next = resolve(path, &target)
        .filter(|next| !next.is_root() && !next.is_reserved())
        .ok_or_else(|| {
            format!(
                "{path} is a link to {shown}, which is not synchronised; link to a file in this \
                 directory"
            )
        })?;
    through.push(next.clone());
    Ok(next)
}

/// The path below the root that a link at `path` points to; `None` when it leads out of it.
fn resolve(path: &RelPath, target: &[u8]) -> Option<RelPath> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut at = path.parent()?;
    for name in target.split(|byte| *byte == b'/') {
        at = match name {
            b"" | b"." => at,
            b".." => at.parent()?,
            name => at.join(name).ok()?,
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::io::{
        disk::testing,
        files::{Kernel, sys::Abilities},
    };

    fn read_in(on: &testing::Tree) -> RuleFile {
        read(&Root::open_on(std::rc::Rc::new(Kernel), &on.at, Abilities::ALL).unwrap())
    }

    fn linked_to(target: &str) -> testing::Tree {
        let on = testing::Tree::new(Abilities::ALL);
        symlink(target, on.at.join(IGNORE_FILE)).unwrap();
        on
    }

    #[test]
    fn without_the_file_there_are_no_rules() {
        let on = testing::Tree::new(Abilities::ALL);
        assert_eq!(read_in(&on).text, Ok(Some(Vec::new())));
        fs::write(on.at.join(IGNORE_FILE), "secret").unwrap();
        assert_eq!(read_in(&on).text, Ok(Some(b"secret".to_vec())));
        fs::write(on.at.join(IGNORE_FILE), vec![b'a'; MAX_IGNORE_BYTES + 1]).unwrap();
        assert!(read_in(&on).text.unwrap_err().contains("too large"));
        fs::remove_file(on.at.join(IGNORE_FILE)).unwrap();
        fs::create_dir(on.at.join(IGNORE_FILE)).unwrap();
        assert!(read_in(&on).text.unwrap_err().contains("no file"));
    }

    #[test]
    fn where_the_directory_has_gone_that_there_are_none_is_not_known() {
        let on = testing::Tree::new(Abilities::ALL);
        let root = Root::open_on(std::rc::Rc::new(Kernel), &on.at, Abilities::ALL).unwrap();
        fs::rename(&on.at, on.at.with_extension("away")).unwrap();
        assert!(read(&root).text.is_err());
    }

    #[test]
    fn a_link_that_stays_inside_is_read_through() {
        let on = linked_to("config/./rules");
        fs::create_dir(on.at.join("config")).unwrap();
        let missing = read_in(&on);
        assert!(missing.text.unwrap_err().contains("config/rules is not there"));
        assert_eq!(
            missing.through,
            [testing::path("config/rules")],
            "looked at again when it comes"
        );
        symlink("../common", on.at.join("config/rules")).unwrap();
        fs::write(on.at.join("common"), "secret").unwrap();
        let found = read_in(&on);
        assert_eq!(found.text, Ok(Some(b"secret".to_vec())));
        assert_eq!(found.through, [testing::path("config/rules"), testing::path("common")]);
    }

    #[test]
    fn a_link_that_leads_out_of_the_directory_does_not_count() {
        for target in
            ["/etc/passwd", "../rules", "a/../../rules", ".p2pnetwork/group", ".", IGNORE_FILE]
        {
            let text = read_in(&linked_to(target)).text;
            assert!(text.is_err(), "{target}: {text:?}");
        }
        // Nor does one that goes by a directory that is a link itself.
        let on = linked_to("outside/rules");
        symlink("/etc", on.at.join("outside")).unwrap();
        fs::write(on.at.join("rules"), "secret").unwrap();
        assert!(read_in(&on).text.is_err());
    }
}
