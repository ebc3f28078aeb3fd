//! What is in the tree already gets another name in it.
//!
//! Owns the looks after a rename, by which one that met something else than was expected is undone.

use super::{Result, Site, is_same};
use crate::{
    core::seam::{Action, Apply},
    io::{disk::change::error::ApplyError, files::sys},
    model::{
        entry::{FileKind, Stamp, Stat},
        path::RelPath,
    },
};

impl Site<'_> {
    /// Renames what is at another path to this one.
    pub(super) fn rename_from(
        &self,
        from: &RelPath,
        stamp: Stamp,
        current: Option<Stat>,
    ) -> Result<Option<Stat>> {
        let source = Site::new(self.root, from, self.now_ms)?;
        let Some(before) = source.check(Some(stamp))? else {
            return Err(ApplyError::Unexpected(None));
        };
        self.make_way(current)?;
        self.root.forget_directories();
        if self.is_other_case_of(&source)? {
            self.files()
                .rename(source.at(), self.at())
                .map_err(|error| self.failed("rename to", error))?;
        } else {
            self.move_in(source.at())?;
        }
        match self.stat()? {
            Some(after) if is_same(&before, &after) && self.is_here()? && source.is_here()? => {
                self.settled(&before).or_else(|error| self.take_back(&before, source.at(), error))
            }
            _ => {
                source.move_in(self.at())?;
                Err(source.unexpected()?)
            }
        }
    }

    /// Is the file there already, since a directory above it was renamed?
    pub(super) fn moved_along(&self, apply: &Apply) -> Result<Option<Stat>> {
        let (Action::RenameFrom { from, stamp }, None) = (&apply.action, apply.expect) else {
            return Ok(None);
        };
        let is_it = |stat: &Stat| stat.kind != FileKind::Directory && stat.stamp == *stamp;
        let Some(stat) = self.stat()?.filter(is_it) else { return Ok(None) };
        let is_gone = match Site::new(self.root, from, self.now_ms) {
            Ok(source) => source.stat()?.is_none(),
            Err(ApplyError::Parent) => true,
            Err(error) => return Err(error),
        };
        Ok(is_gone.then_some(stat))
    }

    /// Exchanges the names of two files.
    pub(super) fn exchange(
        &self,
        with: &RelPath,
        stamp: Stamp,
        current: Option<Stat>,
    ) -> Result<Option<Stat>> {
        let other = Site::new(self.root, with, self.now_ms)?;
        let (Some(here), Some(there)) = (current, other.check(Some(stamp))?) else {
            return Err(ApplyError::Unexpected(current));
        };
        let exchange = || {
            sys::exchange(self.root.files(), self.at(), other.at(), self.root.able())
                .map_err(|error| self.failed("exchange with another file", error))
        };
        exchange()?;
        match (self.stat()?, other.stat()?) {
            (Some(now), Some(then))
                if is_same(&there, &now)
                    && is_same(&here, &then)
                    && self.is_here()?
                    && other.is_here()? =>
            {
                self.settled(&there)
            }
            _ => {
                exchange()?;
                Err(self.unexpected()?)
            }
        }
    }

    /// Is it the same name to this file system? Then it is free for nobody but what has it.
    fn is_other_case_of(&self, source: &Site<'_>) -> Result<bool> {
        let other =
            self.root.other_name(self.at()).map_err(|error| self.failed("look at", error))?;
        Ok(self.path.parent() == source.path.parent()
            && other.as_deref() == Some(source.path.name()))
    }
}
