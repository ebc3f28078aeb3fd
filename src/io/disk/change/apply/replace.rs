//! New content takes the place of old.
//!
//! Owns the order in which that is done, where names can be exchanged, and where the file system
//! knows no such call, or no links. The old content must never be without a name, and the path
//! never without content.

use std::rc::Rc;

use rustix::io::Errno;

use super::{Result, Site};
use crate::{
    io::{
        disk::{
            change::{belonging::Belonging, error::ApplyError},
            trash::Slot,
        },
        files::{At, FileSystem, Handle, How, sys},
    },
    model::{
        entry::{FileKind, Stat},
        limits::HASH_READ_BYTES,
    },
};

/// New content that has no name in the tree yet.
struct Arrival<'a> {
    directory: Rc<Handle>,
    name: &'a [u8],
}

impl Arrival<'_> {
    fn at(&self) -> At<'_> {
        (&self.directory, self.name)
    }
}

impl Site<'_> {
    /// Gives a temporary file or symbolic link the path's name.
    pub(super) fn install(&self, temp: &[u8], current: Option<Stat>) -> Result<Option<Stat>> {
        let directory = self
            .root
            .temporary()
            .map_err(|error| self.failed("reach temporary files for", error))?;
        let staged = Arrival { directory, name: temp };
        let before = self
            .root
            .stat_in(staged.at())
            .map_err(|error| self.failed("find the temporary file of", error))?
            .ok_or(ApplyError::Content)?;
        match current {
            Some(old) if old.kind != FileKind::Directory => self.replace(&staged, &before, &old)?,
            _ => {
                self.make_way(current)?;
                self.move_in(staged.at())?;
            }
        }
        self.settled(&before).or_else(|error| self.take_back(&before, staged.at(), error))
    }

    /// Exchanges old and new content. The new one waits in the trash, under the name that the old
    /// one then has: so whenever the power fails, the old content is at one of its two places.
    fn replace(&self, staged: &Arrival<'_>, new: &Stat, old: &Stat) -> Result<()> {
        let able = self.root.able();
        if !able.rename_flags {
            return self.replace_by_link(staged, old);
        }
        let files = self.files();
        let slot = self.place("move to the trash what is to replace", |at| {
            sys::rename_new(files, staged.at(), at, able)
        })?;
        let exchanged = sys::exchange(files, slot.at(), self.at(), able);
        self.has_new.set(exchanged.is_ok());
        match exchanged {
            Ok(()) if self.is_in(&slot, old)? && self.is_here()? => Ok(()),
            Ok(()) => {
                sys::exchange(files, slot.at(), self.at(), able)
                    .map_err(|error| self.failed("put back", error))?;
                self.unstage(&slot, staged, new)?;
                Err(self.unexpected()?)
            }
            Err(error) => {
                self.unstage(&slot, staged, new)?;
                match error {
                    Errno::NOENT => Err(ApplyError::Unexpected(self.stat()?)),
                    error if sys::is_unsupported(error) => self.replace_by_link(staged, old),
                    error => Err(self.failed("replace", error)),
                }
            }
        }
    }

    /// Puts the new content back among the temporary files. Should the place in the trash hold
    /// anything else by now, it is a user's, and it stays there.
    fn unstage(&self, slot: &Slot, staged: &Arrival<'_>, new: &Stat) -> Result<()> {
        if !self.is_in(slot, new)? {
            return Ok(());
        }
        sys::rename_new(self.files(), slot.at(), staged.at(), self.root.able())
            .map_err(|error| self.failed("take back the new content of", error))
    }

    /// Replaces where names cannot be exchanged: the old content gets a second name in the trash
    /// first. An editor that renames over the path in the instant between the comparison and the
    /// rename would lose; one that writes in place would not.
    fn replace_by_link(&self, staged: &Arrival<'_>, old: &Stat) -> Result<()> {
        let (files, able) = (self.files(), self.root.able());
        // Asked first: once it is linked, the file has another stamp than the one expected.
        files
            .check_writable(&self.parent)
            .map_err(|error| self.failed("write to the directory of", error))?;
        let mut linked = Ok(());
        let slot = self.place("link to the trash", |at| {
            linked = sys::link(files, self.at(), at, able);
            match linked {
                Err(error) if sys::is_link_unsupported(error) => {
                    self.copy(old, at, &Belonging::default())
                }
                result => result,
            }
        })?;
        let is_expected = if linked.is_ok() {
            self.is_in(&slot, old)?
        } else {
            self.stat()?.is_some_and(|stat| stat.stamp == old.stamp)
        };
        let replaced = match is_expected {
            true => {
                files.rename(staged.at(), self.at()).map_err(|error| self.failed("replace", error))
            }
            false => Err(ApplyError::Unexpected(self.stat()?)),
        };
        self.has_new.set(replaced.is_ok());
        if replaced.is_err() {
            // A second name, or a copy of what is still at the path.
            files.unlink(slot.at()).map_err(|error| self.failed("remove the copy of", error))?;
        }
        replaced
    }

    /// Copies the old content to a free name. Only where there are no links, as on FAT, or where
    /// another user's file may not have any.
    pub(super) fn copy(
        &self,
        old: &Stat,
        to: At<'_>,
        belonging: &Belonging,
    ) -> rustix::io::Result<()> {
        let files = self.files();
        if old.kind == FileKind::Symlink {
            return files.symlink(&files.read_link_at(self.at())?, to);
        }
        let source = files.open_at(self.at(), How::Read)?;
        let copy = files.create_at(to)?;
        belonging.give_attributes_to(self.root, to);
        let copied = copy_content(files, &source, &copy)
            .and_then(|()| self.root.set_mode(&copy, belonging.bits(old.mode)))
            .and_then(|()| files.set_mtime_of(&copy, old.stamp.mtime_ns))
            .and_then(|()| {
                belonging.give_owner(self.root, to);
                files.sync_content(&copy)
            });
        if let Err(error) = copied {
            files.unlink(to)?;
            return Err(error);
        }
        Ok(())
    }
}

fn copy_content(files: &dyn FileSystem, source: &Handle, copy: &Handle) -> rustix::io::Result<()> {
    let mut buffer = vec![0; HASH_READ_BYTES];
    let mut offset = 0;
    loop {
        let count = files.read_at(source, &mut buffer, offset)?;
        if count == 0 {
            return Ok(());
        }
        files.write_at(copy, &buffer[..count], offset)?;
        offset += count as u64;
    }
}
