//! What the watch has told of: if it is missing when it is looked at, it was deleted, or moved.
//! What is missing and was not told of may be away with a part of the disk.

use super::{Kind, Paths};
use crate::model::path::RelPath;

impl Paths {
    /// The watch tells of a path, which is looked at next. When there are too many, a further one
    /// is as if it had not been told of.
    pub(in super::super) fn note_told(&mut self, path: &RelPath) {
        if self.has_place(Kind::Told, path) {
            self.edit(path, |state| state.is_told = true);
        }
    }

    /// Has the watch told of the path since it was looked at?
    pub(in super::super) fn is_told(&self, path: &RelPath) -> bool {
        self.get(path).is_some_and(|state| state.is_told)
    }

    /// It was looked at.
    pub(in super::super) fn forget_told_of(&mut self, path: &RelPath) {
        if self.is_told(path) {
            self.edit(path, |state| state.is_told = false);
        }
    }

    /// What was told is no reason any more to take anything for deleted.
    pub(in super::super) fn forget_told(&mut self) {
        self.edit_where(Kind::Told, |_| true, |_, state| state.is_told = false);
    }
}
