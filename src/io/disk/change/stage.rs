//! Content is put into a file of its own before the change that gives it a name is carried out.
//!
//! Owns the temporary files of content that came with its change. A [partial file](super::partial)
//! has its content already. Must not touch what has a name in the tree.

use std::{io, mem};

use crate::{
    core::seam::{Action, Apply, ApplyFailure, Source},
    io::disk::{
        change::{
            error::ApplyError,
            partial,
            temp::{self, Temp},
        },
        root::Root,
    },
    model::{entry::Digest, path::RelPath},
};

/// A change whose content, if it has any, is in a temporary file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    apply: Apply,
    temp: Option<String>,
}

impl Staged {
    /// What is to be done. Bytes that came with it are in the file, and here no more.
    pub fn apply(&self) -> &Apply {
        &self.apply
    }

    /// The temporary file with the content.
    pub fn temp(&self) -> Option<&str> {
        self.temp.as_deref()
    }

    /// The partial file that it is to get its content from.
    pub fn partial(&self) -> Option<Digest> {
        match &self.apply.action {
            Action::WriteFile { source: Source::Partial(digest), .. } => Some(*digest),
            _ => None,
        }
    }
}

/// Makes the temporary files.
#[derive(Debug, Default)]
pub struct Stage {
    temporary_files: u64,
    /// There was no room for so many bytes.
    wanted_room: Option<u64>,
}

impl Stage {
    /// Puts the content of a change into a temporary file, if it is not in one yet.
    pub fn prepare(&mut self, root: &Root, mut apply: Apply) -> Result<Staged, ApplyFailure> {
        let temp = match &mut apply.action {
            Action::WriteFile { source: Source::Partial(digest), .. } => {
                Some(partial::name(digest))
            }
            Action::WriteFile { source: Source::Bytes(bytes), .. } => {
                let written = self.write(root, &mem::take(bytes));
                Some(written.map_err(|error| cannot_write(&apply.path, error))?)
            }
            Action::MakeDirectory { .. } | Action::MakeSymlink { .. } => {
                let room = temp::require_inode(root).inspect_err(|error| self.note(error, 0));
                room.map_err(|error| cannot_write(&apply.path, error))?;
                None
            }
            _ => None,
        };
        Ok(Staged { apply, temp })
    }

    /// For how many bytes there was no room since the last time, if so.
    pub fn take_wanted_room(&mut self) -> Option<u64> {
        self.wanted_room.take()
    }

    /// A temporary file of these bytes, under a name that is used once.
    fn write(&mut self, root: &Root, bytes: &[u8]) -> io::Result<String> {
        self.temporary_files += 1;
        let name = format!("small-{}", self.temporary_files);
        let wanted = bytes.len() as u64;
        let temp = Temp::create(root, &name).inspect_err(|error| self.note(error, wanted))?;
        match temp.write_at(0, bytes) {
            Ok(()) => Ok(name),
            Err(error) => {
                self.note(&error, wanted);
                temp::remove(root, name.as_bytes())?;
                Err(error)
            }
        }
    }

    fn note(&mut self, error: &io::Error, wanted_bytes: u64) {
        self.wanted_room = temp::is_no_space(error).then_some(wanted_bytes);
    }
}

fn cannot_write(path: &RelPath, error: io::Error) -> ApplyFailure {
    // The system's own word for it says less than ours.
    if temp::is_no_space(&error) && error.get_ref().is_none() {
        return ApplyError::NoSpace.into();
    }
    ApplyError::Io { op: "write the content of", path: path.clone(), error }.into()
}
