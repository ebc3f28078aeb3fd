//! To whom it belongs what is put into the tree: as if a user of its directory had made it.
//!
//! Owns that rule. What takes the place of something has its owner, its group, its ACL and its
//! extended attributes. What is new has the group of a setgid directory, and the directory's
//! default ACL; what root puts there has the directory's owner. Where the directory gives its group
//! the right to write, or has a default ACL, the group can do with it what its owner can, however
//! its maker's umask was.
//!
//! None of this travels. What cannot be set is said once, and stays as the system has it.

use log::{debug, info};
use rustix::io::{Errno, Result};

use crate::{
    io::{
        disk::root::Root,
        files::{At, Handle, Owner},
    },
    model::path::RelPath,
};

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// What users have noted, and under which label SELinux has the file. Others say what a file may
/// do, or of which content it is: that is not kept beside new content.
const KEPT_ATTRIBUTES: [&[u8]; 2] = [b"user.", b"security.selinux"];
const SETGID: u16 = 0o2000;
const GROUP_BITS: u16 = 0o070;
const ROOT_USER: u32 = 0;

/// What is to be given to something before it has its name. Nothing, where there are no users.
#[derive(Debug, Default)]
pub(crate) struct Belonging {
    owner: Option<(u32, u32)>,
    acl: Option<Vec<u8>>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    group_bits: Option<u16>,
}

impl Belonging {
    /// Of what is put at a path; `replaces` says that something gives way to it. A directory that
    /// is to be made just before is taken to be as the one above it: it inherits all of this.
    pub(crate) fn of(root: &Root, path: &RelPath, replaces: bool) -> Self {
        let Some(user) = root.files().user() else { return Self::default() };
        Self::find(root, path, replaces, user).unwrap_or_else(|error| {
            debug!("it cannot be told to whom {path} is to belong: {error}");
            Self::default()
        })
    }

    /// Gives the ACL and the attributes to what has no name in the tree yet. Bits and time come
    /// next, and the owner last: what is another user's, only few may change.
    pub(crate) fn give_attributes_to(&self, root: &Root, at: At<'_>) {
        if self.owner.is_some() {
            let set = self.give_acl(root, at).and_then(|()| self.give_attributes(root, at));
            tell(root, "the ACL and the extended attributes", set);
        }
    }

    /// Gives it its owner, to a symbolic link or a directory, too, which has inherited its ACL when
    /// it was made.
    pub(crate) fn give_owner(&self, root: &Root, at: At<'_>) {
        if let Some(owner) = self.owner {
            give_owner(root, at, owner);
        }
    }

    /// The permission bits that it gets, where its version says `mode`.
    pub(crate) fn bits(&self, mode: u16) -> u16 {
        self.group_bits.map_or(mode, |bits| mode & !GROUP_BITS | mode >> 3 & GROUP_BITS & bits)
    }

    /// Does the directory, and not the version, say what the group may do?
    pub(crate) fn has_group_bits(&self) -> bool {
        self.group_bits.is_some()
    }

    fn find(root: &Root, path: &RelPath, replaces: bool, user: (u32, u32)) -> Result<Self> {
        let Some((above, directory)) = nearest_above(root, path)? else {
            return Ok(Self::default());
        };
        let files = root.files();
        let itself: At<'_> = (&directory, b".");
        let owner = files.owner(itself)?;
        let default_acl = files.attribute(itself, DEFAULT_ACL)?;
        let group_bits = match &default_acl {
            Some(acl) => Some(group_class(acl) << 3),
            None if is_open_to_group(&owner) => Some(GROUP_BITS),
            None => None,
        };
        let at: At<'_> = (&directory, path.name());
        let replaced =
            if replaces && Some(above) == path.parent() { look(root, at)? } else { None };
        Ok(match replaced {
            Some(old) => Self {
                owner: Some((old.user, old.group)),
                acl: files.attribute(at, ACCESS_ACL)?.filter(|acl| is_extended(acl)),
                attributes: kept_attributes(root, at)?,
                group_bits,
            },
            None => Self {
                owner: Some(owner_in(&owner, user)),
                acl: default_acl.filter(|acl| is_extended(acl)),
                attributes: Vec::new(),
                group_bits,
            },
        })
    }

    /// An earlier try, for another path, may have left it one.
    fn give_acl(&self, root: &Root, at: At<'_>) -> Result<()> {
        let files = root.files();
        if files.attribute(at, ACCESS_ACL)? == self.acl {
            return Ok(());
        }
        files.set_attribute(at, ACCESS_ACL, self.acl.as_deref())
    }

    fn give_attributes(&self, root: &Root, at: At<'_>) -> Result<()> {
        let (files, left) = (root.files(), kept_attributes(root, at)?);
        for (name, _) in left.iter().filter(|(name, _)| name.starts_with(KEPT_ATTRIBUTES[0])) {
            if !self.attributes.iter().any(|(kept, _)| kept == name) {
                files.set_attribute(at, name, None)?;
            }
        }
        for attribute @ (name, value) in &self.attributes {
            if !left.contains(attribute) {
                files.set_attribute(at, name, Some(value))?;
            }
        }
        Ok(())
    }
}

/// Lets whatever is made in the root be written by the root's group, if that is what the root's
/// mode is meant for: whoever has a strict umask would else make directories into which this node
/// can put nothing. A default ACL comes before the umask, and is inherited.
pub fn open_to_group(root: &Root) {
    let (files, itself): (_, At<'_>) = (root.files(), (root.directory(), b"."));
    let Some((user, _)) = files.user() else { return };
    let Ok(owner) = files.owner(itself) else { return };
    // Root can write everywhere, and only the owner may set it.
    let may_set = user != ROOT_USER && user == owner.user;
    if !may_set
        || !is_open_to_group(&owner)
        || !matches!(files.attribute(itself, DEFAULT_ACL), Ok(None))
    {
        return;
    }
    let path = root.path().display();
    match files.set_attribute(itself, DEFAULT_ACL, Some(&minimal_acl(owner.mode))) {
        Ok(()) => info!(
            "what is made in {path} can be written by its group from now on, whatever the umask: \
             it has a default ACL (setfacl -k {path} takes it away until the next start)"
        ),
        Err(error) => info!(
            "members of the group of {path} need a umask of 002 for what they make there, or this \
             node cannot put anything into their directories: no default ACL can be set ({error})"
        ),
    }
}

/// Is it a directory whose members share what is in it?
fn is_open_to_group(directory: &Owner) -> bool {
    directory.mode & (SETGID | GROUP_BITS) == SETGID | GROUP_BITS
}

/// Who has what is new in a directory of this owner.
fn owner_in(directory: &Owner, (user, group): (u32, u32)) -> (u32, u32) {
    // Elsewhere than on Linux each directory hands on its group.
    let inherits = cfg!(not(target_os = "linux")) || directory.mode & SETGID != 0;
    match user {
        ROOT_USER => (directory.user, directory.group),
        _ if inherits => (user, directory.group),
        _ => (user, group),
    }
}

/// The lowest directory above a path that is there. `None` when there is something else.
fn nearest_above(root: &Root, path: &RelPath) -> Result<Option<(RelPath, std::rc::Rc<Handle>)>> {
    let mut above = path.parent();
    while let Some(directory) = above {
        match root.search(&directory) {
            Ok(handle) => return Ok(Some((directory, handle))),
            Err(Errno::NOENT) => above = directory.parent(),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn look(root: &Root, at: At<'_>) -> Result<Option<Owner>> {
    match root.files().owner(at) {
        Err(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    }
}

fn kept_attributes(root: &Root, at: At<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let files = root.files();
    let is_kept = |name: &Vec<u8>| KEPT_ATTRIBUTES.iter().any(|kept| name.starts_with(kept));
    let mut attributes = Vec::new();
    for name in files.attribute_names(at)?.into_iter().filter(is_kept) {
        if let Some(value) = files.attribute(at, &name)? {
            attributes.push((name, value));
        }
    }
    Ok(attributes)
}

/// Only root may give files away; a group that one is in oneself can be given by anybody.
fn give_owner(root: &Root, at: At<'_>, (user, group): (u32, u32)) {
    let files = root.files();
    let Ok(now) = files.owner(at) else { return };
    if now.group != group {
        tell(root, "the group", files.set_owner(at, None, Some(group)));
    }
    if now.user != user {
        tell(root, "the owner", files.set_owner(at, Some(user), None));
    }
}

fn tell(root: &Root, what: &'static str, set: Result<()>) {
    if let Err(error) = set
        && root.is_news(what)
    {
        info!(
            "{what} of received files cannot be set everywhere ({error}): only root may give files \
             to other users and groups; what replaces theirs is this node's user's"
        );
    }
}

// --- ACLs, as Linux has them in extended attributes: a version, and eight bytes an entry.

const ACL_VERSION: [u8; 4] = [2, 0, 0, 0];
const OWNER: u16 = 0x01;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// Tag and rights of each entry.
fn entries(acl: &[u8]) -> impl Iterator<Item = (u16, u16)> {
    let number = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    let entries = acl.get(ACL_VERSION.len()..).unwrap_or_default().chunks_exact(8);
    entries.map(move |entry| (number(entry), number(&entry[2..])))
}

/// Does it say more than permission bits?
fn is_extended(acl: &[u8]) -> bool {
    entries(acl).any(|(tag, _)| ![OWNER, GROUP, OTHERS].contains(&tag))
}

/// What all may do at most that are neither the owner nor others.
fn group_class(acl: &[u8]) -> u16 {
    let rights = |wanted| entries(acl).find(|(tag, _)| *tag == wanted).map(|(_, rights)| rights);
    rights(MASK).or_else(|| rights(GROUP)).unwrap_or(0) & 0o7
}

/// All rights for owner and group, and those of the mode for others.
fn minimal_acl(mode: u16) -> Vec<u8> {
    let mut acl = ACL_VERSION.to_vec();
    for (tag, rights) in [(OWNER, 0o7), (GROUP, 0o7), (OTHERS, mode & 0o7)] {
        acl.extend(tag.to_le_bytes());
        acl.extend(rights.to_le_bytes());
        // No user or group is named.
        acl.extend([0xff; 4]);
    }
    acl
}

#[cfg(test)]
mod tests;
