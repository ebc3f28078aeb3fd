//! The right to write to directories whose mode denies it to their owner, for the moment of one
//! change.
//!
//! Owns the modes that are to be set back. Must not touch what other users own: the system refuses
//! that.

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
        let directories =
            directories.into_iter().flatten().filter_map(|path| unlock(root, &path)).collect();
        Self { root, directories }
    }
}

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        for (directory, mode) in &self.directories {
            if let Err(error) = self.root.files().set_mode(directory, *mode) {
                log::warn!("cannot set a directory's mode back to {mode:o}: {error}");
            }
        }
    }
}

/// `None` when it would not help: the change then fails as it did before.
fn unlock(root: &Root, path: &RelPath) -> Option<(Handle, u16)> {
    let directory = root.open_directory(path, How::Search).ok()?;
    let stat = root.files().stat_of(&directory, root.device()).ok()?;
    if stat.mode & 0o700 == 0o700 {
        return None;
    }
    root.files().set_mode(&directory, stat.mode | 0o700).ok()?;
    Some((directory, stat.mode))
}
