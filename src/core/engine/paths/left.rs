//! What this node has left at a path, as far as it decides what is found there next: a change whose
//! outcome could not be seen, and a second name of content that it has.

use super::{Kind, Paths, UnknownOutcome};
use crate::model::{entry::Bits, path::RelPath};

impl Paths {
    /// What is found at the path next may be what this node has put there, without learning that it
    /// had. When there are too many, it counts as a user's.
    pub(in super::super) fn note_unknown_outcome(
        &mut self,
        path: &RelPath,
        unknown_outcome: UnknownOutcome,
    ) {
        if self.has_place(Kind::Left, path) {
            self.edit(path, |state| state.left = Some(unknown_outcome));
        }
    }

    /// What this node may have put at the path. Asked once.
    pub(in super::super) fn take_unknown_outcome(
        &mut self,
        path: &RelPath,
    ) -> Option<UnknownOutcome> {
        self.get(path)?.left.as_ref()?;
        self.edit(path, |state| state.left.take())
    }

    /// What this disk holds gets a second name: it has its permission bits by either. When there
    /// are too many, it has those that the disk gives it.
    pub(in super::super) fn note_kept(&mut self, path: &RelPath, bits: Option<Bits>) {
        let rounded = bits.filter(|bits| bits.found != bits.said);
        if rounded.is_some() && self.has_place(Kind::Kept, path) {
            self.edit(path, |state| state.kept = rounded);
        }
    }

    /// The bits of what was kept at this path. Asked once.
    pub(in super::super) fn take_kept(&mut self, path: &RelPath) -> Option<Bits> {
        self.get(path)?.kept?;
        self.edit(path, |state| state.kept.take())
    }
}
