//! Permission bits and times of what stays where it is.
//!
//! Owns the looks before and after, by which an edit in the same instant is noticed. Must not touch
//! content or names.

use std::io;

use rustix::io::Errno;

use super::{Result, Site, is_same};
use crate::{
    io::{
        disk::change::error::ApplyError,
        files::{Handle, How},
    },
    model::entry::{FileKind, Stat},
};

impl Site<'_> {
    /// Sets bits, and the time of a file, of what is expected there.
    pub(super) fn set_metadata(
        &self,
        mode: u16,
        mtime_ns: Option<i64>,
        current: Option<Stat>,
    ) -> Result<Option<Stat>> {
        let Some(old) = current else { return Err(ApplyError::Unexpected(None)) };
        if old.kind == FileKind::Symlink {
            return Ok(current);
        }
        let files = self.files();
        let look = |opened: &Handle| {
            files.stat_of(opened, self.root.device()).map_err(|error| self.failed("look at", error))
        };
        let opened =
            files.open_at(self.at(), How::ForMode).map_err(|error| self.failed("open", error))?;
        if look(&opened)?.stamp != old.stamp {
            return Err(ApplyError::Unexpected(self.stat()?));
        }
        self.set_mode(&opened, mode)?;
        let mtime_ns = mtime_ns.filter(|_| old.kind == FileKind::File);
        if let Some(mtime_ns) = mtime_ns {
            // Once the time is set, nothing but the watch tells of an edit meanwhile.
            let now = look(&opened)?;
            if !is_same(&old, &now) {
                return Err(ApplyError::Unexpected(Some(now)));
            }
            let set = files.set_mtime(self.at(), mtime_ns);
            set.map_err(|error| self.refused("set the time of", &opened, error))?;
        }
        let mut set = look(&opened)?;
        if set.mode != mode {
            // Somebody else set them in this instant, and will not know which came first; or FAT
            // rounds them, again.
            self.set_mode(&opened, mode)?;
            set = look(&opened)?;
        }
        if set.stamp.size != old.stamp.size {
            return Err(ApplyError::Unexpected(Some(set)));
        }
        Ok(Some(set))
    }

    fn set_mode(&self, opened: &Handle, mode: u16) -> Result<()> {
        let is_set =
            || self.files().stat_of(opened, self.root.device()).is_ok_and(|stat| stat.mode == mode);
        match self.root.set_mode(opened, mode) {
            Err(Errno::PERM) if is_set() => Ok(()),
            result => result.map_err(|error| self.refused("set the permissions of", opened, error)),
        }
    }

    /// Why bits or time of a file are not set: they are its owner's.
    fn refused(&self, op: &'static str, opened: &Handle, error: Errno) -> ApplyError {
        let user = rustix::process::geteuid().as_raw();
        match self.files().owner(opened).filter(|owner| error == Errno::PERM && *owner != user) {
            Some(owner) => {
                let reason = format!(
                    "it belongs to user {owner}, and p2pnetwork runs as user {user}; give it to \
                     that user (chown), or run \
                     p2pnetwork as its owner or as root"
                );
                let error = io::Error::new(io::ErrorKind::PermissionDenied, reason);
                ApplyError::Io { op, path: self.path.clone(), error }
            }
            None => self.failed(op, error),
        }
    }
}
