//! Permission bits and times of what stays where it is.
//!
//! Owns the looks before and after, by which an edit in the same instant is noticed. Must not touch
//! content or names.

use std::io;

use rustix::io::Errno;

use super::{Result, Site, is_same};
use crate::{
    io::{
        disk::change::{belonging::Belonging, error::ApplyError},
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
        let belonging = self.belonging(false);
        let mode = belonging.bits(mode);
        self.set_mode(&opened, mode, &belonging)?;
        let is_other = |mtime_ns: &i64| *mtime_ns != old.stamp.mtime_ns;
        let mtime_ns = mtime_ns.filter(|_| old.kind == FileKind::File).filter(is_other);
        if let Some(mtime_ns) = mtime_ns {
            // Once the time is set, nothing but the watch tells of an edit meanwhile.
            let now = look(&opened)?;
            if !is_same(&old, &now) {
                return Err(ApplyError::Unexpected(Some(now)));
            }
            let set = files.set_mtime(self.at(), mtime_ns);
            set.map_err(|error| self.refused("set the time of", error))?;
        }
        let mut set = look(&opened)?;
        if set.mode != mode {
            // Somebody else set them in this instant, and will not know which came first; or FAT
            // rounds them, again.
            self.set_mode(&opened, mode, &belonging)?;
            set = look(&opened)?;
        }
        if set.stamp.size != old.stamp.size {
            return Err(ApplyError::Unexpected(Some(set)));
        }
        Ok(Some(set))
    }

    /// What has the bits is left alone: it may be another user's. Where the directory says what its
    /// group may do, so may that of another user's file.
    fn set_mode(&self, opened: &Handle, mode: u16, belonging: &Belonging) -> Result<()> {
        let now = self.files().stat_of(opened, self.root.device()).map(|stat| stat.mode);
        if now == Ok(mode) {
            return Ok(());
        }
        let own = if belonging.has_group_bits() { !0o070 } else { !0 };
        match self.root.set_mode(opened, mode) {
            Err(Errno::PERM) if now.is_ok_and(|now| now & own == mode & own) => Ok(()),
            result => result.map_err(|error| self.refused("set the permissions of", error)),
        }
    }

    /// Why bits or time of a file are not set: they are its owner's.
    fn refused(&self, op: &'static str, error: Errno) -> ApplyError {
        let users = self.files().user().zip(self.files().owner(self.at()).ok());
        let users = users.map(|((user, _), owner)| (user, owner.user));
        match users.filter(|(user, owner)| error == Errno::PERM && owner != user) {
            Some((user, owner)) => {
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
