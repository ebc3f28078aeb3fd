//! Whose a file is, and what a disk keeps of it beside content, bits and times: ACLs and extended
//! attributes.
//!
//! Owns no state and makes no decision. A file system without users answers as the trait does by
//! itself.

use rustix::{
    fs::{self, AtFlags},
    io::{Errno, Result},
    process::{self, Gid, Uid},
};

use super::{At, Kernel};

/// Whom something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// All that the mode says, beyond the permission bits too.
    pub mode: u16,
}

/// Owners, ACLs and extended attributes. Nothing here follows a symbolic link.
pub trait Owners {
    /// The user and the group that this runs as. `None` where there are no users: nothing else here
    /// is asked then.
    fn user(&self) -> Option<(u32, u32)> {
        None
    }

    /// Whom a name belongs to, `.` for the directory itself.
    fn owner(&self, _at: At<'_>) -> Result<Owner> {
        Err(Errno::NOSYS)
    }

    /// Gives a name to another user, or to another group.
    fn set_owner(&self, _at: At<'_>, _user: Option<u32>, _group: Option<u32>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// An extended attribute; `None` where there is none of this name.
    fn attribute(&self, _at: At<'_>, _name: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Sets an extended attribute; `None` removes it.
    fn set_attribute(&self, _at: At<'_>, _name: &[u8], _value: Option<&[u8]>) -> Result<()> {
        Err(Errno::NOTSUP)
    }

    /// The names of all extended attributes.
    fn attribute_names(&self, _at: At<'_>) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
}

impl Owners for Kernel {
    fn user(&self) -> Option<(u32, u32)> {
        Some((process::geteuid().as_raw(), process::getegid().as_raw()))
    }

    #[allow(clippy::unnecessary_cast)]
    fn owner(&self, (directory, name): At<'_>) -> Result<Owner> {
        let stat = fs::statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Owner { user: stat.st_uid, group: stat.st_gid, mode: stat.st_mode as u16 & 0o7777 })
    }

    fn set_owner(
        &self,
        (directory, name): At<'_>,
        user: Option<u32>,
        group: Option<u32>,
    ) -> Result<()> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        fs::chownat(directory.fd()?, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
    }

    #[cfg(target_os = "linux")]
    fn attribute(&self, at: At<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let path = linux::path(at)?;
        match linux::read(|value| fs::lgetxattr(&*path, name, value)) {
            Err(error) if linux::is_none(error) => Ok(None),
            result => result.map(Some),
        }
    }

    #[cfg(target_os = "linux")]
    fn set_attribute(&self, at: At<'_>, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let path = linux::path(at)?;
        match value {
            Some(value) => fs::lsetxattr(&*path, name, value, fs::XattrFlags::empty()),
            None => match fs::lremovexattr(&*path, name) {
                Err(error) if linux::is_none(error) => Ok(()),
                result => result,
            },
        }
    }

    #[cfg(target_os = "linux")]
    fn attribute_names(&self, at: At<'_>) -> Result<Vec<Vec<u8>>> {
        let path = linux::path(at)?;
        let names = match linux::read(|names| fs::llistxattr(&*path, names)) {
            Err(error) if linux::is_none(error) => Vec::new(),
            result => result?,
        };
        let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }
}

/// The calls that take a name in an open directory are as new as Linux 6.13; a path that begins
/// with the directory's handle does the same, where `/proc` is there.
#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsRawFd;

    use super::{At, Errno, Result};
    use crate::model::limits::MAX_ATTRIBUTE_BYTES;

    pub(super) fn path((directory, name): At<'_>) -> Result<Vec<u8>> {
        let mut path = format!("/proc/self/fd/{}/", directory.fd()?.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        Ok(path)
    }

    /// Most are short; what is longer is asked for again.
    pub(super) fn read(get: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
        const MOST_BYTES: usize = 512;
        let read = |size| {
            let mut bytes = vec![0; size];
            let length = get(&mut bytes)?;
            bytes.truncate(length);
            Ok(bytes)
        };
        match read(MOST_BYTES) {
            Err(Errno::RANGE) => read(MAX_ATTRIBUTE_BYTES),
            result => result,
        }
    }

    /// Does the error say that there is no such attribute, or that there are none here?
    pub(super) fn is_none(error: Errno) -> bool {
        [Errno::NODATA, Errno::NOENT, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP]
            .contains(&error)
    }
}
