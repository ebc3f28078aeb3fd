//! The right to reach and to write to directories whose mode denies it to their owner, for the
//! moment of one change.
//!
//! Owns the modes that are to be set back. Must not touch what other users own: the system refuses
//! that.

use std::iter;

use crate::{
    core::seam::{Action, Apply},
    io::{
        disk::root::Root,
        files::{Handle, How},
    },
    model::path::RelPath,
};

/// Directories that were given the right to write, until this is dropped.
pub(super) struct Unlocked<'a> {
    root: &'a Root,
    directories: Vec<(Handle, u16)>,
}

impl<'a> Unlocked<'a> {
    /// The parents of all that is renamed, and a renamed directory itself, whose `..` changes.
    pub(super) fn new(root: &'a Root, apply: &Apply) -> Self {
        let mut directories = vec![apply.path.parent()];
        match &apply.action {
            Action::RenameFrom { from, .. } => {
                directories.extend([from.parent(), Some(from.clone())])
            }
            Action::Exchange { with, .. } => directories.push(with.parent()),
            _ => {}
        }
        let mut unlocked = Self { root, directories: Vec::new() };
        for directory in directories.into_iter().flatten() {
            unlocked.unlock(&directory);
        }
        unlocked
    }

    /// From the top: those above need no more than to let it be reached.
    fn unlock(&mut self, path: &RelPath) {
        let mut above: Vec<_> = iter::successors(path.parent(), RelPath::parent).collect();
        above.reverse();
        for directory in above {
            self.directories.extend(add_rights(self.root, &directory, 0o100));
        }
        self.directories.extend(add_rights(self.root, path, 0o700));
    }
}

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        for (directory, mode) in self.directories.iter().rev() {
            if let Err(error) = self.root.files().set_mode(directory, *mode) {
                log::warn!("cannot set a directory's mode back to {mode:o}: {error}");
            }
        }
    }
}

/// `None` when it has them, or they would not help: the change then fails as it did before.
fn add_rights(root: &Root, path: &RelPath, rights: u16) -> Option<(Handle, u16)> {
    let directory = root.open_directory(path, How::Search).ok()?;
    let stat = root.files().stat_of(&directory, root.device()).ok()?;
    if stat.mode & rights == rights {
        return None;
    }
    root.files().set_mode(&directory, stat.mode | rights).ok()?;
    Some((directory, stat.mode))
}
